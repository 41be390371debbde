"""Scheduled messages: kept until they are due, claimed under a lease, and remembered for a while afterwards.

A message is delivered by publishing it under its id. So a job that is claimed twice is delivered once. All scheduled
messages are in one slot, apart from the feeds. The clock of that slot's server decides when a message is due. A waiting
job never expires. If no worker runs for a long time, the message is delivered late and not lost.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from ...core.due import Due
from ...core.identity.tokens import Claims
from ...core.message import DIGEST_BYTES, Message
from ...core.settings import Settings
from ...core.wire.frames import compact
from ...transport.connection import Command, Commands, Reply, Script
from ..keys import TIMERS, Keys
from ..logs.log import require_replicas

SCHEDULE, CLAIM, FINISH, CANCEL, CHANGE, LIST = tuple(
    [Script("timers", f"timer_{verb}") for verb in ("schedule", "claim", "finish", "cancel", "change", "list")]
)
SCRIPTS = (SCHEDULE, CLAIM, FINISH, CANCEL, CHANGE, LIST)

CLAIM_JOBS = 100
CLAIM_BYTES = 1_048_576  # of jobs; a claim that has this many takes no further one
# The same for a page of a listing. Reading 100 of the longest messages would block a worker.
LIST_BYTES = 131_072
LEASE_SECONDS = 10.0  # if a worker dies with claimed messages, they are delayed by this much
CALL_BYTES = 4

SCHEDULED, DELIVERING, CANCELLED = "scheduled", "delivering", "cancelled"
DELIVERED, REVOKED, REFUSED = "delivered", "revoked", "refused"

Place = tuple[int, str]  # a place in a listing: Unix ms and id of a message


class ScheduleOutcome(NamedTuple):
    """The outcome of scheduling a message, see `timer_schedule.lua`."""

    what: str
    due_ms: int
    state: str


class Job(NamedTuple):
    """A scheduled message.

    `by` is the user who scheduled it. `recipients` is the number of feeds that it goes to. `credential` names the user
    and token that are responsible for its delivery time, so that revocations can match them. `text` is the request
    body. `claim` is the number of the claim if the message is being delivered.
    """

    id: str
    state: str
    due_ms: int
    claim: str
    by: str
    recipients: int
    credential: Claims
    text: bytes


class Claimed(NamedTuple):
    """The jobs of one claim, and the seconds until there is something to claim again. None: no job waits."""

    jobs: list[Job]
    next_seconds: float | None


class RememberedJob(NamedTuple):
    """What is known about an id that was scheduled. `job` is None once the job is over."""

    state: str
    due_ms: int
    job: Job | None


class Timers:
    """Schedules, claims and lists the scheduled messages of one deployment.

    Raises `BelfryError` `store_unavailable`.
    """

    def __init__(self, commands: Commands, settings: Settings, waits: Commands | None = None) -> None:
        """Make the store of timers. `waits` runs commands that wait for replicas, if the settings require replicas."""
        self._commands = commands
        self._waits = waits or commands
        self._settings = settings
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._both = (self._keys.timers_due, self._keys.timer_jobs)

    # For publishers

    def schedule(self, messages: Sequence[Message], claims: Claims) -> list[ScheduleOutcome]:
        """Keep messages until they are due. Raises `BelfryError` `not_replicated` as well."""
        call = secrets.token_hex(CALL_BYTES)
        commands = [self._schedule_command(message, claims, call) for message in messages]
        replies = self._waits.run([*commands, *self._wait()])
        require_replicas(replies, self._settings)
        return [
            ScheduleOutcome(what.decode(), int(due), state.decode()) for what, due, state in replies[: len(commands)]
        ]

    def change(self, job: Job, due: Due, claims: Claims) -> tuple[str, int]:
        """Change the delivery time of a message. `claims` are responsible for it.

        For the result, see `timer_change.lua`.
        """
        rest = _rest(job.by, job.recipients, claims, job.text)
        arguments = job.id, due.milliseconds, int(due.relative), self._farthest_ms, rest
        (what, due_ms), *rest_of_replies = self._waits.run(
            [CHANGE.call(self._all_keys(job.id, job.by), *arguments), *self._wait()]
        )
        require_replicas(rest_of_replies, self._settings)
        return what.decode(), int(due_ms)

    def cancel(self, job: Job) -> str:
        """Cancel a message. Return its state before. The call succeeded if that was `scheduled` or `cancelled`."""
        keys = self._all_keys(job.id, job.by)[:-1]
        state, *rest = self._waits.run([CANCEL.call(keys, job.id, self._settings.dedup_seconds), *self._wait()])
        require_replicas(rest, self._settings)
        return str(state.decode())

    def find(self, message_id: str) -> RememberedJob | None:
        """Return what is known about a message that was scheduled, or None."""
        job, done = self._commands.run(
            [("HGET", self._keys.timer_jobs, message_id), ("GET", self._keys.timer_done(message_id))]
        )
        if job:
            found = _job(message_id, job)
            return RememberedJob(found.state, found.due_ms, found)
        if done:
            state, due, *_ = done.split()
            return RememberedJob(state.decode(), int(due), None)
        return None

    def page(self, limit: int, after: Place | None, publisher: str | None) -> tuple[list[Job], Place | None]:
        """Return a page of waiting jobs, soonest first, and the place where the next page begins.

        `publisher` None lists the jobs of all publishers. A page ends early after `LIST_BYTES` of messages.
        """
        listed = self._keys.timers_due if publisher is None else self._keys.timers_of(publisher)
        place = after or ("", "")
        ((at, last, *found),) = self._commands.run([LIST.call((*self._both, listed), limit, *place, LIST_BYTES)])
        return _jobs(found), (int(at), last.decode()) if at else None

    # For workers

    def claim(self) -> Claimed:
        """Claim the jobs that are due. No other worker gets them before the lease ends."""
        arguments = CLAIM_JOBS, CLAIM_BYTES, int(LEASE_SECONDS * 1_000), secrets.token_hex(CALL_BYTES)
        ((next_ms, *found),) = self._commands.run([CLAIM.call(self._both, *arguments)])
        return Claimed(_jobs(found), None if next_ms < 0 else next_ms / 1_000)

    def finish(self, jobs: Iterable[tuple[Job, str]]) -> None:
        """Finish jobs that were done or given up. Each is remembered by the state beside it."""
        commands = [
            FINISH.call(self._all_keys(job.id, job.by)[:-1], job.id, job.claim, state, self._settings.dedup_seconds)
            for job, state in jobs
        ]
        if commands:
            self._commands.run(commands)

    @property
    def _farthest_ms(self) -> int:
        """Return how far ahead a message may be scheduled.

        A revocation must still be remembered when the message is due.
        """
        return min(self._settings.schedule_seconds, self._settings.revocation_seconds) * 1_000

    def _schedule_command(self, message: Message, claims: Claims, call: str) -> Command:
        due = message.due or Due(0, relative=True)
        return SCHEDULE.call(
            self._all_keys(message.id, claims.user),
            message.id,
            due.milliseconds,
            int(due.relative),
            _digest(message),
            call,
            self._farthest_ms,
            self._settings.max_scheduled,
            _rest(claims.user, len(message.logs), claims, message.text),
        )

    def _all_keys(self, message_id: str, publisher: str) -> tuple[str, ...]:
        keys = self._keys
        return (*self._both, keys.timers_of(publisher), keys.timer_done(message_id), keys.live(TIMERS))

    def _wait(self) -> list[Command]:
        wanted = self._settings.publish_wait_replicas
        return [("WAIT", wanted, int(self._settings.publish_wait_seconds * 1_000))] if wanted else []


def _digest(message: Message) -> str:
    """Return a digest. Messages with the same content and the same recipients have the same digest."""
    told = b"\n".join([message.digest, *[name.encode() for name in sorted(message.logs)]])
    return blake2b(told, digest_size=DIGEST_BYTES).hexdigest()


def _rest(by: str, recipients: int, claims: Claims, text: bytes) -> bytes:
    credential = {"by": by, "to": recipients, "user": claims.user}
    credential |= {"token": claims.token_id, "issued": claims.issued_at}
    return compact(credential).encode() + b"\n" + text


def _jobs(found: Sequence[bytes]) -> list[Job]:
    return [_job(id_.decode(), job) for id_, job in zip(found[::2], found[1::2], strict=True)]


def _job(message_id: str, reply: Reply) -> Job:
    head, credential, text = reply.split(b"\n", 2)
    state, due, _digest_given, *call = head.decode().split()
    said = json.loads(credential)
    # The credential contains no session: signing out does not cancel messages that were scheduled before.
    claims = Claims(said["user"], frozenset(), (), None, 0.0, said["token"], said["issued"])
    return Job(message_id, state, int(due), "".join(call), said["by"], said["to"], claims, text)
