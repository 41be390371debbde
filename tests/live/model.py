"""A log store in memory whose round trips stop where a test wants them, and a client that keeps a record.

The hub, the streams and the catch-up loop run on them unchanged: only Redis and the socket are models here. Both have
their real counterparts in `tests/store` and `tests/system`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gevent.event import Event

from app.core.errors import BelfryError
from app.core.log.catch_up import Entry, Page
from app.core.log.cursor import Position, Vector, parse
from app.core.log.marks import NO_MARKS, Marks
from app.core.settings import Settings
from app.core.wire.sse import Decoder
from app.live.delivery.fan_out import FRAME_BYTES, Pace
from app.live.streams.subscriber import Subscriber
from app.store.keys import Keys
from app.store.logs.lineage import Lineage
from app.store.logs.log import LogStore, Tail
from app.transport.connection import Command, Reply

PAGE_ENTRIES = 3  # small, so that a few messages are several pages
FRAME = FRAME_BYTES + len(b'message {"n":10}')  # one message, as it counts while it waits


class ModelLog:
    """One log: what `lua/append.lua` and `lua/read.lua` do, in Python."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.history: dict[Position, bytes] = {}  # every record ever appended
        self.deleted: set[Position] = set()
        self.generation = 0
        self.former: tuple[Position, ...] = ()
        self.ends: dict[str, Position] = {}  # of an epoch that continues another one: where that one ended
        self.begin()

    def begin(self) -> None:
        """It is gone, with what it held, and its next readers stand at the beginning of another one."""
        self._next_epoch()
        self.former = ()
        self.top, self.oldest = 0, 1
        self.vacant = True

    def starts(self) -> list[str]:
        """The epochs in which readers of a log stand that does not exist."""
        return [self.epoch, *[last.epoch for last in self.former]] if self.vacant else []

    def pass_time(self) -> None:
        """Nothing was appended for long: a log that does not exist has another epoch now."""
        if self.vacant:
            self._go_on_from(0)

    def set_back(self, top: int, *, told: bool) -> None:
        """The server is another one, and lacks what came after `top`: what `lua/lineage.lua` does about it."""
        kept = {offset: self.history[Position(self.epoch, offset)] for offset in range(1, self.top + 1)}
        gone = {offset for offset in kept if self._gone(offset)}
        end = Position(self.epoch, top)
        former = (end, *[last for last in self.former if last.offset <= top])
        self._next_epoch()
        self.former = () if told else former
        self.ends |= {} if told else {self.epoch: end}
        self.top, self.oldest = top, min(self.oldest, top + 1)
        self.history |= {Position(self.epoch, offset): record for offset, record in kept.items() if offset <= top}
        self.deleted |= {Position(self.epoch, offset) for offset in gone if offset <= top}

    def leads(self, old: Position, new: Position) -> bool:
        """Whether who stood at `old` may come to `new` without hearing of a loss."""
        epoch = new.epoch
        while epoch != old.epoch:
            end = self.ends.get(epoch)
            if end is None or old.offset > end.offset:
                return False
            epoch = end.epoch
        return True

    def _go_on_from(self, top: int) -> None:
        end = Position(self.epoch, top)
        self._next_epoch()
        self.former = (end, *self.former)
        self.ends[self.epoch] = end

    def _next_epoch(self) -> None:
        self.generation += 1
        self.epoch = f"{self.name[0]}{self.generation}"

    @property
    def tail(self) -> Position:
        return Position(self.epoch, self.top)

    def append(self, record: bytes) -> Position:
        if self.vacant:
            self.vacant = False
            self._go_on_from(0)
        self.top += 1
        self.history[self.tail] = record
        return self.tail

    def page(self, after: int | None) -> Page:
        kept = [offset for offset in range(self.oldest, self.top + 1) if not self._gone(offset)]
        lost = after is None or after < self.oldest - 1
        entries = [] if lost else [offset for offset in kept if offset > (after or 0)][:PAGE_ENTRIES]
        return Page(
            self.epoch,
            self.top,
            self.oldest,
            len(kept),
            after,
            tuple(Entry(offset, self.history[Position(self.epoch, offset)], 0) for offset in entries),
            former=self.former,
        )

    def _gone(self, offset: int) -> bool:
        return Position(self.epoch, offset) in self.deleted


