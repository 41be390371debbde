"""Runs: completions that continue without viewers.

The output of a run is an ordinary log, `run:<user>/<id>`. Its records are the upstream's chunks, and the last one is
`frames.END`. Beside it is the run's state, a hash: status (running, done, stopped, failed), digest (of the request),
epoch (of the log), started and ended (Unix ms), model, title, usage and error (JSON), watched, response (JSON, if the
Responses API started the run), and turn (`<place> <conversation>`, if the run answers in a conversation).

A run under way has a lease that its producer renews. If the lease has expired, any worker that finds it ends the run.
The answer of a turn is written into its conversation after the run has ended and before its lease is removed. So the
answer is written even if a worker dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...core.completion import CompletionRequest, Transcript
from ...core.errors import BelfryError
from ...core.log.cursor import Position
from ...core.settings import Settings
from ...core.wire.frames import END, NO_CHOICES, compact
from ...transport.connection import Command, Commands, Reply, Script
from ..conversations.conversations import Answer, Asked, Conversation, Conversations
from ..keys import run_log
from ..logs.log import LogStore, new_epoch

ADMIT = Script("run_admit")
START = Script("lineage", "run_known", "run_admit", "run_start")
ASK = Script("lineage", "run_known", "turn_check", "run_admit", "turn_write", "run_start")
APPEND = Script("lineage", "run_append")
LEASE = Script("run_lease")
RENEW = Script("run_renew")
SCRIPTS = (ADMIT, START, ASK, APPEND, LEASE, RENEW)

# A dead producer is found after the lease and three looks: 4 s at most. A living one renews its lease five times in the
# meantime.
LEASE_SECONDS = 2.5
LOOK_SECONDS = 0.5
EXPIRED_PER_LOOK = 100
DETAIL_MAX_CHARS = 2_000  # of the text that explains why a run failed
# If a worker dies, its completions count against their users' limits for this long.
ACTIVE_SECONDS = 60
# Where run_start.lua finds further fields of the state. The arguments of a turn, if any, come before them.
FIELDS_FROM = 11
KNOWN_SECONDS = 2_592_000  # a request for an expired run is answered with "gone" for this long
_LIMITED = {"too_many_runs", "rate_limited", "tokens_used_up"}
_REFUSED = {*_LIMITED, "conversation_changed"}

logger = logging.getLogger("belfry.runs")


@dataclass(frozen=True, slots=True)
class RunName:
    """The user and the id of a run."""

    user: str
    id: str

    @property
    def log(self) -> str:
        return run_log(self.user, self.id)

    def __str__(self) -> str:
        return f"{self.user}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> RunName:
        user, _, run_id = text.rpartition("/")
        return cls(user, run_id)


@dataclass(frozen=True, slots=True)
class Run:
    """The state of a run. Times are Unix ms. `ended` is 0 while the run is under way."""

    id: str
    status: str
    model: str
    title: str
    started: int
    ended: int
    start: Position
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    # Only if the Responses API started the run: the parts of the request that its answers repeat.
    response: dict[str, Any] | None = None
    turn: str = ""  # `<place> <conversation>` of a run that answers in a conversation

    @property
    def conversation(self) -> str:
        """Return the id of the conversation that the run answers in, empty if there is none."""
        return self.turn.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run, and the record that its readers get before the last one.

    If `tokens` is None, the number of chunks counts as the number of tokens.
    """

    status: str
    error: dict[str, str] | None = None
    usage: dict[str, Any] | None = None
    tokens: int | None = None

    @classmethod
    def failed(cls, error: BelfryError) -> Ending:
        """Return the ending for an error. The detail is cut short, because it may repeat an upstream's text."""
        return cls("failed", {"code": error.code, "detail": error.detail[:DETAIL_MAX_CHARS]})

    @property
    def records(self) -> tuple[bytes, ...]:
        if self.status == "done":
            return (END,)
        return f"{self.status} {compact({**(self.error or {}), **NO_CHOICES})}".encode(), END


ENDING_RECORDS = 2  # the most records that an ending has


