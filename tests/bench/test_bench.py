"""The whole command, with one short scenario: whether it works, not how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main


@pytest.mark.needs("cc")
def test_one_round_of_one_scenario_writes_its_figures(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--only", "posts_1", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "result.json").read_text())["results"]["belfry"]
    assert figures["posts_1_per_s"][0] > 0, done.output
    assert figures["posts_1_cpu_us"][0] > 0


@pytest.mark.parametrize("part", [["--only", "posts_1"], ["--brief"]])
def test_a_part_of_a_run_is_not_kept_in_the_documents(part: list[str]) -> None:
    done = CliRunner().invoke(main, ["--docs", *part])
    assert (done.exit_code, "keeps whole runs" in done.output) == (2, True)
