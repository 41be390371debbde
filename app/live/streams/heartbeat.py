"""A timing wheel: one timer for the heartbeats and ends of all streams of a worker.

Each subscriber is in the slot of the tick at which it must be checked next. A write to the subscriber moves nothing.
When the slot's tick comes, a subscriber that was written to since then moves to the slot in which its silence would be
too long. So a stream costs one check per interval, however often it is written to.
"""

from __future__ import annotations

import random
import sys
from functools import lru_cache

from .subscriber import Subscriber

TICKS_PER_INTERVAL = 50
LONGEST_TICK_SECONDS = 0.5  # a stream ends at most so long after its credential did
YOUNGEST = 0.8  # part of its longest life after which a stream may be sent on: those who came together part
ENDS = 2_000  # moments within the longest life at which streams end; every one takes memory
EARLY = 0.2  # part of the interval by which a heartbeat may come sooner, where a message to everyone lined them all up
CROWD = 2  # times its share of all: a slot that holds more sends some of them sooner


class TimingWheel:
    """Subscribers by the tick at which they are due, at most one heartbeat interval ahead.

    Ages are counted in ticks as well, so a clock that is set can't send everyone away at once; 0 seconds is no limit.
    """

    def __init__(self, heartbeat_seconds: float, life_seconds: float = 0) -> None:
        self.tick = 0
        self.tick_seconds = min(LONGEST_TICK_SECONDS, heartbeat_seconds / TICKS_PER_INTERVAL)
        self._interval = round(heartbeat_seconds / self.tick_seconds)
        self._earliest = round(self._interval * (1 - EARLY))
        self._life = int(life_seconds / self.tick_seconds)
        self._slots: list[list[Subscriber]] = [[] for _ in range(self._interval + 1)]
        self._count = 0  # of subscribers in them

    def add(self, subscriber: Subscriber, now: float) -> None:
        """Add a subscriber, as if it had been silent for a random while: this spreads those that connected together."""
        subscriber.silent_since = self.tick - random.randrange(self._earliest)  # noqa: S311 - spreads, hides nothing
        subscriber.leaves_at = self._end_of_life() if self._life else sys.maxsize
        self.again(subscriber, now)

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        if subscriber.slot < 0:
            return
        slot = self._slots[subscriber.slot]
        subscriber.slot = -1
        self._count -= 1
        last = slot.pop()
        if last is not subscriber:  # the last one takes its place
            slot[subscriber.place], last.place = last, subscriber.place

    def turn(self) -> list[Subscriber]:
        """Advance by one tick and return the due subscribers. Put each back with `again` unless it was closed."""
        self.tick += 1
        at = self.tick % len(self._slots)
        due, self._slots[at] = self._slots[at], []
        self._count -= len(due)
        for subscriber in due:
            subscriber.slot = -1
        return due

    def silent(self, subscriber: Subscriber) -> bool:
        """Whether a heartbeat is due: nothing was written to it for nearly an interval."""
        return self.tick - subscriber.silent_since >= self._earliest

    def aged(self, subscriber: Subscriber) -> bool:
        """Whether it is so old that it should reconnect, possibly to another worker."""
        return self.tick >= subscriber.leaves_at

    def again(self, subscriber: Subscriber, now: float) -> None:
        """Look at it when its silence will have lasted an interval, in a crowd sooner, and when its time is over."""
        until_silent = self._until_silent(subscriber.silent_since)
        until_end = int(min((subscriber.expires_at - now) / self.tick_seconds, self._interval - 1)) + 1
        until_aged = subscriber.leaves_at - self.tick
        subscriber.slot = (self.tick + max(1, min(until_silent, until_end, until_aged))) % len(self._slots)
        slot = self._slots[subscriber.slot]
        subscriber.place = len(slot)
        slot.append(subscriber)
        self._count += 1

    def _until_silent(self, since: int) -> int:
        slot = self._slots[(since + self._interval) % len(self._slots)]
        crowded = len(slot) > CROWD * (1 + self._count // self._interval)
        sooner = random.randint(0, self._interval - self._earliest) if crowded else 0  # noqa: S311 - spreads only
        return since + self._interval - sooner - self.tick

    def _end_of_life(self) -> int:
        at = self.tick + random.randint(int(self._life * YOUNGEST), self._life)  # noqa: S311 - spreads, hides nothing
        return _one(at - at % max(1, self._life // ENDS))


@lru_cache(maxsize=ENDS)
def _one(tick: int) -> int:
    """The same object for the same tick, which thousands of streams hold."""
    return tick
