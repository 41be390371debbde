"""Waiting for a condition instead of sleeping: quick when it holds soon, and with a limit when it never does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.005
WAIT_SECONDS = 20.0  # only a test that fails waits so long
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time, or `max`, in a period


class LateError(AssertionError):
    """What was waited for did not come in time."""


def patient(seconds: float) -> float:
    """A promised time, longer on a machine that has more to do than it can: there everything takes longer."""
    return seconds * max(1.0, os.getloadavg()[0] / cores())


@cache
def cores() -> float:
    """How many processors these tests may use. A container may see more than it gets."""
    allowed = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return min(allowed, int(quota) / int(period))
    except (OSError, ValueError):  # no container, or one without a limit
        return allowed


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
