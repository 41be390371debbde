"""How long a client may take to send what is read of it."""

from __future__ import annotations

from typing import Any

import gevent

from app.core.errors import BelfryError


class InTime:
    """Within it a client has `seconds` to send what is read of it. Raises `BelfryError` `body_late` into the reading.

    As `gevent.Timeout`, at less than half of its price: one is begun with each message, and hardly ever runs out.
    """

    __slots__ = ("_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._timer: Any = gevent.get_hub().loop.timer(self._seconds)
        self._timer.start(_give_up, gevent.getcurrent(), self._seconds)

    def __exit__(self, *_: object) -> None:
        self._timer.close()


def _give_up(reading: Any, seconds: float) -> None:
    reading.throw(BelfryError("body_late", f"The whole body has to come within {seconds:g} s."))
