"""One connection's place in the logs that it reads, and what is written to its sink.

Nothing here switches greenlets: every method runs between two switch points, so a check and the change that rests on
it can't be torn apart. A subscriber is `live` (the hub writes to it) or catching up (`catch_up` pages for it).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ... import metrics
from ...core.completion.snapshot import Snapshot
from ...core.identity.tokens import Claims
from ...core.log import catch_up
from ...core.log.catch_up import LIVE_ONLY, Entry, Page
from ...core.log.cursor import Position, Vector, replace
from ...core.wire import frames
from ...core.wire.frames import Goodbye

CHUNK_BYTES = (
    32_768  # one write of history: fewer system calls than a write per message, little to keep when it is full
)


class Sink(Protocol):
    """The way to one client."""

    subscriber: Subscriber

    def write(self, data: bytes) -> bool:
        """Take all of `data`. False: the client is slow or gone; what it could not take is kept, send nothing more."""

    def close(self) -> None:
        """Release the client's connection."""

    @property
    def pending(self) -> bool:
        """Whether something that was taken still waits for the client."""

    @property
    def pending_bytes(self) -> int:
        """How much of what was taken waits for the client."""


class Watcher(Protocol):
    """Something to be told of changes, such as an event."""

    def set(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Where a connection comes from: the client's address, and what the program calls itself."""

    address: str
    agent: str


class OpenLog:
    """A log with local readers. `seen` is the newest position known here, None before anything was read of it.

    `acknowledged`: every append is heard now. `heard`: it was so once, and may have been interrupted since.
    `home`: what hears it, the link to the shard that holds it, see `Links`; None while that is not known.
    `finite`: it ends with the record `frames.END`, and so do its readers. `ended`: that record was heard.
    """

    __slots__ = (
        "_members", "acknowledged", "announced", "checked_oldest", "checked_unheard", "ended", "finite", "heard",
        "home", "name", "references", "seen", "watchers",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: Position | None = None
        # Nearly every feed has one reader, and a dict of one weighs more than the reader.
        self._members: dict[Subscriber, None] | Subscriber | None = None
        self.references = 0
        self.acknowledged = False
        self.heard = False
        self.home: object | None = None
        self.announced = 0  # changes of the feed's state that were heard here
        # What the store had when it was last compared: changes not heard here, and the oldest offset, 0 before.
        self.checked_unheard = 0
        self.checked_oldest = 0
        self.finite = name.startswith("run:")
        self.ended = False
        self.watchers: tuple[Watcher, ...] = ()  # to be told when something was appended, or when it was acknowledged

    @property
    def members(self) -> Collection[Subscriber]:
        """Its readers in the order of their connecting. It changes as they come and go."""
        if isinstance(self._members, dict):
            return self._members
        return () if self._members is None else (self._members,)

    def add(self, subscriber: Subscriber) -> None:
        """Add a reader."""
        if isinstance(self._members, dict):
            self._members[subscriber] = None
        else:
            self._members = subscriber if self._members is None else {self._members: None, subscriber: None}

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a reader."""
        if isinstance(self._members, dict):
            del self._members[subscriber]
        else:
            self._members = None

    def note(self, live: Position, ends: bool) -> None:
        """Note a received append. `ends`: nothing follows it."""
        if live.offset != LIVE_ONLY:
            if self.seen is None or self.seen.epoch != live.epoch or live.offset > self.seen.offset:
                self.seen = live
            self.ended = self.ended or ends

    def wake(self) -> None:
        """Tell its watchers that there is something new."""
        for watcher in self.watchers:
            watcher.set()

    def shared(self, position: Position) -> Position:
        """The very `seen` where that is the same position."""
        return self.seen if self.seen is not None and self.seen == position else position

    def check(self, revision: int, oldest: int) -> bool:
        """Whether something changed since the last check that was not heard, by what the store has now."""
        before, known = (self.checked_unheard, self.checked_oldest), self.checked_oldest > 0
        self.checked_unheard, self.checked_oldest = revision - self.announced, oldest
        return known and before != (self.checked_unheard, self.checked_oldest)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of each change, until `unwatch`."""
        self.watchers += (watcher,)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop telling `watcher`."""
        self.watchers = tuple([each for each in self.watchers if each is not watcher])


class Subscriber:
    """One connection. It tells `owner` when its sink is full or closed."""

    __slots__ = (
        "bytes", "claims", "client", "closed", "finished", "leaves_at", "live", "logs", "messages", "number", "owner",
        "place", "queued",
        "silent_since", "since", "sink", "slot", "snapshot", "stale", "tabs", "unnamed", "vector",
    )  # fmt: skip

    def __init__(
        self, owner: SubscriberOwner, claims: Claims, logs: tuple[OpenLog, ...], vector: Vector, sink: Sink
    ) -> None:
        self.owner = owner
        self.claims = claims
        self.logs = logs
        self.vector = vector
        self.sink = sink
        self.client: ClientInfo | None = None  # where it comes from, if administrators are told of it,
        self.number = 0  # by which name,
        self.since = 0.0  # when it began, in Unix seconds,
        self.tabs = 0  # and how many tabs of a browser share it, 0 where nobody said so
        self.snapshot: Snapshot | None = None  # merges the history of a run; None: each entry is a block
        self.unnamed = False  # its client wants every message as an event of the type `message`
        self.live = False
        self.queued = False
        self.stale = False  # its client has counts from before a change that it could not be told
        self.closed = False
        self.messages = 0  # written to it, and so many bytes in all
        self.bytes = 0
        self.finished = False  # nothing follows what its sink still holds
        self.silent_since = 0  # in ticks of the heartbeat's wheel, as is when it makes room for others
        self.leaves_at = 0
        self.slot = -1  # of the wheel, and the place in it
        self.place = 0

    @property
    def user(self) -> str:
        return self.claims.user

    @property
    def expires_at(self) -> float:
        return self.claims.expires_at

    @property
    def homes(self) -> set[object]:
        """The links to the shards of its logs."""
        return {open_log.home for open_log in self.logs}

    def position(self, open_log: OpenLog) -> Position:
        """Its position in one of its logs."""
        return self.vector[self.logs.index(open_log)]

    def places(self) -> dict[str, str]:
        """Its positions in its logs, each as `epoch.offset`."""
        return {
            open_log.name: f"{epoch}.{offset}" for open_log, (epoch, offset) in zip(self.logs, self.vector, strict=True)
        }

    def write(self, data: bytes) -> bool:
        """Hand frames to the sink; on False the subscriber waits until the sink has drained, or is closed."""
        self.bytes += len(data)
        if self.sink.write(data):
            self.silent_since = self.owner.tick
            return True
        self.live = False
        if not self.closed:
            self.owner.blocked(self)
        return False

    def take(self, pages: Sequence[Page | None], now_ms: int, first: bytes = b"") -> bool:
        """Write `first` and what the pages add, one page per log, None for a log that needs none.

        False: the sink is full.
        """
        chunk: list[bytes] = []
        size = len(first)
        finished = False
        for at, page in enumerate(pages):
            if page is None:
                continue
            before = self.vector[at]
            reading = catch_up.on_page(before, page)
            place = frames.LogFramer(self.vector, at, page.epoch)
            for entry in reading.entries:
                if entry.expires_ms and entry.expires_ms <= now_ms:
                    continue
                chunk.append(self._block(place, page.epoch, entry))
                metrics.TALLY.deliveries += not self.logs[at].finite
                self.messages += 1
                finished = finished or entry.record == frames.END
                size += len(chunk[-1])
                if size >= CHUNK_BYTES:
                    # What is left of the page is read again: the position says how far this reader came.
                    self._stand(at, Position(page.epoch, entry.offset))
                    if not self._hand_over(first, chunk, finished):
                        return False
                    first, chunk, size = b"", [], 0
            self._stand(at, reading.position)
            if self.snapshot is not None and (finished or reading.lost or reading.position == page.tail):
                chunk.append(self.snapshot.flush())
            if reading.lost:
                metrics.RESET["history" if page.place(before) is None else "trimmed",] += 1
                chunk.append(frames.reset(self.vector))
                self.owner.lost(self)
                # What ended a finite log may be in the part that was lost: nobody must wait for it.
                finished = finished or self.logs[at].finite
        return self._hand_over(first, chunk, finished)

    def _block(self, place: frames.LogFramer, epoch: str, entry: Entry) -> bytes:
        """The block of an entry of history; of a run's, the blocks that are complete with it, often none."""
        if self.snapshot is None:
            return place.message(entry.offset, frames.unnamed(entry.record) if self.unnamed else entry.record)
        return self.snapshot.take(Position(epoch, entry.offset), entry.record)

    def _stand(self, at: int, position: Position) -> None:
        """Set its position in one of its logs. Thousands of idle subscribers at a tail share the hub's object."""
        position = self.logs[at].shared(position)
        if position is not self.vector[at]:
            self.vector = replace(self.vector, position, at)

    def _hand_over(self, first: bytes, blocks: Sequence[bytes], finished: bool) -> bool:
        # History may hold what an older version kept. The search is cheap for many blocks at once.
        data = first + frames.stream_safe(b"".join(blocks)) if blocks else first
        written = self.write(data) if data else True
        if finished:
            self.finish()
        return written

    def go_live(self) -> bool:
        """Become live if nothing is known that was not yet written; no switch lies between the check and the change."""
        caught_up = catch_up.caught_up(self.vector, [log.seen for log in self.logs])
        self.live = caught_up and not self.closed and not (self.snapshot is not None and self.snapshot.holds)
        if self.live and self.stale:
            self.stale = False
            self.owner.outdated(self)
        return self.live

    def say_goodbye(self, reason: Goodbye, retry_ms: int, closed_as: str = "") -> None:
        """Tell the client why its stream ends, if it listens at all, and end it; `closed_as` is what counts it."""
        if not self.closed:
            if not self.sink.pending:
                self.sink.write(frames.goodbye(reason, retry_ms))
            self.close(closed_as or reason.value)

    def finish(self) -> None:
        """End the connection as soon as the client has everything."""
        self.finished = True
        if not self.sink.pending:
            self.close("finished")

    def drained(self) -> None:
        """The sink has room again: what came meanwhile is in the store."""
        if self.finished:
            self.close("finished")
            return
        self.silent_since = self.owner.tick
        self.owner.drained(self)

    def close(self, reason: str) -> None:
        """End the connection. Only the first call has an effect."""
        if not self.closed:
            self.closed = True
            self.live = False
            self.owner.closed(self, reason)
            self.sink.close()


class SubscriberOwner(Protocol):
    """The calls that a subscriber makes to its owner."""

    @property
    def tick(self) -> int: ...

    def blocked(self, subscriber: Subscriber) -> None: ...

    def progressed(self, subscriber: Subscriber) -> None: ...

    def drained(self, subscriber: Subscriber) -> None: ...

    def outdated(self, subscriber: Subscriber) -> None: ...

    def lost(self, subscriber: Subscriber) -> None: ...

    def located(self, subscriber: Subscriber, log: OpenLog) -> None: ...

    def dismissed(self, subscriber: Subscriber, log: OpenLog, wish: bytes) -> None: ...

    def shared(self, subscriber: Subscriber, log: OpenLog, told: bytes) -> None: ...

    def closed(self, subscriber: Subscriber, reason: str) -> None: ...
