"""Every test file is in a tier, the tiers name only what exists, and CI runs each of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PACKAGES, refuse_skip
from tests.servers import PORTS, REPOSITORY, free_port
from tests.tiers import ALONE, BY_NAME, NIGHTLY, TIERS, Tier, failures_in, tier_of

WORKFLOWS = REPOSITORY / ".github" / "workflows"


@pytest.mark.parametrize("entry", [entry for tier in TIERS for entry in tier.paths])
def test_every_entry_is_the_beginning_of_a_test_file_s_path(entry: str) -> None:
    path = REPOSITORY / entry
    assert path.is_file() or list(path.rglob("test_*.py"))


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_a_new_file_belongs_to_the_tier_that_names_its_folder(tier: Tier) -> None:
    for entry in tier.paths:
        if not entry.endswith(".py"):
            assert tier_of(REPOSITORY / entry / "test_new.py") == tier.name


def test_a_file_in_a_new_folder_is_a_unit_test() -> None:
    assert tier_of(REPOSITORY / "tests" / "new_layer" / "test_new.py") == "quick"


def test_a_longer_entry_wins_and_a_similar_name_is_another_folder() -> None:
    browser = BY_NAME["browser"].paths[0]
    assert tier_of(REPOSITORY / f"{browser}/test_new.py") == "browser"
    assert tier_of(REPOSITORY / f"{browser}s/test_new.py") == "system"


def test_test_processes_choose_among_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    chosen = []
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        chosen.append({(free_port() - PORTS.start) % 3 for _ in range(5)})
    assert chosen == [{0}, {1}, {2}]


def test_ci_runs_every_tier() -> None:
    jobs = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())["jobs"]
    tiers = {each["tier"] for each in jobs["test"]["strategy"]["matrix"]["include"]}
    assert tiers == {tier.name for tier in TIERS}
    assert f".ci/run {NIGHTLY}" in (WORKFLOWS / "nightly.yml").read_text()


def test_nothing_runs_beside_a_test_that_measures() -> None:
    assert not BY_NAME[ALONE].per_core
    assert not BY_NAME[NIGHTLY].per_core


def skipped() -> pytest.TestReport:
    why = ("tests/test_any.py", 1, "Skipped: needs a program")
    return pytest.TestReport("test_any", ("tests/test_any.py", 1, ""), {}, "skipped", why, "call")


def test_a_skipped_test_fails_in_ci_and_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    at_home, in_ci, expected = skipped(), skipped(), skipped()
    expected.wasxfail = "a known fault"
    monkeypatch.delenv("CI", raising=False)
    refuse_skip(at_home)
    monkeypatch.setenv("CI", "true")
    refuse_skip(in_ci)
    refuse_skip(expected)
    assert [report.outcome for report in (at_home, in_ci, expected)] == ["skipped", "failed", "skipped"]
    assert str(in_ci.longrepr).endswith("Skipped: needs a program")


def test_ci_installs_every_program_that_a_test_asks_for() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    installed = {
        name: quoted or word for name, quoted, word in re.findall(r'\[([\w-]+)\]=(?:"([^"]+)"|([\w-]+))', script)
    }
    node = PACKAGES["node"]  # comes with npm
    assert {name: package for name, package in PACKAGES.items() if package != node}.items() <= installed.items()
    assert installed["npm"] == node


def test_failures_are_shown_again_with_their_ends(tmp_path: Path) -> None:
    test = tmp_path / "test_sum.py"
    test.write_text("def test_of_two():\n    # above\n" + "    # a line\n" * 30 + "    assert 1 + 1 == 3\n")
    report = tmp_path / "report.xml"
    alone = (sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path), str(test))
    subprocess.run([*alone, f"--junitxml={report}"], check=False, stdout=subprocess.DEVNULL)
    (told,) = failures_in(report)
    assert told.startswith("belfry: test_sum::test_of_two failed:\n")
    assert "E       assert (1 + 1) == 3" in told
    assert "# above" not in told
