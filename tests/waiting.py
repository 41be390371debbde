"""Waiting for a condition instead of sleeping: quick when it holds soon, and with a limit when it never does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.005
WAIT_SECONDS = 10.0  # room for a slow machine; where a promise is shorter, a test says so


class LateError(AssertionError):
    """What was waited for did not come in time."""


def patient(seconds: float) -> float:
    """A promised time, longer on a machine that has more to do than it can: there everything takes longer."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(
    condition: Callable[[], T | None], seconds: float = WAIT_SECONDS, *, what: str | Callable[[], str] = ""
) -> T:
    """The first truthy answer of `condition`, asked again and again for `seconds` at most, and patiently."""
    began = time.monotonic()
    while True:
        answer = condition()
        if answer:
            return answer
        waited = time.monotonic() - began
        if waited > patient(seconds):
            told = what() if callable(what) else what
            raise LateError(f"waited {waited:.1f} s for {told or 'the condition'}, got {answer!r}")
        time.sleep(POLL_SECONDS)
