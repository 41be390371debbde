"""The figures of the last hour: one point for every few seconds, for all workers and nodes together.

Each worker adds its counts to one hash. The first worker in a new slot takes the sums of the previous slot, stores them
as one entry of a capped stream, and announces them on a topic of Belfry's own. So the size of the hash and of the
stream does not depend on the number of workers. Open dashboards cost one message every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import BelfryError
from ...core.identity.names import FIGURES_TOPIC
from ...core.insight.figures import point
from ...core.settings import Settings
from ...core.wire.frames import FIGURES, compact
from ...transport.connection import Command, Commands, Script
from ..keys import Keys, topic_log
from .flights import record_of

KEPT_SECONDS = 3_600

ADD = Script("figures")
SCRIPTS = (ADD,)

logger = logging.getLogger("belfry.figures")


class FigureStore:
    """Adds up the workers' figures and keeps the sums."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._seconds = settings.figures_seconds
        self._channel = self._keys.live(topic_log(FIGURES_TOPIC))

    def add(self, counted: Mapping[str, int]) -> float:
        """Add the counts of one worker. Return the store's time in Unix seconds, by which all workers synchronize."""
        pairs = [part for pair in counted.items() for part in pair]
        ((now_ms, closed),) = self._commands.run([ADD.call((self._keys.figures_now,), self._seconds, *pairs)])
        if closed:
            self._close(_sums(closed))
        return int(now_ms) / 1_000

    def hour(self, now: float) -> list[str]:
        """Return the points of the hour before `now` (Unix seconds), oldest first, each as JSON."""
        since_ms = int((now - KEPT_SECONDS) * 1_000)
        (entries,) = self._commands.run([("XRANGE", self._keys.figures, since_ms, "+")])
        return [record_of(fields).decode() for _, fields in entries]

    def _close(self, sums: dict[str, int]) -> None:
        """Keep a point and announce it.

        If that fails, the point is missing. An error must not reach the caller, because it would seem as if the counts
        were not added.
        """
        text = compact(point(sums.pop("slot") * self._seconds, self._seconds, sums))
        commands: list[Command] = [
            ("XADD", self._keys.figures, "MAXLEN", "~", KEPT_SECONDS // self._seconds, "*", "e", text),
            ("EXPIRE", self._keys.figures, KEPT_SECONDS),
            ("PUBLISH", self._channel, f"0.0 {FIGURES.decode()} {text}"),
        ]
        try:
            self._commands.run(commands)
        except BelfryError as error:
            logger.warning("a point of the dashboard's figures is missing: %s", error.detail)


def _sums(reply: Any) -> dict[str, int]:
    flat: Sequence[bytes] = reply
    return {name.decode(): int(number) for name, number in zip(flat[::2], flat[1::2], strict=True)}
