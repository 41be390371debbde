"""The pushes that wait: one job for each message and recipient with a device, claimed under a lease like a timer.

A publish stores them in its own round trip, before it appends the message. So a message that was acknowledged has its
pushes, whichever worker dies. The job names the content by its digest. The worker that claims it looks whether the log
has appended that content under this id, and sends nothing if the publish was refused or failed. A job has a fixed id,
so a publish that is repeated adds none. A message without `push` costs nothing here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ...core.message import Message
from ...core.settings import Settings
from ...core.wire.frames import compact_bytes
from ...transport.connection import Command, Commands, Reply, Script
from ..keys import PUSHES, Keys
from ..timers.timers import CALL_BYTES, CLAIM

ADD, SETTLE = Script("timers", "push_add"), Script("timers", "push_settle")
SCRIPTS = (ADD, SETTLE)

RECIPIENTS_PER_CALL: Final = 50  # of one script, which takes a quarter of a millisecond
CLAIM_BYTES: Final = 1_048_576
# Longer than a worker needs for a job: it waits twice for the store and once for each push service, side by side.
LEASE_SECONDS: Final = 60.0
AGAIN_MS: Final = 1_000  # until a job is taken again whose message was published again while a worker gave it up
_USER: Final = "user:"


class DeviceLeft(NamedTuple):
    """A device that a push has not reached yet. It is not tried before `at_ms`.

    `tries` counts the tries that failed, and the first one failed at `failed_ms`. `waits` counts how often the push
    service had no free place since then. Times are in Unix ms.
    """

    name: str
    at_ms: int = 0
    tries: int = 0
    failed_ms: int = 0
    waits: int = 0


class PushJob(NamedTuple):
    """A push of one message to one user.

    `digest` identifies the content, see `Message`. `since_ms` is when its last publish began, by the clock of the
    publishing worker. `left` are the devices that are still to be reached, None at first: all.
    """

    message_id: str
    digest: str
    user: str
    claim: str
    since_ms: int
    left: tuple[DeviceLeft, ...] | None = None

    @property
    def id(self) -> str:
        return _id(self.message_id, self.digest, self.user)


class ClaimedPushes(NamedTuple):
    """The jobs of one claim, and the seconds until there is something to claim again. None: no push waits."""

    jobs: list[PushJob]
    next_seconds: float | None


class Pushes:
    """Stores, claims and ends pushes. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings, clock: Callable[[], float]) -> None:
        """Make the store of pushes. `clock` returns Unix time in seconds."""
        self._commands = commands
        self._clock = clock
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._settings = settings
        self._channel = self._keys.live(PUSHES)

    def add(self, messages: Sequence[Message]) -> Iterator[Command]:
        """Yield the commands that store the pushes of messages, for `Publisher`."""
        for message in messages:
            if message.push:
                for at in range(0, len(message.logs), RECIPIENTS_PER_CALL):
                    yield self._add(message, message.logs[at : at + RECIPIENTS_PER_CALL])

    def _add(self, message: Message, logs: Sequence[str]) -> Command:
        settings = self._settings
        users = [name.removeprefix(_USER) for name in logs]
        ids = [_id(message.id, message.digest.decode(), user) for user in users]
        keys = [key for user, id_ in zip(users, ids, strict=True) for key in self._keys_of(user, id_)]
        delay_ms = int(settings.push_delay_seconds * 1_000)
        limits = delay_ms, settings.max_pushes, settings.dedup_seconds
        begin_ms = int(self._clock() * 1_000)
        return ADD.call((*self._keys.pushes, self._channel, *keys), *limits, begin_ms, *ids)

    def claim(self, count: int) -> ClaimedPushes:
        """Claim up to `count` jobs that are due. No other worker gets them before the lease ends."""
        arguments = count, CLAIM_BYTES, int(LEASE_SECONDS * 1_000), secrets.token_hex(CALL_BYTES)
        ((next_ms, *found),) = self._commands.run([CLAIM.call(self._keys.pushes, *arguments)])
        jobs = [_job(id_.decode(), job) for id_, job in zip(found[::2], found[1::2], strict=True)]
        return ClaimedPushes(jobs, None if next_ms < 0 else next_ms / 1_000)

    def finish(self, job: PushJob, *, appended: bool = True) -> None:
        """End a job. If its content was not appended, the publisher may store it again.

        If another publish of it has begun since the claim, the job goes on instead.
        """
        self._settle(job, "", b"", "" if appended else job.since_ms)

    def again(self, job: PushJob, seconds: float) -> None:
        """Have the job taken again, as it is now, in so many seconds."""
        self._settle(job, int(seconds * 1_000), b"" if job.left is None else compact_bytes(job.left), "")

    def _settle(self, job: PushJob, milliseconds: int | str, left: bytes, failed: int | str) -> None:
        keys = (*self._keys.pushes, self._keys.push_done(job.id), self._channel)
        self._commands.run([SETTLE.call(keys, job.id, job.claim, milliseconds, left, failed, AGAIN_MS)])

    def _keys_of(self, user: str, job: str) -> tuple[str, str]:
        return self._keys.push_devices(user), self._keys.push_done(job)


def _id(message_id: str, digest: str, user: str) -> str:
    return f"{message_id}/{digest}/{user}"


def _job(id_: str, reply: Reply) -> PushJob:
    head, rest = reply.split(b"\n", 1)
    message_id, digest, user = id_.split("/", 2)  # a message id and a digest have no slash
    since, left = rest.split(b" ", 1)
    claim = head.decode().split()[3]
    devices = tuple([DeviceLeft(*each) for each in json.loads(left)]) if left else None
    return PushJob(message_id, digest, user, claim, int(since), devices)
