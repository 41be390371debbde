"""The hub: all logs that are open in this worker, and the messages that Redis publishes for them.

It opens a log for its first local reader and closes it after the last. `FanOut` writes each live entry to the readers
whose position is right before it. All other readers go to `CatchUp`. What a reader can't take now, it reads from the
store later.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import gevent
from gevent.event import Event

from ...core.errors import BelfryError
from ...core.log import catch_up
from ...core.log.catch_up import LIVE_ONLY, Page, newest
from ...core.log.cursor import Position, Vector, replace
from ...core.settings import Settings
from ...core.wire import frames
from ...core.wire.frames import UPDATED
from ...store.logs.log import LogStore, Tail
from ...transport.connection import RETRY_AFTER_SECONDS
from ...transport.shard import Shards
from ..streams.subscriber import OpenLog, Subscriber
from ..turns import Slices, background
from .badges import Badges
from .catch_up import CatchUp
from .fan_out import FanOut, Pace
from .links import Links

VERIFY_RETRY_SECONDS = 1.0
HOLDS_PER_LIFE = 4  # so often within the time after which an unused log expires
TAILS_PER_CHECK = 50  # logs compared in one round trip
TAILS_PER_SECOND = 1_000  # most that are compared without a reason: half a percent of a core, however many are open

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.hub")


class Hub:
    """One per worker. It starts with its first use, in the process that uses it."""

    def __init__(
        self,
        store: LogStore,
        shards: Shards,
        settings: Settings,
        clock: Callable[[], float],
        pace: Pace | None = None,
        *,
        examines: bool = True,
    ) -> None:
        """`examines`: whether to check the configuration of the store's servers regularly, see `Examination`."""
        self._store = store
        self._timeout_seconds = settings.redis_timeout_seconds
        self._check_seconds = settings.tail_check_seconds
        self._clock = clock
        self._hold_seconds = settings.history_seconds / HOLDS_PER_LIFE
        self._held_at = time.monotonic()
        self._logs: dict[str, OpenLog] = {}
        self._controls: dict[str, tuple[OpenLog, Callable[[bytes], None]]] = {}
        self._unverified: dict[OpenLog, None] = {}
        self._verify_now = Event()
        self._released = False
        self._links = Links(shards, store, settings, self, examines=examines)
        self._verifier: gevent.Greenlet[[], None] | None = None
        self.canaries = self._links.canaries
        self.catch_up = CatchUp(store, settings.catch_up_batch, settings.catch_up_rounds, clock)
        self.fan_out = FanOut(self.catch_up, clock, self._doubt, pace or Pace(settings))
        self.badges = Badges(store, self.fan_out)

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def is_running(self) -> bool:
        """Whether it was started."""
        return self._verifier is not None

    def start(self) -> None:
        """Connect to Redis and compare tails regularly. A second call has no effect."""
        if self._verifier is None:
            self.fan_out.start()
            self._links.start()
            self._verifier = gevent.spawn(self._verify)

    def stop(self) -> None:
        """End all that was started."""
        if self._verifier is not None:
            gevent.kill(self._verifier)
        self.catch_up.stop()
        self.badges.stop()
        self.fan_out.stop()
        self._links.stop()

    def listen(self, name: str, heard: Callable[[bytes], None]) -> None:
        """Subscribe to the channel `name`, which belongs to no log. Call it before `start`.

        `heard` gets what is published there. It gets nothing, b"", whenever something may have been missed: when the
        channel is heard for the first time, or again, and when the server of the store is another one.
        """
        self._controls[name] = OpenLog(name), heard

    @property
    def check_seconds(self) -> float:
        """The time between two comparisons of all open logs, if nothing requires an earlier one."""
        return max(self._check_seconds, len(self._logs) / TAILS_PER_SECOND)

    # Opening

    def join(self, names: Iterable[str]) -> tuple[OpenLog, ...]:
        """Hold logs open; each call needs its `leave`."""
        self.start()
        logs = tuple([self._open(name) for name in names])
        for open_log in logs:
            open_log.references += 1
        return logs

    def leave(self, logs: Iterable[OpenLog]) -> None:
        """Release logs. After the last release of a log, unsubscribe."""
        for open_log in logs:
            open_log.references -= 1
            if not open_log.references:
                del self._logs[open_log.name]
                self._unverified.pop(open_log, None)
                self._links.unsubscribe(open_log)

    def read(self, logs: Sequence[OpenLog], cursor: Vector | None, user: str = "") -> tuple[Page, ...]:
        """Read the first page of each log from its position in the cursor, after the subscriptions are acknowledged.

        Order: subscribe (`join`), Redis acknowledges, read. Later appends arrive by the subscription, earlier ones are
        in the page. The pages carry the marks of `user`. Raises `BelfryError` `store_unavailable`.
        """
        self._wait_acknowledged(logs)
        seen_before = [open_log.seen for open_log in logs]
        pages = tuple(self._store.read([(open_log.name, cursor or ()) for open_log in logs], user))
        for open_log, before, page in zip(logs, seen_before, pages, strict=True):
            open_log.seen = newest(open_log.seen, before, page.tail)
            if not open_log.checked_oldest:
                open_log.check(page.revision, page.oldest)
        return pages

    def readers(self, name: str) -> Collection[Subscriber]:
        """The readers of the named log here, in the order in which they connected."""
        open_log = self._logs.get(name)
        return open_log.members if open_log is not None else ()

    def wait_changed(self, logs: Sequence[OpenLog], vector: Vector, announced: int, seconds: float) -> bool:
        """Wait until something is known of `logs` beyond `vector`, or more than `announced` changes of their state.

        False when nothing came in time, or on `release`.
        """

        def unchanged() -> bool:
            caught_up = catch_up.caught_up(vector, [open_log.seen for open_log in logs])
            return caught_up and announced == total_announced(logs)

        changed = Event()
        for open_log in logs:
            open_log.watch(changed)
        try:
            with gevent.Timeout(max(0.0, seconds), _QUIETLY):
                # Woken for nothing as well: by a comparison of tails, an acknowledgement, a late duplicate.
                while not self._released and unchanged():
                    changed.clear()
                    changed.wait()
            return not unchanged()
        finally:
            for open_log in logs:
                open_log.unwatch(changed)

    def release(self) -> None:
        """End all waits for a change, now and in future: this worker stops."""
        self._released = True
        for open_log in self._logs.values():
            open_log.wake()

    def _open(self, name: str) -> OpenLog:
        open_log = self._logs.get(name)
        if open_log is None:
            open_log = self._logs[name] = OpenLog(name)
            self._links.subscribe(open_log)
        return open_log

    def _wait_acknowledged(self, logs: Sequence[OpenLog]) -> None:
        changed = Event()
        waiting = [open_log for open_log in logs if not open_log.acknowledged]
        for open_log in waiting:
            open_log.watch(changed)
        try:
            with gevent.Timeout(self._timeout_seconds, _QUIETLY):
                while not all(open_log.acknowledged for open_log in waiting):
                    changed.clear()
                    changed.wait()
                return
            raise BelfryError(
                "store_unavailable",
                "The message store did not acknowledge the subscription.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        finally:
            for open_log in waiting:
                open_log.unwatch(changed)

    # What the links tell

    def open_logs(self) -> Iterable[OpenLog]:
        return [*[control for control, _ in self._controls.values()], *self._logs.values()]

    def find(self, channel: bytes) -> OpenLog | None:
        name = self._store.keys.name_of(channel)
        return self._controls[name][0] if name in self._controls else self._logs.get(name)

    def acknowledged(self, open_log: OpenLog) -> None:
        if open_log.name in self._controls:
            self._controls[open_log.name][1](b"")
            return
        again, open_log.heard = open_log.heard, True
        open_log.acknowledged = True
        open_log.wake()
        if again:
            # It was read before the link was lost, or is being read: what was appended meanwhile shows in its tail.
            self._doubt(open_log)

    def lost(self, logs: Iterable[OpenLog]) -> None:
        for open_log in logs:
            open_log.acknowledged = False

    def changed(self, logs: Iterable[OpenLog]) -> None:
        """The server of these logs was replaced. Each has a new epoch and may have lost entries."""
        for open_log in logs:
            if open_log.name in self._controls:
                self._controls[open_log.name][1](b"")
            else:
                self._unverified[open_log] = None
        self._verify_now.set()

    def received(self, channel: bytes, payload: bytes) -> None:
        """One append: `<epoch>.<offset> <record>`, see `append.lua`."""
        name = self._store.keys.name_of(channel)
        open_log = self._logs.get(name)
        if open_log is None:
            if name in self._controls:
                self._controls[name][1](payload)
            else:
                self.canaries.heard(channel)
            return
        place, _, record = payload.partition(b" ")
        epoch, _, offset = place.decode().partition(".")
        live = Position(epoch, int(offset))
        if live.offset != LIVE_ONLY or not self._announced(open_log, live, record):
            self.fan_out.take(open_log, live, record)

    def _announced(self, open_log: OpenLog, live: Position, record: bytes) -> bool:
        """Handle a publication that is no message, and return whether it was one. `Badges` tells changes of a feed."""
        event, _, data = record.partition(b" ")
        if event == frames.BORN:
            _begin(open_log, live, data.decode().split())
        elif event == frames.DISMISSAL:
            for subscriber in list(open_log.members):
                subscriber.owner.dismissed(subscriber, open_log, data)
        elif event == frames.TABS:
            for subscriber in open_log.members:
                subscriber.owner.shared(subscriber, open_log, data)
        elif event == frames.WHEREABOUTS:
            for subscriber in open_log.members:
                subscriber.owner.located(subscriber, open_log)
        elif event in frames.STATE_EVENTS:
            open_log.announced += 1
            open_log.wake()
            self.badges.tell(open_log.members, record)
        else:
            return False
        return True

    # Watching over the tails

    def _verify(self) -> None:
        """Compare open logs with the store: at once after a lost connection, and regularly."""
        while True:
            pause = VERIFY_RETRY_SECONDS if self._unverified else self.check_seconds
            is_urgent = self._verify_now.wait(pause)  # readers wait for what was said while the connection was lost
            if not is_urgent and not self._unverified:
                self._unverified.update(dict.fromkeys(self._logs.values()))
                self._hold()
            self._verify_now.clear()
            away: set[object] = set()
            slices = Slices() if is_urgent else background()
            while batch := self._next_unverified(away):
                if not self._verified(batch):
                    away.add(batch[0].home)
                if self._unverified:
                    slices.pause()
            if not self._unverified:
                self._unverified = {}  # one that was emptied keeps room for all that it held

    def _next_unverified(self, away: Collection[object]) -> list[OpenLog]:
        """Logs of one shard, so that a shard that is away delays only its own logs. `away` are shards to leave out."""
        batch: list[OpenLog] = []
        for open_log in self._unverified:
            if open_log.home not in away and (not batch or open_log.home is batch[0].home):
                batch.append(open_log)
                if len(batch) == TAILS_PER_CHECK:
                    break
        return batch

    def _doubt(self, open_log: OpenLog) -> None:
        """Mark a log to be compared: its readers may have missed something."""
        if open_log.references:
            self._unverified[open_log] = None
            self._verify_now.set()

    def _hold(self) -> None:
        """Keep logs with readers from expiring. Otherwise readers of a quiet log would be told of a loss."""
        if time.monotonic() - self._held_at >= self._hold_seconds:
            by_home: defaultdict[object, list[str]] = defaultdict(list)
            for open_log in self._logs.values():
                by_home[open_log.home].append(open_log.name)
            held = [self._held(names) for names in by_home.values()]
            if all(held):
                self._held_at = time.monotonic()

    def _held(self, names: Sequence[str]) -> bool:
        try:
            self._store.hold(names)
        except BelfryError as error:
            logger.info("the lifetime of open logs can't be extended: %s", error.detail)
            return False
        return True

    def _verified(self, batch: Sequence[OpenLog]) -> bool:
        """Compare these logs; return whether that was possible. A log that is marked again meanwhile stays marked."""
        for open_log in batch:
            del self._unverified[open_log]
        try:
            self._compare(batch)
        except BelfryError as error:
            logger.info("open logs can't be compared with the store: %s", error.detail)
        except Exception:
            logger.exception("comparing open logs with the store failed")
        else:
            return True
        self._unverified.update(dict.fromkeys(open_log for open_log in batch if open_log.references))
        return False

    def _compare(self, batch: Sequence[OpenLog]) -> None:
        seen_before = [open_log.seen for open_log in batch]
        tails = self._store.tails([open_log.name for open_log in batch])
        for open_log, before, tail in zip(batch, seen_before, tails, strict=True):
            # A log without a tail lost its epoch, and gets another one with the next read of it.
            open_log.seen = newest(open_log.seen, before, tail.position) if tail else None
            if tail and open_log.seen and open_log.seen.epoch != tail.position.epoch:
                # Another answer, of another epoch, came while this one was on its way: which is later is not known.
                self._unverified.update({open_log: None} if open_log.references else {})
            open_log.wake()
            if tail:
                self._check_state(open_log, tail)
            self._find_strays(open_log)
        self._let_expire(zip(batch, tails, strict=True))

    def _find_strays(self, open_log: OpenLog) -> None:
        """Let readers catch up that are behind (a message was missed) or ahead (the store was set back)."""
        reached: dict[Position, bool] = {}
        for subscriber in open_log.members:
            position = subscriber.position(open_log)
            if subscriber.live and position != open_log.seen:
                if position not in reached:
                    reached[position] = self.fan_out.reach(open_log, position) == open_log.seen
                if not reached[position]:
                    self.catch_up.add(subscriber, "comparison")

    def _check_state(self, open_log: OpenLog, tail: Tail) -> None:
        """Send new counts to its readers if a change was missed, or entries were trimmed, which is not announced."""
        if open_log.check(tail.revision, tail.oldest):
            self.badges.tell(open_log.members, UPDATED)

    def _let_expire(self, batch: Iterable[tuple[OpenLog, Tail | None]]) -> None:
        """Touch logs with expired entries: the store then removes them and announces it."""
        now_ms = int(self._clock() * 1_000)
        due = [open_log.name for open_log, tail in batch if tail and 0 < tail.expires_ms <= now_ms]
        if due:
            self._store.survey(due, [])


def _begin(open_log: OpenLog, start: Position, vacant: Sequence[str]) -> None:
    """The log was created: live readers in one of the epochs `vacant` are now at its beginning, see `open.lua`.

    A reader who is not live gets there by its next read. Nothing in here switches to another greenlet.
    """
    if open_log.seen is None or open_log.seen.epoch not in vacant:
        return
    open_log.seen = start
    for subscriber in open_log.members:
        if subscriber.live and subscriber.position(open_log).epoch in vacant:
            subscriber.vector = replace(subscriber.vector, start, subscriber.logs.index(open_log))


def total_announced(logs: Iterable[OpenLog]) -> int:
    """How many state changes of `logs` were received here. Compare it with an earlier value to notice a change."""
    return sum(open_log.announced for open_log in logs)
