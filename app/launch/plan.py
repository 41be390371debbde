"""What the launcher has to start. A process of its own (`planner.py`) derives it from the settings.

The launcher stays in memory as long as the servers. If it read the settings itself, it would keep 9 MB of modules. So
these two files are not joined. Standard library only.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from . import installation

REFUSAL = "refused"  # instead of a plan: why there is none


class PlanError(ValueError):
    """Why nothing can be started; its text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which servers, and how. `environ` is theirs, with an absolute `BELFRY_DATA_DIR`."""

    environ: dict[str, str]
    bind: str
    embeds_store: bool
    stands_in: bool  # a model server of the demo's own, where no upstream is configured
    demo: bool
    drain_seconds: float


def read(given: Mapping[str, str]) -> Plan:
    """Have `planner.py` make a plan of the environment `given`. Raises `PlanError`."""
    command = installation.python("launch.planner")
    # In a session of its own: a Ctrl-C is for the launcher, which hears it when this is done.
    done = subprocess.run(  # noqa: S603 - our own command line
        command,
        env=given,
        cwd=installation.base(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        start_new_session=True,
    )
    if done.returncode:
        raise PlanError(f"the settings can't be read (exit code {done.returncode})")
    answer = json.loads(done.stdout)
    if REFUSAL in answer:
        raise PlanError(answer[REFUSAL])
    return Plan(**answer)
