"""The streams of this worker: connecting, limits, heartbeats, slow readers, goodbyes.

The hub knows logs; this module knows clients. It owns every subscriber from its first byte to its last.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import gevent

from ... import metrics
from ...core.completion.snapshot import Snapshot
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.log.catch_up import Page, start
from ...core.log.cursor import Vector
from ...core.settings import Settings
from ...core.wire import frames
from ...core.wire.frames import FeedCounts, Goodbye
from ...store.keys import user_log
from ..delivery.hub import Hub, total_announced
from ..insight.presence import Presence, id_of, name_of, number_of_one
from ..insight.recorder import Flights
from ..loop import Loop
from ..turns import Slices
from .closings import Closings
from .heartbeat import TimingWheel
from .poller import AVAILABLE as POLLER_AVAILABLE
from .poller import Poller
from .subscriber import ClientInfo, OpenLog, Sink, Subscriber

LAST_SECONDS = 1.0  # in which a worker that stops tells the store so; a store that is away holds no worker back
DISCONNECTED_RETRY_MS = 60_000  # a connection that an administrator ended comes back no earlier
# Multiples of it, without their whole parts, lie evenly between 0 and 1, however many (Weyl; Knuth, TAOCP 6.4).
GOLDEN = 0.618_033_988_749_894_9
SOONER = 10  # who is sent away to spread load comes back so much sooner than after a failure
RETRY_AFTER_SECONDS = 5

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.streams")


@dataclass(slots=True)
class Opening:
    """A connection that is being opened: its logs are open and read. They are released unless it is attached."""

    hub: Hub
    user: str
    logs: tuple[OpenLog, ...]
    pages: tuple[Page, ...]
    vector: Vector
    lost: bool
    announced: int
    attached: bool = False
    resumed: bool = False  # its client came with a cursor
    number: int = field(default_factory=number_of_one)
    tabs: int = 0  # of a browser that share it, 0 where the client didn't say
    merges: bool = False  # the history of a run is written as a snapshot
    unnamed: bool = False  # the client wants every message as an event of the type `message`

    def __del__(self) -> None:
        if not self.attached:
            self.hub.leave(self.logs)

    @property
    def counts(self) -> FeedCounts:
        """The user's unread messages and the revision, as of the pages."""
        return FeedCounts(sum(page.unread(page.top) for page in self.pages), sum(page.revision for page in self.pages))

    @property
    def connection(self) -> str:
        """The name of the connection."""
        return name_of(self.number)

    @property
    def behind(self) -> int:
        """The number of kept messages after its cursor."""
        places = zip(self.pages, self.vector, strict=True)
        return sum(page.between(position.offset) for page, position in places)