class ModelStore(LogStore):
    """All logs, and the round trips under way: each waits once before it reads and once before it answers."""

    def __init__(self, logs: Sequence[ModelLog]) -> None:
        self.keys = Keys("belfry")
        self.lineage = Lineage(OneServer(), self.keys)
        self.logs = {log.name: log for log in logs}
        self.under_way: deque[Event] = deque()
        self.gated = True
        self.failing = False

    def read(self, requests: Sequence[tuple[str, Vector]], user: str = "") -> list[Page]:  # noqa: ARG002 - no marks here
        if not requests:
            return []
        self._travel()
        pages = [self._page(name, vector) for name, vector in requests]
        self._travel()
        return pages

    def tails(self, names: Sequence[str]) -> list[Tail | None]:
        self._travel()
        tails: list[Tail | None] = [Tail(log.tail, 0, log.oldest, 0) for log in map(self.logs.__getitem__, names)]
        self._travel()
        return tails

    def survey(
        self, names: Sequence[str], readers: Sequence[tuple[str, Sequence[str]]]
    ) -> tuple[list[Page], list[list[Marks]]]:
        self._travel()
        pages = [self._page(name, ()) for name in names]
        self._travel()
        return pages, [[NO_MARKS for _ in logs] for _, logs in readers]

    def _page(self, name: str, vector: Vector) -> Page:
        log = self.logs[name]
        return log.page(next((position.offset for position in vector if log.leads(position, log.tail)), None))

    def _travel(self) -> None:
        if self.gated:
            gate = Event()
            self.under_way.append(gate)
            gate.wait()
        if self.failing:
            raise BelfryError("store_unavailable")


class ModelPace(Pace):
    """A worker to which two readers are many: a fan-out to them stops after each write, and rests until told to go on.

    Each look at the clock takes a while; `rest_is_over` jumps beyond every rest.
    """

    wide = 1
    joined_bytes = 4 * FRAME

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.waiting_bytes = 6 * FRAME
        self.time = 0.0
        self.stopped: deque[Event] = deque()
        self.resting: Event | None = None
        self.gated = True

    def now(self) -> float:
        self.time += 0.001
        return self.time

    def turn(self) -> None:
        if self.gated:
            gate = Event()
            self.stopped.append(gate)
            gate.wait()

    def wait(self, event: Event, seconds: float | None) -> None:
        self.resting = event if seconds is not None else None
        event.wait()

    def rest_is_over(self) -> None:
        self.time += self.rest_seconds
        if self.resting is not None:
            self.resting.set()


class OneServer:
    """What a worker sees of Redis when it looks whether it is still the same."""

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        return [[b"0123456789abcdef", 0, 0], *[0 for _ in commands[1:]]]


class NoCommands:
    """Redis for what is not looked at."""

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        return [0 for _ in commands]


