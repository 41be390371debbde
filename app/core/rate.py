"""Rate limits: a token bucket for each key, refilled evenly. Pure: the caller passes `now`.

Each worker counts for itself, so a limit costs no round trip, and a deployment allows up to workers × limit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

KEYS_MAX = 20_000  # the longest unused go first; what they had used up is refilled in a minute anyway
WINDOW_SECONDS = 60.0


class Taken(NamedTuple):
    """Whether something may happen now. `wait_seconds` is how long until it may, or until the bucket is full again."""

    allowed: bool
    limit: int
    remaining: int
    wait_seconds: int


class Buckets:
    """At most `per_minute` in any bucket, and as much again over a minute."""

    def __init__(self, per_minute: int, keys_max: int = KEYS_MAX) -> None:
        self._limit = per_minute
        self._rate = per_minute / WINDOW_SECONDS
        self._keys_max = keys_max
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → what is left, and when that was

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, cost: int, now: float) -> Taken:
        """Take `cost` out of the bucket of `key`, or nothing where too little is left. A whole bucket buys anything."""
        level, since = self._levels.get(key, (float(self._limit), now))
        level = min(self._limit, level + (now - since) * self._rate)
        needed = min(cost, self._limit)
        allowed = level >= needed
        if allowed:
            level -= needed
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)
        missing = self._limit - level if allowed else needed - level
        return Taken(allowed, self._limit, int(level), math.ceil(missing / self._rate))
