"""The server answers, and it is ready."""

from __future__ import annotations

from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import FailedError, SkippedError, expect_status, json_object

GROUP: Final = Group("health")
HIDDEN: Final = frozenset({401, 403, 404})  # a proxy may keep it inside


@GROUP.check(doctor=True)
def live(probe: Probe) -> None:
    """The process answers."""
    answer = probe.ask("GET", "/health/live")
    if answer.status_code in HIDDEN:
        raise SkippedError(f"/health/live answers {answer.status_code} from outside")
    expect_status(answer, 200)


@GROUP.check(doctor=True)
def ready(probe: Probe) -> None:
    """The process reaches its store."""
    answer = probe.ask("GET", "/health/ready")
    if answer.status_code in HIDDEN:
        raise SkippedError(f"/health/ready answers {answer.status_code} from outside")
    expect_status(answer, 200)


@GROUP.check(doctor=True)
def store(probe: Probe) -> None:
    """The store is configured so that it keeps what it acknowledges."""
    answer = probe.ask("GET", "/health/ready")
    if answer.status_code != 200:
        raise SkippedError(f"/health/ready answers {answer.status_code}")
    warnings = json_object(answer).get("warnings", ())
    if warnings:
        raise FailedError("a store that keeps messages", "; ".join([str(each["detail"]) for each in warnings]))
