"""Records things after the fact: callers note them and go on, one write a second takes what has come together."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import gevent

from ...core.errors import BelfryError

WRITE_SECONDS = 1.0

log = logging.getLogger("belfry.recorder")

T = TypeVar("T")


class Recorder(Generic[T]):
    """What waits to be recorded: of more than `most` in a second, the latest."""

    def __init__(self, write: Callable[[list[T]], None], most: int) -> None:
        self._store = write
        self._waiting: deque[T] = deque(maxlen=most)
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def note(self, item: T) -> None:
        """Record `item` soon."""
        self._waiting.append(item)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """Record what is left."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)
            self._write()

    def _work(self) -> None:
        while True:
            gevent.sleep(WRITE_SECONDS)
            self._write()

    def _write(self) -> None:
        items = list(self._waiting)
        self._waiting.clear()
        if not items:
            return
        try:
            self._store(items)
        except BelfryError as error:
            log.info("%d events are not recorded: %s", len(items), error.detail)
        except Exception:
            log.exception("%d events could not be recorded", len(items))
