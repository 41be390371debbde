"""Reports what this worker counted, every few seconds: to the other workers' figures, and to Prometheus.

All workers report in the middle of the store's slots, so that each comes once in every slot and none is counted twice
in one and not at all in the next.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import gevent

from ... import metrics
from ...core.errors import BelfryError
from ...store.insight.figures import FigureStore
from ..streams.streams import Streams

LAST_SECONDS = 0.5  # for the last report of a worker that stops
SPREAD = 0.2  # part of a slot over which the workers' reports lie, so that they don't all come at once

_QUIETLY: Any = False

log = logging.getLogger("belfry.reporter")


class Reporter:
    """One per worker."""

    def __init__(self, store: FigureStore, streams: Streams, seconds: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._streams = streams
        self._seconds = seconds
        self._clock = clock
        self._place = 0.5 + random.uniform(-SPREAD / 2, SPREAD / 2)  # noqa: S311 - spreads, hides nothing
        self._waiting: dict[str, int] = {}  # counted, and not yet taken by the store
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Begin to report."""
        self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """Report for the last time; a store that doesn't answer soon lacks it in the figures."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)
        with gevent.Timeout(LAST_SECONDS, _QUIETLY):
            self.report()

    def report(self) -> float:
        """Report now; answers the store's time, or this machine's where the store doesn't answer.

        What could not be reported is reported later: it shows as a gap, and after it as what came to pass meanwhile.
        """
        for name, count in metrics.take().items():
            self._waiting[name] = self._waiting.get(name, 0) + count
        now = {"workers": 1, "connections": len(self._streams), "slow": self._streams.slow}
        waiting, self._waiting = self._waiting, {}
        try:
            return self._store.add({**waiting, **now})
        except BelfryError as error:
            log.info("the figures wait: %s", error.detail)
            self._waiting = waiting
        return self._clock()

    def _work(self) -> None:
        now = self._clock()
        while True:
            gevent.sleep(self._until_next(now))
            try:
                now = self.report()
            except Exception:
                log.exception("the figures could not be reported")
                now = self._clock()

    def _until_next(self, now: float) -> float:
        """Seconds until this worker's place in the next slot."""
        return self._seconds * (1 + self._place) - now % self._seconds