def is_ending(record: bytes) -> bool:
    """Return whether a record says how a run ended. All other records are chunks."""
    return record == END or not record.startswith(b"message ")


STOPPED = Ending("stopped")
LOST = Ending.failed(BelfryError("producer_lost"))


@dataclass(frozen=True, slots=True)
class Append:
    """Records to append to a run. `first` is the offset of the first record, or 0 for the end of the log."""

    name: RunName
    first: int
    records: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of an append. `status` is the run's status now, empty if the run is gone.

    `receivers` is the number of workers that received it. `taken` is False if the run had ended before. `turn` is the
    turn of a run that has ended.
    """

    status: str
    top: int
    receivers: int
    taken: bool
    turn: str = ""

    @property
    def lost(self) -> bool:
        """Whether a failover lost earlier records, so that this append was not accepted."""
        return not self.taken and self.status == "running"


class Runs:
    """Starts, writes, ends and reads all runs of one deployment. Raises `BelfryError` `store_unavailable`."""

    def __init__(
        self,
        store: LogStore,
        commands: Commands,
        settings: Settings,
        clock: Callable[[], float],
        conversations: Conversations | None = None,
    ) -> None:
        self._store = store
        self._conversations = conversations or Conversations(commands, settings, clock)
        self._commands = commands
        self._settings = settings
        self._clock = clock
        self._keys = store.keys

    # Starting

    def start(self, name: RunName, request: CompletionRequest, asked: Asked | None = None) -> bool:
        """Start a run. With `asked`, write its question into its conversation.

        Return False if it was started before. Raises `BelfryError` `id_reused` for another request under this id,
        `run_gone`, `conversation_changed`, or the code of a limit of the user.
        """
        lease, start = self._lease(name), self._start_command(name, request, asked)
        if not self._store.share_a_slot(self._keys.leases, self._keys.runs(name.user)):
            # A run without a lease would never be ended if its producer died. If the two keys are in different slots,
            # one command may fail alone, so the lease is written first.
            self._commands.run([lease])
            ((code, detail),) = self._commands.run([start])
        else:
            _, (code, detail) = self._commands.run([lease, start])
        if code == b"started":
            return True
        if code != b"known":
            self._commands.run([("ZREM", self._keys.leases, str(name))] if code.decode() in _REFUSED else [])
            raise _refusal(code.decode(), detail)
        if not detail:
            raise BelfryError("id_reused", f"The id {name.id!r} was used before with another request.")
        return False

    def take_back(self, name: RunName) -> None:
        """Undo `start`, so that the run can be started again under the same id. It must have produced nothing yet."""
        keys, user = self._keys, name.user
        parts = ("DEL", *self._parts(name))
        places = [("ZREM", key, name.id) for key in (keys.runs(user), keys.active(user), keys.starts(user))]
        self._commands.run([parts, *places, ("ZREM", keys.leases, str(name))])

    def admit(self, user: str, completion_id: str) -> None:
        """Count a completion that is not a run against the user's limits. Raises `BelfryError` like `start`."""
        (refused,) = self._commands.run([ADMIT.call(self._admission_keys(user), *self._admission(completion_id))])
        if refused:
            raise _refusal(refused[0].decode(), refused[1])

    def release(self, user: str, completion_id: str, tokens: int) -> None:
        """End an admitted completion that is not a run, and count its tokens."""
        day = self._keys.tokens(user, self._day())
        count = [("INCRBY", day, tokens), ("EXPIRE", day, 172_800)] if tokens else []
        self._commands.run([("ZREM", self._keys.active(user), completion_id), *count])

    # Producing

    def append(self, name: RunName, first: int, records: Sequence[bytes]) -> Written:
        """Append records at the offsets `first`, `first` + 1 and so on.

        Records that the log already has are left out.
        """
        return self.append_all([Append(name, first, records)])[0]

    def append_all(self, appends: Sequence[Append]) -> list[Written]:
        """Append records to many runs in one round trip. See `append`."""
        replies = self._commands.run([self._write_command(append, None) for append in appends])
        return [_written(reply) for reply in replies]

    def end(self, name: RunName, ending: Ending, first: int = 0, records: Sequence[bytes] = ()) -> Written:
        """Append the last records and end the run, unless it has ended. This can be repeated."""
        command = self._write_command(Append(name, first, (*records, *ending.records)), ending)
        written = _written(self._commands.run([command])[0])
        if written.turn and not self._answered(name, written.turn):
            # The lease stays. When it expires, any worker that finds it ends the run again.
            return written
        if not written.lost:
            # Remove the lease after the run has ended. In the other order, a crash in between would leave the run
            # running. If the lease can't be removed, it expires. A worker that finds it then ends the run again, which
            # only removes the lease.
            with contextlib.suppress(BelfryError):
                self._commands.run([("ZREM", self._keys.leases, str(name))])
        return written

    def renew(self, names: Iterable[RunName]) -> tuple[list[RunName], list[RunName]]:
        """Renew leases.

        Return those of `names` that have been ended, and the runs of all users whose lease has expired.
        """
        members = [str(name) for name in names]
        command = RENEW.call((self._keys.leases,), int(LEASE_SECONDS * 1_000), EXPIRED_PER_LOOK, *members)
        without, expired = self._commands.run([command])[0]
        return self._ended(_names(without)), _names(expired)

    def keep_active(self, completions: Iterable[RunName]) -> None:
        """Keep counting completions under way against their users' limits. Extend the TTL of the runs among them."""
        until = int((self._clock() + ACTIVE_SECONDS) * 1_000)
        by_user: dict[str, list[RunName]] = defaultdict(list)
        for name in completions:
            by_user[name.user].append(name)
        for user, names in by_user.items():
            key = self._keys.active(user)
            pairs = [part for name in names for part in (until, name.id)]
            kept = [("EXPIRE", part, self._settings.run_seconds) for name in names for part in self._parts(name)]
            self._commands.run([("ZADD", key, "XX", *pairs), ("EXPIRE", key, ACTIVE_SECONDS), *kept])

    def delete(self, name: RunName) -> None:
        """Stop and forget one run. Its name is then unknown."""
        self.delete_all(name.user, [name.id])

    def delete_all(self, user: str, run_ids: Sequence[str]) -> None:
        """Stop and forget many runs of a user."""
        if not run_ids:
            return
        keys, states = self._keys, [self._keys.run_state(user, run_id) for run_id in run_ids]
        statuses = self._commands.run([("HGET", state, "status") for state in states])
        for run_id, status in zip(run_ids, statuses, strict=True):
            if status == b"running":
                self.end(RunName(user, run_id), STOPPED)
        self._store.forget([RunName(user, run_id).log for run_id in run_ids])
        self._commands.run([("ZREM", keys.runs(user), *run_ids), ("DEL", *states)])

    def forget(self, user: str) -> None:
        """Stop and forget every run of a user. Only the day's count of tokens stays. It expires by itself."""
        keys = self._keys
        active, known = self._commands.run([("ZRANGE", keys.active(user), 0, -1), ("ZRANGE", keys.runs(user), 0, -1)])
        for run_id in active:
            self.end(RunName(user, run_id.decode()), STOPPED)
        names = [RunName(user, run_id.decode()) for run_id in known]
        self._store.forget([name.log for name in names])
        states = [keys.run_state(user, name.id) for name in names]
        self._commands.run([("DEL", keys.runs(user), keys.active(user), keys.starts(user), *states)])

    # Reading

    def get(self, name: RunName) -> Run:
        """Return a run. Raises `BelfryError` `not_found` or, if the run has expired, `run_gone`."""
        keys = self._keys
        known = ("ZSCORE", keys.runs(name.user), name.id)
        state, started = self._commands.run([("HGETALL", keys.run_state(name.user, name.id)), known])
        if state:
            return _run(name.id, state)
        raise BelfryError("run_gone" if started else "not_found")

    def newest(self, user: str, limit: int) -> list[Run]:
        """Return the user's runs that can still be read, newest first."""
        (ids,) = self._commands.run([("ZREVRANGE", self._keys.runs(user), 0, limit - 1)])
        names = [run_id.decode() for run_id in ids]
        states = self._commands.run([("HGETALL", self._keys.run_state(user, run_id)) for run_id in names])
        return [_run(run_id, state) for run_id, state in zip(names, states, strict=True) if state]

    def newest_below(self, user: str, name: str, among: int) -> Run | None:
        """Return the newest of the user's last `among` runs whose id is `name`, or begins with `name` and a dot."""
        (ids,) = self._commands.run([("ZREVRANGE", self._keys.runs(user), 0, among - 1)])
        found = next((run for run in map(bytes.decode, ids) if run == name or run.startswith(f"{name}.")), None)
        if found is None:
            return None
        (state,) = self._commands.run([("HGETALL", self._keys.run_state(user, found))])
        return _run(found, state) if state else None

    def settle(self, user: str, conversation: Conversation) -> bool:
        """Write the missing answers of runs that have ended. Return whether there were any.

        Answers are missing for a moment after a worker died, and after a failover lost the answer or the run.
        """
        missing = [(place, turn.id) for place, turn in enumerate(conversation.turns) if turn.answer is None]
        states = self._commands.run([("HGETALL", self._keys.run_state(user, run_id)) for _, run_id in missing])
        runs = [_run(run_id, state) if state else None for (_, run_id), state in zip(missing, states, strict=True)]
        found = False
        for (place, run_id), run in zip(missing, runs, strict=True):
            if run is None or run.ended:
                answer = self._answer(RunName(user, run_id), run)
                self._conversations.answer(user, f"{place} {conversation.id}", run_id, answer)
                found = True
        return found

    def _answered(self, name: RunName, turn: str) -> bool:
        """Write the answer of an ended run into its conversation. Return whether it is there now."""
        try:
            self._conversations.answer(name.user, turn, name.id, self._answer(name, self.get(name)))
        except BelfryError as error:
            # somebody forgot the run in the meantime
            if error.code in ("not_found", "run_gone"):
                return True
            logger.warning("the answer %s of %r is not in its conversation yet: %s", name.id, name.user, error.detail)
            return False
        return True

    def _answer(self, name: RunName, run: Run | None) -> Answer:
        """Return what a conversation keeps of a run. `run` is None if the run is gone."""
        if run is None:
            gone = BelfryError("run_gone")
            return {"status": "failed", "text": "", "error": {"code": gone.code, "detail": gone.detail}}
        return {"status": run.status, **told(self.transcript(name, run)), **({"error": run.error} if run.error else {})}

    def transcript(self, name: RunName, run: Run) -> Transcript:
        """Return the answer so far."""
        transcript = Transcript()
        for chunk in self.chunks(name, run):
            transcript.add(chunk)
        return transcript

    def chunks(self, name: RunName, run: Run) -> Iterator[str]:
        """Yield the chunks so far."""
        position = run.start
        while True:
            (page,) = self._store.read([(name.log, (position,))])
            for entry in page.entries:
                event, _, data = entry.record.partition(b" ")
                if event == b"message" and entry.record != END:
                    yield data.decode()
            if not page.entries:
                return
            position = Position(page.epoch, page.entries[-1].offset)

    def _ended(self, names: Sequence[RunName]) -> list[RunName]:
        """Return those of `names` that are not under way. The others get their lease back.

        A refused start removes its lease by name. By then, the lease may belong to another start with the same id,
        which came later, found that lease and was admitted. Without a lease, nobody would end that run if its producer
        died.
        """
        if not names:
            return []
        states = [self._keys.run_state(name.user, name.id) for name in names]
        statuses = self._commands.run([("HGET", state, "status") for state in states])
        under_way = {name for name, status in zip(names, statuses, strict=True) if status == b"running"}
        if under_way:
            self._commands.run([self._lease(name) for name in under_way])
        return [name for name in names if name not in under_way]

    def _parts(self, name: RunName) -> tuple[str, str, str]:
        """Return the keys of a run: its state, and the meta and entries of its log."""
        keys = self._keys
        return keys.run_state(name.user, name.id), keys.meta(name.log), keys.log(name.log)

    def _lease(self, name: RunName) -> Command:
        return LEASE.call((self._keys.leases,), int(LEASE_SECONDS * 1_000), str(name))

    def _start_command(self, name: RunName, request: CompletionRequest, asked: Asked | None) -> Command:
        keys, settings, conversations = self._keys, self._settings, self._conversations
        turn = conversations.arguments_of(asked, name.id) if asked else ()
        return (ASK if asked else START).call(
            (
                *self._admission_keys(name.user),
                keys.run_state(name.user, name.id),
                keys.runs(name.user),
                keys.meta(name.log),
                keys.log(name.log),
                *(conversations.keys_of(asked) if asked else ()),
            ),
            *self._admission(name.id),
            request.digest,
            new_epoch(),
            settings.run_seconds,
            max(KNOWN_SECONDS, settings.run_seconds),
            FIELDS_FROM + len(turn),
            *turn,
            *("model", request.model, "title", request.title),
            *(("turn", f"{len(asked.turns)} {asked.conversation}") if asked else ()),
            *(("response", request.response) if request.response else ()),
        )

    def _admission_keys(self, user: str) -> tuple[str, ...]:
        return self._keys.active(user), self._keys.starts(user), self._keys.tokens(user, self._day())

    def _admission(self, completion_id: str) -> tuple[str | int, ...]:
        limits = self._settings.max_runs_per_user, self._settings.runs_per_minute, self._settings.tokens_per_day
        return (completion_id, *limits, ACTIVE_SECONDS * 1_000)

    def _write_command(self, append: Append, ending: Ending | None) -> Command:
        keys, name, log = self._keys, append.name, append.name.log
        return APPEND.call(
            (
                keys.run_state(name.user, name.id),
                *(keys.meta(log), keys.log(log), keys.live(log)),
                *((keys.active(name.user), keys.tokens(name.user, self._day())) if ending else ()),
            ),
            *(name.id, append.first, self._settings.run_seconds),
            *_ending_arguments(ending),
            new_epoch(),
            *append.records,
        )

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%d")


