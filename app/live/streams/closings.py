"""Logs one line for each stream that closes: whose it was, why it ended, how long it lasted, what it carried.

When thousands close at the same moment, as at a restart, only the first of each second are written one by one. The
others are counted by reason, so that logging takes no time from the goodbyes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from .subscriber import Subscriber

LINES_PER_SECOND = 100

logger = logging.getLogger("belfry.closed")


class Closings:
    """One per worker. `clock` answers Unix time."""

    def __init__(self, clock: Callable[[], float], *, enabled: bool) -> None:
        self._clock = clock
        self._enabled = enabled
        self._second = 0
        self._written = 0
        self._left_out: Counter[str] = Counter()

    def note(self, subscriber: Subscriber, reason: str) -> None:
        """A stream was closed."""
        if not self._enabled:
            return
        now = self._clock()
        if int(now) != self._second:
            self.flush()
            self._second, self._written = int(now), 0
        if self._written >= LINES_PER_SECOND:
            self._left_out[reason] += 1
            return
        self._written += 1
        told = {
            "user": subscriber.user,
            "reason": reason,
            "seconds": round(max(0.0, now - subscriber.since), 1),
            "messages": subscriber.messages,
            "bytes": subscriber.bytes,
        }
        logger.info(
            "stream closed: %s", " ".join([f"{name}={value}" for name, value in told.items()]), extra={"fields": told}
        )

    def flush(self) -> None:
        """Write how many were left out."""
        if self._left_out:
            told = {"closed": self._left_out.total(), **self._left_out}
            logger.info(
                "further streams closed: %s",
                " ".join([f"{name}={n}" for name, n in told.items()]),
                extra={"fields": told},
            )
            self._left_out.clear()
