"""A background loop: the one way to repeat a step in a greenlet of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from ..core.errors import BelfryError


class Loop:
    """Repeats `step`, and calls `wait` between two steps. A step that fails is logged, and the loop goes on.

    `wait` paces the loop, also after failures: it sleeps or waits for an event. With `wait_first` it comes before the
    first step. `failed` is the log line for a failed step, without a full stop.
    """

    def __init__(
        self,
        step: Callable[[], object],
        wait: Callable[[], object],
        failed: str,
        logger: logging.Logger,
        *,
        wait_first: bool = True,
    ) -> None:
        self._step = step
        self._wait = wait
        self._failed = failed
        self._logger = logger
        self._wait_first = wait_first
        self._greenlet: gevent.Greenlet[[], None] | None = None

    @property
    def running(self) -> bool:
        """Whether the loop was started and not stopped."""
        return self._greenlet is not None

    def start(self) -> None:
        """Start the loop; has no effect on a loop that runs."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def stop(self) -> bool:
        """Stop the loop, also in the middle of a step; answers whether it ran."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is None:
            return False
        gevent.kill(greenlet)
        return True

    def _run(self) -> None:
        if self._wait_first:
            self._wait()
        while True:
            self._step_once()
            self._wait()

    def _step_once(self) -> None:
        try:
            self._step()
        except BelfryError as error:
            self._logger.info("%s: %s", self._failed, error.detail)
        except Exception:  # the root of a greenlet: a bug in one step must not end the loop
            self._logger.exception("%s", self._failed)
