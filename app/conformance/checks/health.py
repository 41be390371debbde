"""Whether there is a server that can work."""

from __future__ import annotations

from typing import Final

from app.conformance.check import Group
from app.conformance.probe import Probe
from app.conformance.verdict import SkippedError, expect_status

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
