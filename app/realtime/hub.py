"""The hub: all logs that are open in this worker, and what Redis publishes for them.

It opens a log with its first local reader and leaves it after the last, writes each live entry to the subscribers that
stand right before it, and hands everyone else to `CatchUp`. It never keeps a message: what a subscriber can't take now
is read from the store later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import gevent
from gevent.event import Event

from app import metrics
from app.core import catch_up, frames
from app.core.catch_up import LIVE_ONLY, Page, Verdict, newest
from app.core.cursor import Position, Vector
from app.core.errors import BelfryError
from app.core.frames import UPDATED
from app.core.message import published_at
from app.core.settings import Settings
from app.realtime.badges import Badges
from app.realtime.canary import Canary
from app.realtime.catch_up import CatchUp
from app.realtime.link import Link, Subscription
from app.realtime.subscriber import OpenLog
from app.store.connection import RETRY_AFTER_SECONDS
from app.store.log import LogStore, Tail

WRITES_PER_TURN = 256  # of one fan-out, before everybody else on the worker gets a turn
VERIFY_RETRY_SECONDS = 1.0
HOLDS_PER_LIFE = 4  # so often within the time after which an unused log expires
TAILS_PER_CHECK = 500  # logs compared in one go, for the same reason

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

log = logging.getLogger("belfry.hub")

Plan = tuple[Verdict, Vector, bytes]


class Hub:
    """One per worker; starts with its first use, in the process that uses it."""

    def __init__(
        self,
        store: LogStore,
        connect: Callable[[], Subscription],
        settings: Settings,
        clock: Callable[[], float],
        follow: Callable[[], bool] = lambda: False,
    ) -> None:
        """`follow` answers whether the store is at another address than before, see `Connection.follow`."""
        self._store = store
        self._timeout_seconds = settings.redis_timeout_seconds
        self._check_seconds = settings.tail_check_seconds
        self._clock = clock
        self._hold_seconds = settings.history_seconds / HOLDS_PER_LIFE
        self._held_at = time.monotonic()
        self._logs: dict[str, OpenLog] = {}
        self._unverified: dict[OpenLog, None] = {}
        self._verify_now = Event()
        self._released = False
        self._link = Link(connect, store.keys.live, self)
        self._verifier: gevent.Greenlet[[], None] | None = None
        self.canary = Canary(store, self._link, follow, self._verify_all, settings.canary_seconds)
        self.catch_up = CatchUp(store, settings.catch_up_batch, settings.catch_up_rounds, clock)
        self.badges = Badges(store)

    def __len__(self) -> int:
        return len(self._logs)

    def start(self) -> None:
        """Connect to Redis and watch over the tails; again has no effect."""
        if self._verifier is None:
            self._link.start()
            self._verifier = gevent.spawn(self._verify)
            self.canary.start()

    def stop(self) -> None:
        """End all that was started."""
        if self._verifier is not None:
            gevent.kill(self._verifier)
        self.canary.stop()
        self.catch_up.stop()
        self.badges.stop()
        self._link.stop()

    # Opening

    def join(self, names: Iterable[str]) -> tuple[OpenLog, ...]:
        """Hold logs open; each call needs its `leave`."""
        self.start()
        logs = tuple([self._open(name) for name in names])
        for open_log in logs:
            open_log.references += 1
        return logs

    def leave(self, logs: Iterable[OpenLog]) -> None:
        """Let go of logs; Redis is told with the last."""
        for open_log in logs:
            open_log.references -= 1
            if not open_log.references:
                del self._logs[open_log.name]
                self._unverified.pop(open_log, None)
                self._link.unsubscribe(open_log)

    def read(self, logs: Sequence[OpenLog], cursor: Vector | None, user: str = "") -> tuple[Page, ...]:
        """Read the first page of each log from its position in the cursor, once every append to it will be heard.

        Order: subscribe (`join`), Redis acknowledges, read. What is appended after the read is heard, what was
        appended before is in it. The pages carry the marks of `user`. Raises `BelfryError` `store_unavailable`.
        """
        self._wait_acknowledged(logs)
        seen_before = [open_log.seen for open_log in logs]
        pages = tuple(self._store.read([(open_log.name, cursor or ()) for open_log in logs], user))
        for open_log, before, page in zip(logs, seen_before, pages, strict=True):
            open_log.seen = newest(open_log.seen, before, page.tail)
            if not open_log.checked_oldest:
                open_log.check(page.revision, page.oldest)
        return pages

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
        """Let everybody go who waits for a change, now and from now on: this worker stops."""
        self._released = True
        for open_log in self._logs.values():
            _wake(open_log)

    def _open(self, name: str) -> OpenLog:
        open_log = self._logs.get(name)
        if open_log is None:
            open_log = self._logs[name] = OpenLog(name)
            self._link.subscribe(open_log)
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

    # What the link tells

    def wanted(self) -> Iterable[OpenLog]:
        return [self.canary.log, *self._logs.values()]

    def acknowledged(self, open_log: OpenLog) -> None:
        again, open_log.heard = open_log.heard, True
        open_log.acknowledged = True
        _wake(open_log)
        if again and open_log.references:
            # It was read before the link was lost, or is being read: what was appended meanwhile shows in its tail.
            self._unverified[open_log] = None
            self._verify_now.set()

    def lost(self) -> None:
        for open_log in self._logs.values():
            open_log.acknowledged = False

    def received(self, channel: bytes, payload: bytes) -> None:
        """One append: `<epoch>.<offset> <record>`, see `append.lua`."""
        open_log = self._logs.get(self._store.keys.name_of(channel))
        if open_log is None:
            if channel == self.canary.channel:
                self.canary.heard()
            return
        place, _, record = payload.partition(b" ")
        epoch, _, offset = place.decode().partition(".")
        live = Position(epoch, int(offset))
        if live.offset == LIVE_ONLY:
            self._tell(open_log, record)
            return
        if open_log.seen is None or open_log.seen.epoch != epoch or live.offset > open_log.seen.offset:
            open_log.seen = live
        open_log.ended = open_log.ended or record == frames.END
        _wake(open_log)
        self._deliver(open_log, live, record)

    def _deliver(self, open_log: OpenLog, live: Position, record: bytes) -> None:
        """Write one entry to whoever stands right before it.

        Subscribers at the same place share one plan, so a frame is encoded once for all tabs of a user. The loop gives
        others a turn now and then; who leaves, falls back or catches up meanwhile is judged by what is true then.
        """
        plans: dict[Vector, Plan] = {}
        last = record == frames.END
        delivered = 0
        before: Vector | None = None
        for turn, subscriber in enumerate(list(open_log.members), 1):
            if subscriber.live:
                if subscriber.vector is not before:  # after one shared delivery they hold the very same vector
                    before = subscriber.vector
                    plan = plans.get(before)
                    if plan is None:
                        plan = plans[before] = _plan(before, live, record)
                    verdict, vector, frame = plan
                if verdict is Verdict.DELIVER:
                    subscriber.vector = vector
                    subscriber.write(frame)
                    delivered += 1
                    if last:
                        subscriber.finish()
                elif verdict is Verdict.GAP:
                    self.catch_up.add(subscriber)
            if not turn % WRITES_PER_TURN:
                gevent.sleep(0)
        if delivered and not open_log.finite:
            self._count(delivered, record)

    def _count(self, delivered: int, record: bytes) -> None:
        """Count a message once its last reader here was written to; the time from its publishing is until then.

        It was published by the clock of the machine that took it, and to the millisecond.
        """
        published = published_at(record)
        if published is not None:
            metrics.TALLY.delivered(delivered, self._clock() - published)

    def _tell(self, open_log: OpenLog, record: bytes) -> None:
        """Hand on what is not kept: a transient message as it is, a change of the feed with each reader's counts."""
        event, _, data = record.partition(b" ")
        if event == frames.DISMISSAL:
            for subscriber in list(open_log.members):
                subscriber.owner.dismissed(subscriber, open_log, data)
        elif event == frames.WHEREABOUTS:
            for subscriber in open_log.members:
                subscriber.owner.located(subscriber, open_log)
        elif event in frames.STATE_EVENTS:
            open_log.announced += 1
            _wake(open_log)
            self.badges.tell(open_log.members, record)
        else:
            delivered = self._write(open_log, frames.live_only(record))
            if delivered and event != frames.FIGURES:
                self._count(delivered, record)

    def _write(self, open_log: OpenLog, frame: bytes) -> int:
        """Write a frame to whoever is live; answers how many those were."""
        delivered = 0
        for turn, subscriber in enumerate(list(open_log.members), 1):
            if subscriber.live:
                subscriber.write(frame)
                delivered += 1
            if not turn % WRITES_PER_TURN:
                gevent.sleep(0)
        return delivered

    # Watching over the tails

    def _verify(self) -> None:
        """Compare what is known with what the store has: at once after a lost connection, and now and then anyway."""
        while True:
            pause = VERIFY_RETRY_SECONDS if self._unverified else self._check_seconds
            if not self._verify_now.wait(pause) and not self._unverified:
                self._unverified.update(dict.fromkeys(self._logs.values()))
                self._hold()
            self._verify_now.clear()
            while self._unverified and self._verified(list(islice(self._unverified, TAILS_PER_CHECK))):
                pass
            if not self._unverified:
                self._unverified = {}  # one that was emptied keeps room for all that it held

    def _verify_all(self) -> None:
        """The store's server is another one: every log may have lost what was known of it, and has a new epoch."""
        self._unverified.update(dict.fromkeys(self._logs.values()))
        self._verify_now.set()

    def _hold(self) -> None:
        """Keep logs with readers from expiring: who listens to a quiet log would be told that its history was lost."""
        if time.monotonic() - self._held_at >= self._hold_seconds:
            names = [open_log.name for open_log in self._logs.values()]
            try:
                self._store.hold(names)
                self._held_at = time.monotonic()
            except BelfryError as error:
                log.info("logs can't be held: %s", error.detail)

    def _verified(self, batch: Sequence[OpenLog]) -> bool:
        """Whether these could be compared. What is marked again while their tails are read stays marked."""
        for open_log in batch:
            del self._unverified[open_log]
        try:
            self._compare(batch)
        except BelfryError as error:
            log.info("tails can't be read: %s", error.detail)
        except Exception:
            log.exception("tails could not be compared")
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
            _wake(open_log)
            if tail:
                self._check_state(open_log, tail)
            for subscriber in open_log.members:
                # Behind: something was not heard. Ahead: the store was set back.
                if subscriber.live and subscriber.position(open_log) != open_log.seen:
                    self.catch_up.add(subscriber)
        self._let_expire(zip(batch, tails, strict=True))

    def _check_state(self, open_log: OpenLog, tail: Tail) -> None:
        """Count anew for its readers when a change was not heard, or entries were trimmed, which is not announced."""
        if open_log.check(tail.revision, tail.oldest):
            self.badges.tell(open_log.members, UPDATED)

    def _let_expire(self, batch: Iterable[tuple[OpenLog, Tail | None]]) -> None:
        """Touch the logs that hold expired entries: the store lets them go then, and announces it."""
        now_ms = int(self._clock() * 1_000)
        due = [open_log.name for open_log, tail in batch if tail and 0 < tail.expires_ms <= now_ms]
        if due:
            self._store.survey(due, [])


def total_announced(logs: Iterable[OpenLog]) -> int:
    """How many changes of the state of `logs` were heard here; it differs from what it was if any was."""
    return sum(open_log.announced for open_log in logs)


def _plan(vector: Vector, live: Position, record: bytes) -> Plan:
    verdict, after = catch_up.on_live(vector, live)
    return verdict, after, frames.message(after, record) if verdict is Verdict.DELIVER else b""


def _wake(open_log: OpenLog) -> None:
    for watcher in open_log.watchers:
        watcher.set()
