"""What a client may do while a body is read of it: take so long, and neither leave nor frame it wrongly."""

from __future__ import annotations

from typing import Any

import gevent
from gunicorn.http.errors import ParseException

from ..core.errors import BelfryError


class InTime:
    """Within it a client has `seconds` to send what is read of it. Raises `BelfryError` `body_late` into the reading.

    Whatever else ends the reading is the client's doing as well, and no failure of ours: `body_broken`.

    As `gevent.Timeout`, at less than half of its price: one is begun with each message, and hardly ever runs out.
    """

    __slots__ = ("_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._timer: Any = gevent.get_hub().loop.timer(self._seconds)
        self._timer.start(_give_up, gevent.getcurrent(), self._seconds)

    def __exit__(self, _kind: object, failure: object, _trace: object) -> None:
        self._timer.close()
        if isinstance(failure, OSError | ParseException):
            raise BelfryError("body_broken")


def _give_up(reading: Any, seconds: float) -> None:
    reading.throw(BelfryError("body_late", f"The whole body has to come within {seconds:g} s."))
