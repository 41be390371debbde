"""Measures how late the event loop wakes up. Code that computes for long delays every stream of the worker."""

from __future__ import annotations

import time

import gevent

from ... import metrics

SECONDS = 1.0  # between two looks


class LoopLag:
    """One per worker."""

    def __init__(self) -> None:
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """End."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)

    def _work(self) -> None:
        while True:
            due = time.monotonic() + SECONDS
            gevent.sleep(SECONDS)
            metrics.LAG.add(max(0.0, time.monotonic() - due))
