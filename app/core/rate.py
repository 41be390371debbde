"""Rate limits: a token bucket for each key, refilled evenly. Pure: the caller passes `now`.

Each worker counts for itself, so a limit costs no round trip. A deployment allows up to workers × limit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

# The buckets that were not used for the longest time are removed first. They refill in a minute anyway.
KEYS_MAX = 20_000
WINDOW_SECONDS = 60.0
FORGOTTEN_AT_ONCE = 2
# The precision of a bucket's level. Rounding prevents a wait that only a rounding error of the clock causes.
PARTS = 1_000_000


class Taken(NamedTuple):
    """Whether the action is allowed now. `wait_seconds` is how long until it is, or until the bucket is full again."""

    allowed: bool
    limit: int
    remaining: int
    wait_seconds: int


class Buckets:
    """Token buckets that hold `per_minute`, and refill by as much in a minute.

    For each bucket, this stores when it will be full again, and nothing once it is full. So thousands of users who
    connected and stay connected use no memory here.
    """

    def __init__(self, per_minute: int, keys_max: int = KEYS_MAX) -> None:
        self._limit = per_minute
        self._rate = per_minute / WINDOW_SECONDS
        self._keys_max = keys_max
        self._full_at: OrderedDict[str, float] = OrderedDict()  # ordered by last use, the oldest first

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, cost: int, now: float) -> Taken:
        """Take `cost` from the bucket of `key`, or nothing if too little is left. A full bucket allows any cost."""
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
        """Remove a few of the least recently used buckets: full ones, and any if there are too many.

        One call adds at most one bucket, so removing a few is enough.
        """
        for _ in range(FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._full_at), None)
            if oldest is None or (self._full_at[oldest] > now and len(self._full_at) <= self._keys_max):
                return
            del self._full_at[oldest]