class Streams:
    """All open streams of one worker."""

    def __init__(
        self, hub: Hub, presence: Presence, flights: Flights, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self._hub = hub
        self._flights = flights
        self._presence = presence
        self._settings = settings
        self._clock = clock
        self._wheel = TimingWheel(settings.heartbeat_seconds, settings.stream_seconds)
        self._spread = random.random()  # noqa: S311 - spreads, hides nothing
        self._subscribers: dict[Subscriber, None] = {}
        self.tick = 0  # the wheel's, read with every write
        # Of each user: the streams of runs, which are no readers of the user's own log, and the waiting long polls.
        self._run_streams: dict[str, dict[Subscriber, None]] = {}
        self._polls: Counter[str] = Counter()
        self._waiting_polls = 0
        self._full: dict[Subscriber, int] = {}  # sinks that take nothing now → the tick at which they last did
        self._due = 0.0  # when the wheel turns next, monotonic
        self._timer = Loop(self._turn, self._wait_for_turn, "a heartbeat failed", logger)
        self.poller: Poller | None = None
        self.lame_duck_seconds = settings.lame_duck_seconds
        self.leaving = False  # the server was told to stop, and still serves
        self.draining = False
        self._closings = Closings(clock, enabled=settings.log_streams)
        self.ended: Counter[str] = Counter()  # closed streams by reason

    def __len__(self) -> int:
        return len(self._subscribers)

    @property
    def slow(self) -> int:
        """Streams whose socket is full."""
        return len(self._full)

    @property
    def outbox_bytes(self) -> int:
        """Bytes that wait in memory for slow streams."""
        return sum(subscriber.sink.pending_bytes for subscriber in self._full)

    def start(self) -> None:
        """Start the timer. A second call has no effect."""
        if not self._timer.running:
            self.poller = Poller() if POLLER_AVAILABLE else None
            self._due = time.monotonic()
            self._timer.start()
            self._presence.start()

    def stop(self) -> None:
        """End all streams without telling their clients."""
        for subscriber in list(self._subscribers):
            subscriber.close("stopped")
        self._timer.stop()
        if self.poller is not None:
            self.poller.close()

    @property
    def parks(self) -> bool:
        """Whether sockets can be parked on this system; elsewhere each stream is a queue that the server drains."""
        return POLLER_AVAILABLE

    def admit(self) -> None:
        """Raise `BelfryError` `too_many_connections` or `shutting_down` if no stream can be opened now."""
        if self.draining:
            raise BelfryError("shutting_down", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        if len(self._subscribers) >= self._settings.max_connections:
            raise _no_room(f"This worker holds {len(self._subscribers)} streams.")

    def stay(self) -> None:
        """Raise `BelfryError` `shutting_down` if balancers should no longer send clients here."""
        if self.leaving:
            raise BelfryError("shutting_down", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def open(self, user: str, names: Sequence[str], cursor: Vector | None, *, stays: bool = True) -> Opening:
        """Open the logs `names`, the user's own first, for a client that comes with `cursor`.

        One that doesn't stay needs no room. Raises `BelfryError` `too_many_connections`, `shutting_down` or
        `store_unavailable`.
        """
        if stays:
            self.admit()
        self.start()
        logs = self._hub.join(names)
        announced = total_announced(logs)
        try:
            pages = self._hub.read(logs, cursor, user)
            if stays:
                self.admit()  # again: others came while this one waited, or the worker was told to stop
        except BaseException:
            self._hub.leave(logs)
            raise
        return Opening(self._hub, user, logs, pages, *start(pages, cursor), announced, resumed=cursor is not None)

    def attach(self, opening: Opening, sink: Sink, head: bytes, claims: Claims, client: ClientInfo) -> None:
        """Make a stream of an opening: write `head`, then what was read, then be live or catch up."""
        opening.attached = True
        vector = tuple([log.shared(position) for log, position in zip(opening.logs, opening.vector, strict=True)])
        subscriber = Subscriber(self, claims, opening.logs, vector, sink)
        sink.subscriber = subscriber
        subscriber.unnamed = opening.unnamed
        if opening.merges:
            subscriber.snapshot = Snapshot(self._settings.snapshot_bytes)
        subscriber.stale = total_announced(opening.logs) != opening.announced  # since its counts were read
        self._make_room(subscriber.user)
        self._subscribers[subscriber] = None
        subscriber.since = self._clock()
        if opening.logs[0].finite:
            self._run_streams.setdefault(subscriber.user, {})[subscriber] = None
        else:  # who watches a run is not connected to the feed, and stands at other offsets
            self._presence.connected(subscriber, client, opening.number, opening.tabs)
            self._flights.connected(subscriber, opening.connection, resumed=opening.resumed, lost=opening.lost)
        metrics.STREAMS.inc()
        kind = "run" if opening.logs[0].finite else "feed"
        metrics.CONNECTED[kind, "resumed" if opening.resumed else "new"] += 1
        if opening.lost:
            metrics.RESET["connect",] += 1
        for open_log in opening.logs:
            open_log.add(subscriber)
        first = head + (frames.reset(vector) if opening.lost else b"")
        if subscriber.take(opening.pages, self._now_ms(), first) and not subscriber.go_live():
            self._hub.catch_up.add(subscriber, "connect")
        if not subscriber.closed:
            self._wheel.add(subscriber, self._clock())

    @contextmanager
    def polling(self, user: str, seconds: float) -> Iterator[None]:
        """Count one long poll of `user` while it waits; one of no seconds holds nothing.

        Raises `BelfryError` `too_many_connections`.
        """
        if not seconds:
            yield
            return
        if self._waiting_polls >= self._settings.max_waiting_polls:
            raise _no_room(f"This worker holds {self._waiting_polls} waiting polls.")
        held = self._held(user)
        if held >= self._settings.max_connections_per_user:
            raise _no_room(f"This worker holds {held} streams and waiting polls of this user.")
        self._polls[user] += 1
        self._waiting_polls += 1
        try:
            yield
        finally:
            self._waiting_polls -= 1
            self._polls[user] -= 1
            if not self._polls[user]:
                del self._polls[user]

    def wait_changed(self, opening: Opening, vector: Vector, seconds: float) -> bool:
        """Wait until something lies beyond `vector` or changed since the last read; False when nothing did in time."""
        return self._hub.wait_changed(opening.logs, vector, opening.announced, seconds)

    def read_again(self, opening: Opening, vector: Vector) -> tuple[Page, ...]:
        """A page of each of its logs after `vector`."""
        opening.announced = total_announced(opening.logs)
        return self._hub.read(opening.logs, vector, opening.user)

    def come_again(self) -> bytes:
        """The whole answer to a stream request while this worker stops: the client reconnects to another worker."""
        return frames.goodbye(Goodbye.SHUTDOWN, self.retry_ms())

    def drain(self) -> None:
        """Say goodbye to everyone: this worker stops. The delays told spread the return over the window."""
        self.draining = True
        self._hub.release()
        slices = Slices()
        for subscriber in list(self._subscribers):
            subscriber.say_goodbye(Goodbye.SHUTDOWN, self.retry_ms())
            slices.pause()
        self._closings.flush()
        with gevent.Timeout(LAST_SECONDS, _QUIETLY):
            self._presence.stop()
            self._flights.stop()

    def end(self, withdrawn: Callable[[Claims], bool]) -> None:
        """Say goodbye to every stream whose credential was just withdrawn."""
        slices = Slices()
        for subscriber in list(self._subscribers):
            if withdrawn(subscriber.claims):
                subscriber.say_goodbye(Goodbye.REVOKED, self._final_retry_ms())
            slices.pause()

    def retry_ms(self) -> int:
        """A random reconnect delay, from half to one and a half of the setting."""
        return self._jittered(self._settings.retry_ms)

    def _final_retry_ms(self) -> int:
        """The delay for clients that must not come back by themselves, though some obey nothing but `retry`."""
        return self._jittered(self._settings.final_retry_ms)

    def _jittered(self, milliseconds: int) -> int:
        self._spread = (self._spread + GOLDEN) % 1
        return int(milliseconds * (0.5 + self._spread))

    def _make_room(self, user: str) -> None:
        """Have the user's oldest streams make room for one more. Polls keep theirs, for they end soon."""
        while self._held(user) >= self._settings.max_connections_per_user:
            oldest = [next(iter(streams)) for streams in self._streams_of(user) if streams]
            if not oldest:
                return
            min(oldest, key=attrgetter("since")).say_goodbye(Goodbye.REPLACED, self._final_retry_ms())

    def _streams_of(self, user: str) -> tuple[Collection[Subscriber], Collection[Subscriber]]:
        """The user's streams of the feed and of runs, each in the order of their connecting."""
        return self._hub.readers(user_log(user)), self._run_streams.get(user, {})

    def _held(self, user: str) -> int:
        return sum(map(len, self._streams_of(user))) + self._polls.get(user, 0)

    def _now_ms(self) -> int:
        return int(self._clock() * 1_000)

    # What subscribers tell

    def blocked(self, subscriber: Subscriber) -> None:
        metrics.SLOWED[()] += 1
        self._full[subscriber] = self.tick

    def progressed(self, subscriber: Subscriber) -> None:
        self._full[subscriber] = self.tick

    def drained(self, subscriber: Subscriber) -> None:
        self._full.pop(subscriber, None)
        self._hub.catch_up.add(subscriber, "slow")

    def outdated(self, subscriber: Subscriber) -> None:
        self._hub.badges.tell([subscriber], frames.UPDATED)

    def lost(self, subscriber: Subscriber) -> None:
        if not subscriber.logs[0].finite:
            self._flights.reset(subscriber, id_of(subscriber))

    def located(self, subscriber: Subscriber, log: OpenLog) -> None:
        """An administrator asks for the positions of the connections of the log's user."""
        if log is subscriber.logs[0]:
            self._presence.tell_again(subscriber.user)

    def dismissed(self, subscriber: Subscriber, log: OpenLog, wish: bytes) -> None:
        """An administrator ends the connections of the log's user, or the one with the id that is named."""
        told = json.loads(wish)
        if log is not subscriber.logs[0] or told["connection"] not in ("", id_of(subscriber)):
            return
        if told.get("reason") == Goodbye.REVOKED.value:
            subscriber.say_goodbye(Goodbye.REVOKED, self._final_retry_ms())
        else:
            subscriber.say_goodbye(Goodbye.DISCONNECTED, self.retry_ms() + DISCONNECTED_RETRY_MS)

    def shared(self, subscriber: Subscriber, log: OpenLog, told: bytes) -> None:
        """The client of one of the log's user's connections says how many tabs share it."""
        tabs = json.loads(told)
        if log is subscriber.logs[0] and tabs["connection"] == id_of(subscriber):
            subscriber.tabs = tabs["tabs"]
            self._presence.tell_again(subscriber.user)

    def closed(self, subscriber: Subscriber, reason: str) -> None:
        self.ended[reason] += 1
        metrics.STREAMS.dec()
        metrics.STREAMS_ENDED.labels(reason).inc()
        del self._subscribers[subscriber]
        for open_log in subscriber.logs:
            open_log.remove(subscriber)
        if subscriber.logs[0].finite:
            self._leave_run(subscriber)
        else:
            self._flights.closed(subscriber, self._presence.disconnected(subscriber), reason)
        self._full.pop(subscriber, None)
        self._wheel.remove(subscriber)
        self._hub.leave(subscriber.logs)
        self._closings.note(subscriber, reason)

    def _leave_run(self, subscriber: Subscriber) -> None:
        streams = self._run_streams[subscriber.user]
        del streams[subscriber]
        if not streams:
            del self._run_streams[subscriber.user]

    # Time

    def _wait_for_turn(self) -> None:
        # After a stall the wheel goes on from now: ticks made up for would count as silence of readers nobody served.
        self._due = max(self._due + self._wheel.tick_seconds, time.monotonic())
        gevent.sleep(self._due - time.monotonic())

    def _turn(self) -> None:
        now = self._clock()
        self._closings.flush()
        due = self._wheel.turn()
        self.tick = self._wheel.tick
        away = 0 < self._settings.away_seconds <= self._hub.canaries.away_seconds
        for subscriber in due:
            self._look_at(subscriber, now, away=away)
        limit = self._settings.write_timeout_seconds / self._wheel.tick_seconds
        for subscriber in [late for late, since in self._full.items() if self.tick - since >= limit]:
            subscriber.close("stalled")

    def _look_at(self, subscriber: Subscriber, now: float, *, away: bool) -> None:
        """Each stream's turn comes once in a heartbeat: what ends them all ends them bit by bit."""
        if subscriber.expires_at <= now:
            subscriber.say_goodbye(Goodbye.EXPIRED, self.retry_ms())
        elif away:  # another node may hear the store; this one is not ready
            subscriber.say_goodbye(Goodbye.SHUTDOWN, self.retry_ms(), "away")
        elif self._wheel.aged(subscriber):
            subscriber.say_goodbye(Goodbye.SHUTDOWN, self.retry_ms() // SOONER, "aged")
        elif self._wheel.silent(subscriber) and not subscriber.sink.pending:
            is_run = any(log.finite for log in subscriber.logs)
            subscriber.write(frames.RUN_HEARTBEAT if is_run else frames.HEARTBEAT)
        if not subscriber.closed:
            self._wheel.again(subscriber, now)


def _no_room(detail: str) -> BelfryError:
    return BelfryError("too_many_connections", detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
