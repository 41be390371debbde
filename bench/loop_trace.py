"""A trace of a worker's event loop: the iterations that took long, and the greenlets that ran in them.

While an iteration runs, no socket is polled. So every message that comes meanwhile waits for its end.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import greenlet

PAUSE_SECONDS = 0.001  # a shorter iteration is none
FIRST, LAST = 2, -2  # libev's highest and lowest priority


class LoopTrace:
    """Notes each iteration of gevent's loop that took `PAUSE_SECONDS` or longer by `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Of each pause: when it began, on the clock that all processes share, its seconds, and the seconds by name.
        self.pauses: list[tuple[float, float, dict[str, float]]] = []
        self._clock = clock
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._began = self._switched = self._collecting = clock()
        loop = gevent.get_hub().loop
        self._after_poll = loop.check(ref=False, priority=FIRST)
        self._before_poll = loop.prepare(ref=False, priority=LAST)

    def start(self) -> None:
        self._after_poll.start(self._begin)
        self._before_poll.start(self._end)
        greenlet.settrace(self._switch)
        gc.callbacks.append(self._collect)

    def stop(self) -> None:
        gc.callbacks.remove(self._collect)
        greenlet.settrace(None)
        self._after_poll.close()
        self._before_poll.close()

    def _begin(self) -> None:
        self._parts.clear()
        self._began = self._switched = self._clock()

    def _end(self) -> None:
        now = self._clock()
        seconds = now - self._began
        if seconds >= PAUSE_SECONDS:
            self._parts["the loop itself"] += now - self._switched
            self.pauses.append((time.monotonic() - seconds, seconds, dict(self._parts)))

    def _switch(self, _event: str, switched: tuple[Any, Any]) -> None:
        now = self._clock()
        self._parts[name_of(switched[0])] += now - self._switched
        self._switched = now

    def _collect(self, phase: str, _details: object) -> None:
        now = self._clock()
        if phase == "start":
            self._collecting = now
        else:  # the greenlet that it interrupted is charged with the rest
            self._parts["garbage collection"] += now - self._collecting
            self._switched += now - self._collecting


def name_of(running: Any) -> str:
    """Return what a greenlet does: the function with which it began, or the step that it repeats."""
    function = getattr(running, "_run", None)
    if isinstance(function, partial):
        function = function.func
    function = getattr(getattr(function, "__self__", None), "_step", function)
    return getattr(function, "__qualname__", "the loop itself")