class Client:
    """Reads a stream, checks each frame as it comes, and remembers its cursor."""

    def __init__(self, logs: Sequence[ModelLog], lossless: Callable[[], bool] = lambda: True) -> None:
        """`lossless`: whether all that was published was or will be heard, in order."""
        self._logs = {log.name: log for log in logs}
        self._decoder = Decoder()
        self._lossless = lossless
        self.heard = dict.fromkeys(self._logs, 0)  # the number of each one's last message that is not kept
        self.faults: list[str] = []
        self.place: dict[str, Position] = {}
        self.cursor: str | None = None
        self.resets = 0

    def connect(self, cursor: Vector | None) -> None:
        """A new connection goes on from its cursor, and without one begins where `ready` says."""
        self._decoder = Decoder()
        self.place = {self._name(position): position for position in cursor or ()}

    def receive(self, data: bytes) -> None:
        """A fault is noted as well as raised: whoever writes must not stop because of one client."""
        try:
            self._receive(data)
        except AssertionError as fault:
            self.faults.append(str(fault))
            raise

    def _receive(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            if event.event in {"read", "updated", "typing"}:
                self._hear(event.event, json.loads(event.data))
                continue
            self.cursor = event.id or self.cursor
            vector = parse(event.id)
            if event.event == "message":
                self._check(vector, json.loads(event.data))
            else:
                self.resets += event.event == "reset"
                if event.event == "reset" or not self.place:
                    self.place = {self._name(position): position for position in vector}

    def has_everything(self) -> None:
        """Whatever comes after its place was deleted."""
        for name, position in self.place.items():
            log = self._logs[name]
            assert log.leads(position, log.tail), f"{name} was not told after {position}"
            missing = [Position(log.epoch, offset) for offset in range(position.offset + 1, log.top + 1)]
            assert set(missing) <= log.deleted, f"{name} never came past {position}"

    def _hear(self, event: str, told: dict[str, Any]) -> None:
        """What is not kept comes once and in order, and like a change of the state after what was said before it."""
        if event == "typing":
            (name,) = told["after"]
            assert told["n"] > self.heard[name], f"{told} came after {self.heard[name]}"
            self.heard[name] = told["n"]
        for name, offset in told.get("after", {}).items() if self._lossless() else ():
            place, deleted = self.place[name], self._logs[name].deleted
            missing = {Position(place.epoch, after) for after in range(place.offset + 1, offset + 1)}
            assert missing <= deleted, f"{event} came before {missing} of {name}"

    def _check(self, vector: Vector, message: dict[str, object]) -> None:
        brought = 0
        for new in vector:
            name = self._name(new)
            old, log = self.place[name], self._logs[name]
            assert log.leads(old, new), f"{name} went from {old} to {new} without a reset"
            assert new.offset >= old.offset, f"{name} went back from {old} to {new}"
            passed = {Position(new.epoch, offset) for offset in range(old.offset + 1, new.offset + 1)}
            if passed and json.loads(log.history[new].partition(b" ")[2]) == message:
                passed.remove(new)
                brought += 1
            assert passed <= log.deleted, f"{name} went from {old} to {new}"
            self.place[name] = new
        assert brought == 1, f"{message} came at {vector}"  # the same message twice moves nothing

    def _name(self, position: Position) -> str:
        return next(name for name in self._logs if name.startswith(position.epoch[0]))


class ModelSink:
    """A socket that takes so many bytes until its client reads."""

    subscriber: Subscriber

    def __init__(self, client: Client, room: int) -> None:
        self._client = client
        self._room = room
        self._outbox = b""
        self.closed = False
        self.most_kept = 0
        self.writes = 0
        self.broken = False

    @property
    def pending(self) -> bool:
        return bool(self._outbox)

    @property
    def pending_bytes(self) -> int:
        return len(self._outbox)

    def write(self, data: bytes) -> bool:
        assert not self.closed
        if self.broken:
            raise RuntimeError("a bug")
        self.writes += 1
        self._outbox += data
        self._pass_on()
        self.most_kept = max(self.most_kept, len(self._outbox))
        return not self._outbox

    def make_room(self, room: int) -> None:
        """The client reads: so much fits again."""
        was_pending = self.pending
        self._room += room
        self._pass_on()
        if was_pending and not self.pending and not self.closed:
            self.subscriber.drained()

    def close(self) -> None:
        self.closed = True

    def _pass_on(self) -> None:
        sent, self._outbox = self._outbox[: self._room], self._outbox[self._room :]
        self._room -= len(sent)
        self._client.receive(sent)


def numbered() -> Iterator[bytes]:
    """Records that differ."""
    number = 0
    while True:
        number += 1
        yield b'message {"n":%d}' % number
