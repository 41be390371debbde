"""Rate limits: a token bucket for each key, refilled evenly. Pure: the caller passes `now`.

Each worker counts for itself, so a limit costs no round trip, and a deployment allows up to workers × limit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

KEYS_MAX = 20_000  # the longest unused go first; what they had used up is refilled in a minute anyway
WINDOW_SECONDS = 60.0
FORGOTTEN_AT_ONCE = 2
PARTS = 1_000_000  # what is missing in a bucket is rounded to: nobody shall wait for a rounding error of the clock's


class Taken(NamedTuple):
    """Whether something may happen now. `wait_seconds` is how long until it may, or until the bucket is full again."""

    allowed: bool
    limit: int
    remaining: int
    wait_seconds: int


class Buckets:
    """At most `per_minute` in any bucket, and as much again over a minute.

    Of a bucket is kept when it will be full again, and nothing once it is: thousands of users who connected and stay
    cost no memory here.
    """

    def __init__(self, per_minute: int, keys_max: int = KEYS_MAX) -> None:
        self._limit = per_minute
        self._rate = per_minute / WINDOW_SECONDS
        self._keys_max = keys_max
        self._full_at: OrderedDict[str, float] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, cost: int, now: float) -> Taken:
        """Take `cost` out of the bucket of `key`, or nothing where too little is left. A whole bucket buys anything."""
        full_at = self._full_at.get(key, now)
        missing = int((full_at - now) * self._rate * PARTS + 0.5) / PARTS if full_at > now else 0.0
        after = missing + min(cost, self._limit)
        if after > self._limit:
            wait_seconds = (after - self._limit) / self._rate
            return Taken(False, self._limit, int(self._limit - missing), math.ceil(wait_seconds))
        wait_seconds = after / self._rate
        self._full_at[key] = now + wait_seconds
        self._full_at.move_to_end(key)
        self._forget(now)
        return Taken(True, self._limit, int(self._limit - after), math.ceil(wait_seconds))

    def _forget(self, now: float) -> None:
        """Of the longest unused, those that are full, and whatever is too much; a few, since one came in."""
        for _ in range(FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._full_at), None)
            if oldest is None or (self._full_at[oldest] > now and len(self._full_at) <= self._keys_max):
                return
            del self._full_at[oldest]
