"""Pages history for every subscriber that is not live: after connecting, a gap, a Redis outage, a full socket.

A few greenlets serve all of them, a batch in one round trip, so that the return of Redis, or of thousands of clients,
meets a bounded number of reads. Subscribers at the same place share their pages.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import gevent
from gevent import Greenlet

from ... import metrics
from ...core.errors import BelfryError
from ...core.log.catch_up import Page, newest
from ...core.log.cursor import Position
from ...store.logs.log import LogStore
from ..streams.subscriber import OpenLog, Subscriber

RETRY_SECONDS = 0.5

logger = logging.getLogger("belfry.catch_up")


class CatchUp:
    """The queue of subscribers that need history."""

    def __init__(self, store: LogStore, batch: int, rounds: int, clock: Callable[[], float]) -> None:
        """At most `rounds` are under way at a time, of `batch` subscribers each."""
        self._store = store
        self._batch = batch
        self._most_rounds = rounds
        self._clock = clock
        self._waiting: deque[Subscriber] = deque()
        self._rounds: set[Greenlet[[], None]] = set()

    @property
    def idle(self) -> bool:
        """Whether nobody waits for history."""
        return not self._rounds

    def add(self, subscriber: Subscriber, cause: str = "") -> None:
        """Take a subscriber off live delivery until it has read everything; one with a full sink, once that drained.

        `cause` counts it: `connect`, `gap`, `slow` or `comparison`; another round of the same catch-up has none.
        """
        subscriber.live = False
        if subscriber.closed or subscriber.queued or subscriber.sink.pending:
            return
        subscriber.queued = True
        self._waiting.append(subscriber)
        if cause:
            metrics.CAUGHT_UP[cause,] += 1
        if len(self._rounds) < self._most_rounds:
            greenlet = gevent.spawn(self._work)
            self._rounds.add(greenlet)
            greenlet.rawlink(self._rounds.discard)

    def stop(self) -> None:
        """End all rounds."""
        gevent.killall(list(self._rounds))

    def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            try:
                self._round(batch)
            except BelfryError as error:
                logger.info("history can't be read, %d streams wait: %s", len(batch) + len(self._waiting), error.detail)
                self._waiting.extend(batch)  # behind those who need other shards
                gevent.sleep(RETRY_SECONDS)
            except Exception:
                # Their clients come back with a cursor, which is better than streams that stand still for ever.
                logger.exception("catching up failed, the streams of this batch are closed")
                for subscriber in batch:
                    subscriber.close("error")

    def _next(self) -> list[Subscriber]:
        """The next batch: subscribers that need the same shards, so that none waits for a shard it does not read."""
        taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
        homes = taken[0].homes
        batch = [subscriber for subscriber in taken if subscriber.homes == homes]
        if len(batch) < len(taken):
            self._waiting.extendleft(reversed([subscriber for subscriber in taken if subscriber.homes != homes]))
        return batch

    def _round(self, batch: Sequence[Subscriber]) -> None:
        round_ = Round(batch)
        pages = self._store.read([(name, (position,)) for name, position in round_.requests])
        for subscriber in round_.finish(pages, int(self._clock() * 1_000)):
            self.add(subscriber)


class Round:
    """One read for a batch of subscribers, in two halves around the only switch point, the round trip."""

    def __init__(self, batch: Sequence[Subscriber]) -> None:
        self._batch = batch
        self._seen_before: dict[OpenLog, Position | None] = {}
        self._wanted: dict[tuple[str, Position], OpenLog] = {}
        for subscriber in batch:
            for open_log, position in zip(subscriber.logs, subscriber.vector, strict=True):
                # At the newest position known, a log needs no read: what is appended next comes live.
                if position != open_log.seen:
                    self._wanted[(open_log.name, position)] = open_log
                    self._seen_before[open_log] = open_log.seen

    @property
    def requests(self) -> list[tuple[str, Position]]:
        """What to read: a page of the named log after the position."""
        return list(self._wanted)

    def finish(self, pages: Sequence[Page], now_ms: int) -> list[Subscriber]:
        """Write the pages; answers who is neither live nor waiting for its sink, and needs another round."""
        found = dict(zip(self._wanted, pages, strict=True))
        for (name, position), open_log in self._wanted.items():
            tail = found[(name, position)].tail
            open_log.seen = newest(open_log.seen, self._seen_before[open_log], tail)
        return [subscriber for subscriber in self._batch if not _took(subscriber, found, now_ms)]


def _took(subscriber: Subscriber, found: dict[tuple[str, Position], Page], now_ms: int) -> bool:
    """Whether this round was enough: the subscriber is live now, or its sink or its end comes first."""
    subscriber.queued = False
    if subscriber.closed or subscriber.sink.pending:
        return True
    places = zip(subscriber.logs, subscriber.vector, strict=True)
    pages = [found.get((open_log.name, position)) for open_log, position in places]
    return not subscriber.take(pages, now_ms) or subscriber.go_live()
