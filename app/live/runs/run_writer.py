"""Appends the chunks of all runs of this worker, in shared round trips.

An idle writer writes at once. Chunks that come during a round trip go together into the next one. So a thousand tokens
at the same moment wake one greenlet, not a thousand.
"""

from __future__ import annotations

import logging
from typing import Protocol

from gevent.event import Event

from ...core.errors import BelfryError
from ...store.runs.runs import Append, Runs, Written
from ..loop import Loop

APPENDS_PER_WRITE = 400

logger = logging.getLogger("belfry.run_writer")


class Source(Protocol):
    """A run under way."""

    def take(self) -> Append | None:
        """The chunks to append now. `written` or `unwritten` is called before the next `take`."""

    def written(self, written: Written) -> None:
        """The store has the chunks."""

    def unwritten(self) -> None:
        """Nobody knows whether the store has the chunks."""


class RunWriter:
    """One per worker; starts with its first use."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._waiting: dict[Source, None] = {}
        self._filled = Event()
        self._loop = Loop(self._write_next, self._filled.wait, "a write failed", logger)

    def add(self, source: Source) -> None:
        """`source` has something to append."""
        self._waiting[source] = None
        self._filled.set()
        self._loop.start()

    def stop(self) -> None:
        """Write nothing more."""
        self._loop.stop()

    def _write_next(self) -> None:
        taken = self._take()
        if taken:
            self._write(taken)

    def _take(self) -> dict[Source, Append]:
        """The runs of one write. Later ones go into the next write."""
        sources = list(self._waiting)[:APPENDS_PER_WRITE]
        for source in sources:
            del self._waiting[source]
        if not self._waiting:
            self._filled.clear()
        taken = {source: source.take() for source in sources}
        return {source: append for source, append in taken.items() if append is not None}

    def _write(self, taken: dict[Source, Append]) -> None:
        try:
            written = self._runs.append_all(list(taken.values()))
        except BelfryError as error:
            logger.info("%d runs wait for the store: %s", len(taken), error.detail)
            for source in taken:
                source.unwritten()
        except Exception:
            logger.exception("a write failed")
            for source in taken:
                source.unwritten()
        else:
            for source, told in zip(taken, written, strict=True):
                source.written(told)
