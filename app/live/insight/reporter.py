"""Reports what this worker counted, every few seconds: to the other workers' figures, and to Prometheus.

All workers report in the middle of the store's slots, so that each comes once in every slot and none is counted twice
in one and not at all in the next.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from prometheus_client import Gauge

from ... import metrics
from ...core.errors import BelfryError
from ...store.insight.figures import FigureStore
from ..loop import Loop
from ..streams.streams import Streams
from .loop_lag import LoopLag

LAST_SECONDS = 0.5  # for the last report of a worker that stops
SPREAD = 0.2  # part of a slot over which the workers' reports lie, so that they don't all come at once

_QUIETLY: Any = False

logger = logging.getLogger("belfry.reporter")


class Reporter:
    """One per worker."""

    def __init__(
        self,
        store: FigureStore,
        streams: Streams,
        seconds: int,
        clock: Callable[[], float],
        gauges: Mapping[Gauge, Callable[[], float]] | None = None,
    ) -> None:
        """`gauges` are measured with each report."""
        self._store = store
        self._gauges = gauges or {}
        self._lag = LoopLag()
        self._streams = streams
        self._seconds = seconds
        self._clock = clock
        self._place = 0.5 + random.uniform(-SPREAD / 2, SPREAD / 2)  # noqa: S311 - spreads, hides nothing
        self._waiting: dict[str, int] = {}  # counted, and not yet taken by the store
        self._now = 0.0  # the store's time at the last report
        self._loop = Loop(
            self._report, lambda: gevent.sleep(self._until_next()), "the figures could not be reported", logger
        )

    def start(self) -> None:
        """Begin to report."""
        self._now = self._clock()
        self._loop.start()
        self._lag.start()
        metrics.WORKERS.set(1)

    def stop(self) -> None:
        """Report for the last time; a store that doesn't answer soon lacks it in the figures."""
        self._loop.stop()
        self._lag.stop()
        with gevent.Timeout(LAST_SECONDS, _QUIETLY):
            self.report()

    def report(self) -> float:
        """Report now; answers the store's time, or this machine's where the store doesn't answer.

        What could not be reported is reported later: it shows as a gap, and after it as what came to pass meanwhile.
        """
        for gauge, measure in self._gauges.items():
            gauge.set(measure())
        for name, count in metrics.take().items():
            self._waiting[name] = self._waiting.get(name, 0) + count
        now = {"workers": 1, "connections": len(self._streams), "slow": self._streams.slow}
        waiting, self._waiting = self._waiting, {}
        try:
            return self._store.add({**waiting, **now})
        except BelfryError as error:
            logger.info("the dashboard's figures can't be stored yet: %s", error.detail)
            self._waiting = waiting
        return self._clock()

    def _report(self) -> None:
        self._now = self._clock()
        self._now = self.report()

    def _until_next(self) -> float:
        """Seconds until this worker's place in the next slot."""
        return self._seconds * (1 + self._place) - self._now % self._seconds
