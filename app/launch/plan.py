"""The servers that the launcher has to start. A process of its own (`planner.py`) derives them from the settings.

The launcher stays in memory as long as the servers. If it read the settings itself, it would keep 9 MB of modules. So
these two files are separate. Standard library only.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from . import installation

REFUSAL = "refused"  # replaces a plan, with the reason why there is none


class PlanError(ValueError):
    """Nothing can be started. The text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The servers to start, and their settings. `environ` is their environment, with an absolute `BELFRY_DATA_DIR`."""

    environ: dict[str, str]
    bind: str
    embeds_store: bool
    # Whether to start the demo's own model server, because no upstream is configured.
    stands_in: bool
    demo: bool
    drain_seconds: float


def read(given: Mapping[str, str]) -> Plan:
    """Run `planner.py` with the environment `given`, and return its plan. Raises `PlanError`."""
    command = installation.python("launch.planner")
    # It runs in a session of its own. So a Ctrl-C reaches only the launcher, which handles it after this call.
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
