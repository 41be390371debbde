"""What comes back from the process that reads the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.launch import plan
from app.launch.plan import Plan, PlanError

SECRET = "s" * 32

Given = Callable[..., dict[str, str]]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """This test's environment without the settings of whoever runs it, and with those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BELFRY_")}
    return lambda **settings: kept | {"BELFRY_DATA_DIR": str(tmp_path / "data")} | settings


def test_a_plan_comes_back_as_it_was_made_with_the_whole_environment(given: Given) -> None:
    environ = given(
        BELFRY_SECRET=SECRET, BELFRY_BIND="[::1]:8123", BELFRY_DRAIN_SECONDS="0.5", NOTE="zwölf\nZeilen und \udcff"
    )
    assert plan.read(environ) == Plan(
        environ, "[::1]:8123", embeds_store=True, stands_in=False, demo=False, drain_seconds=0.5
    )


def test_with_nothing_decided_it_brings_the_demo_and_its_secret(given: Given, tmp_path: Path) -> None:
    made = plan.read(given())
    assert (made.demo, made.stands_in) == (True, True)
    assert made.environ["BELFRY_SECRET"] == (tmp_path / "data" / "secret").read_text().strip()


def test_a_refusal_comes_back_as_its_line(given: Given) -> None:
    with pytest.raises(PlanError, match=r"^BELFRY_SECRET must be 32 bytes or more, got 7$"):
        plan.read(given(BELFRY_SECRET="hunter2"))
    with pytest.raises(PlanError, match=r"^BELFRY_DRAIN_SECONDS: .*, got 'ü'$"):
        plan.read(given(BELFRY_DRAIN_SECONDS="ü", PYTHONIOENCODING="ascii"))


def test_a_process_that_fails_makes_no_plan(given: Given, tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise SystemExit(7)")
    with pytest.raises(PlanError, match=r"^the settings can't be read \(exit code 7\)$"):
        plan.read(given(PYTHONPATH=str(tmp_path)))
