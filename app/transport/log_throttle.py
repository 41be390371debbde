"""Logs refusals by Redis, which may come thousands of times a second: each text once a minute, with a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EVERY_SECONDS: Final = 60.0
TEXTS_MAX: Final = 20  # texts that are counted one by one; all further ones share one count
TEXT_MAX: Final = 300
OTHERS: Final = "Redis refuses further commands for further reasons"


@dataclass(slots=True)
class _Known:
    logged: float
    left_out: int = 0


class LogThrottle:
    """Writes warnings to one logger, each text at most once in `EVERY_SECONDS`."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def note(self, text: str) -> None:
        """Log `text`, or only count it if it was logged within the last minute."""
        now = self._clock()
        text = text[:TEXT_MAX]
        if text not in self._known and len(self._known) >= TEXTS_MAX:
            self._forget(now)
            if len(self._known) >= TEXTS_MAX:
                text = OTHERS
        known = self._known.get(text)
        if known is None:
            self._known[text] = _Known(now)
            self._log.warning("%s", text)
        elif now - known.logged < EVERY_SECONDS:
            known.left_out += 1
        else:
            self._log.warning("%s (%d times more since this was logged last)", text, known.left_out)
            self._known[text] = _Known(now)

    def _forget(self, now: float) -> None:
        """Forget texts that were logged long ago, to make room for others."""
        self._known = {text: known for text, known in self._known.items() if now - known.logged < EVERY_SECONDS}
