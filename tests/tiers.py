"""The tiers of the tests: which tests run together, and how.

    ./run test                  every tier, one after the other
    ./run test quick [args]     one tier; further arguments go to pytest
    ./run test tests/core -x    pytest as it is, one test after the other

A test belongs to the tier with the longest entry that its path begins with, so a new file needs no entry here. A test
marked `alone` belongs to the tier of that name, wherever its file is. Mark a test that measures time by the clock, or
memory under load, since another test beside it would change the figure. CPU time of one process or thread is no such
figure. A test marked `nightly` takes long and repeats what a quicker one promises in more combinations:
`./run test nightly` runs it, and nothing else does.

This file is the only one that names folders of tests/ for this purpose.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

REPOSITORY: Final = Path(__file__).parent.parent
BROWSER: Final = "browser"
ALONE: Final = "alone"  # this and the next one are also the names of markers
NIGHTLY: Final = "nightly"
FAILURE_LINES: Final = 25  # of each failure, shown again at the end


@dataclass(frozen=True, slots=True)
class Tier:
    """A set of tests. `per_core` test processes run on each core; with 0, one process runs one test after the other.

    The usual number is more than one, since tests of servers wait for half of their time.
    """

    name: str
    paths: tuple[str, ...]
    per_core: float = 1.5
    whole_files: bool = True  # each file runs in one process, in its own order; its tests may share a server
    covered: bool = False  # whether coverage is measured; see docs/testing.md

    def options(self) -> list[str]:
        """pytest's options for this tier."""
        processes = round(self.per_core * len(os.sched_getaffinity(0)))
        distribution = "loadfile" if self.whole_files else "worksteal"
        return [
            f"--tier={self.name}",
            *(["-n", str(max(processes, 1)), "--dist", distribution] if self.per_core else []),
            *(["--cov"] if self.covered else []),
        ]


TIERS: Final = (
    # Unit tests, the store's on a real Redis: every folder that no other tier names.
    Tier("quick", ("tests",), per_core=1, covered=True),
    # Real servers: gunicorn, the launcher, `./run`, the wheel, nginx, the benchmark. Also the built documentation.
    Tier(
        "system",
        (
            "tests/system",
            "tests/bench",
            "tests/launch/test_launcher.py",
            "tests/test_run.py",
            "tests/test_package.py",
            "tests/test_site.py",
        ),
    ),
    # A real Chromium.
    Tier(BROWSER, ("tests/system/browser",), per_core=1),
    # Faults and attacks. Nearly each test breaks a server of its own.
    Tier("faults", ("tests/faults", "tests/hostile"), whole_files=False),
    # Measurements: a second test on the same machine would change what they see.
    Tier(ALONE, (), per_core=0),
)
BY_NAME: Final = {tier.name: tier for tier in (*TIERS, Tier(NIGHTLY, (), per_core=0))}


def tier_of(path: Path) -> str:
    """The tier of a test file by its path; markers of its tests may say otherwise."""
    name = path.relative_to(REPOSITORY).as_posix()
    entries = [(len(entry), tier.name) for tier in TIERS for entry in tier.paths if _begins(name, entry)]
    return max(entries, default=(0, ALONE))[1]


def may_hold(path: Path, marker: str) -> bool:
    """Whether a test file has tests with this marker: importing all files to find out takes much longer."""
    return f"mark.{marker}" in path.read_text(encoding="utf-8")


def _begins(name: str, entry: str) -> bool:
    return name == entry or name.startswith(f"{entry}/")


def main(arguments: Sequence[str]) -> int:
    """Run all tiers, the tier that the first argument names, or pytest with the arguments."""
    if not arguments:
        return _run_all()
    tier = BY_NAME.get(arguments[0])
    if tier is None:
        return _pytest(arguments)
    # With further arguments only some of the tests may run, which cannot reach the coverage of all.
    return _pytest([*tier.options(), *(["--no-cov"] if arguments[1:] else []), *arguments[1:]])


def _run_all() -> int:
    """Run every tier, also after one that failed. Returns the first exit code that is not 0.

    The failures of all tiers come last, since other tiers' output would hide them.
    """
    codes, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for tier in TIERS:
            began = time.monotonic()
            report = Path(folder, f"{tier.name}.xml")
            codes.append(_pytest([*tier.options(), f"--junitxml={report}"]))
            took = time.monotonic() - began
            print(f"belfry: tier {tier.name} {'failed' if codes[-1] else 'passed'} after {took:.0f} s", flush=True)
            failures += list(failures_in(report)) if report.exists() else []
    print("\n\n".join(failures), flush=True)
    return next((code for code in codes if code), 0)


def failures_in(report: Path) -> Iterator[str]:
    """Yield the name and the end of each failure in a report of pytest, as JUnit's XML."""
    for case in ET.parse(report).iter("testcase"):
        for failure in (*case.iter("failure"), *case.iter("error")):
            name = f"{case.get('classname')}::{case.get('name')}"
            yield "\n".join([f"belfry: {name} failed:", *(failure.text or "").splitlines()[-FAILURE_LINES:]])


def _pytest(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY, check=False).returncode


def port_share() -> tuple[int, int]:
    """The number of this test process, from 0, and how many there are: servers of two processes never share a port."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