def _ending_arguments(ending: Ending | None) -> tuple[str | int, ...]:
    if ending is None:
        return "", "", "", 0
    error, usage = (compact(value) if value else "" for value in (ending.error, ending.usage))
    return ending.status, error, usage, -1 if ending.tokens is None else ending.tokens


def _written(reply: Reply) -> Written:
    status, top, receivers, taken, turn = reply
    return Written(status.decode(), top, receivers, bool(taken), turn.decode())


def told(transcript: Transcript) -> dict[str, Any]:
    """Return the parts of an answer that a client sees. Reasoning, refusal and tool calls are left out if empty."""
    answer = {"text": transcript.text, "finish_reason": transcript.finish_reason}
    others = {"reasoning": transcript.reasoning, "refusal": transcript.refusal, "tool_calls": transcript.tool_calls}
    return answer | {name: value for name, value in others.items() if value}


def _names(members: Iterable[bytes]) -> list[RunName]:
    return [RunName.parse(member.decode()) for member in members]


def _refusal(code: str, retry_ms: int) -> BelfryError:
    headers = {"Retry-After": str(-(-retry_ms // 1_000) if retry_ms > 0 else 1)} if code in _LIMITED else {}
    return BelfryError(code, headers=headers)


def _run(run_id: str, reply: Reply) -> Run:
    # redis-py turns the reply to HGETALL into a dict. hiredis returns a list.
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    state = {name.decode(): value.decode() for name, value in pairs}
    return Run(
        id=run_id,
        status=state["status"],
        model=state["model"],
        title=state["title"],
        started=int(state["started"]),
        ended=int(state.get("ended", 0)),
        start=Position(state["epoch"], 0),
        usage=json.loads(state.get("usage", "null")),
        error=json.loads(state.get("error", "null")),
        response=json.loads(state.get("response", "null")),
        turn=state.get("turn", ""),
    )
