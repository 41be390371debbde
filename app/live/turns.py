"""Turns of the loop: long work runs in short slices, and the loop polls its sockets between two of them.

`gevent.sleep(0)` gives no such turn: the greenlet may run again before the loop has polled.
"""

from __future__ import annotations

import time

import gevent

SLICE_SECONDS = 0.001  # of work for which somebody waits; a turn after each quarter of it would take 3 % of a batch
BACKGROUND_SLICE_SECONDS = 0.000_25  # a message passes several greenlets, and a slice may delay it at each of them
# What background work leaves to requests between two slices. libev rounds a shorter wait up to this one.
REST_SECONDS = 0.001

_LAST = -2  # libev's lowest priority: the handlers of all ready sockets run first


def turn(seconds: float = 0) -> None:
    """Let the loop poll its sockets and run the handlers of all that are ready. Return after `seconds` or later."""
    hub = gevent.get_hub()
    timer = hub.loop.timer(seconds, priority=_LAST)
    try:
        hub.wait(timer)
    finally:
        timer.close()


class Slices:
    """Cuts the work of one greenlet into slices of `seconds`, by default `SLICE_SECONDS`.

    Each slice is followed by a turn of `rest_seconds`.
    """

    __slots__ = ("_rest_seconds", "_seconds", "_until")

    def __init__(self, seconds: float | None = None, rest_seconds: float = 0) -> None:
        self._seconds = SLICE_SECONDS if seconds is None else seconds
        self._rest_seconds = rest_seconds
        self._until = time.monotonic() + self._seconds

    def pause(self) -> None:
        """End the slice if its time is over. Call this often: after each piece of the work."""
        if time.monotonic() >= self._until:
            turn(self._rest_seconds)
            self._until = time.monotonic() + self._seconds


def background() -> Slices:
    """Return the slices of work for which nobody waits. It leaves most of the time to requests."""
    return Slices(BACKGROUND_SLICE_SECONDS, REST_SECONDS)
