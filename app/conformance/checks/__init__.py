"""The checks by subject, in the order of the report."""

from __future__ import annotations

from typing import Final

from . import (
    access,
    answers,
    completions,
    dedup,
    delivery,
    feed,
    health,
    limits,
    presence,
    proxy,
    publish,
    refusals,
    reset,
    resume,
    state,
    stream,
)

GROUPS: Final = (
    health.GROUP,
    stream.GROUP,
    delivery.GROUP,
    dedup.GROUP,
    resume.GROUP,
    reset.GROUP,
    feed.GROUP,
    state.GROUP,
    publish.GROUP,
    refusals.GROUP,
    access.GROUP,
    presence.GROUP,
    limits.GROUP,
    completions.GROUP,
)
CHECKS: Final = tuple(check for group in GROUPS for check in group.checks)
# The proxy's checks ask again for what other checks see as well, in order to name the cause.
DOCTOR: Final = (*proxy.GROUP.checks, *answers.GROUP.checks, *[check for check in CHECKS if check.doctor])
