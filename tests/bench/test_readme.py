"""The README shows the run that is kept beside it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import readme
from bench.report import Run
from bench.rounds import Results


def test_the_readmes_section_is_what_the_kept_run_says() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.written(text, Run.read(readme.KEPT / "result.json")) == text, "run `python -m bench.readme`"


def test_the_kept_table_and_plot_are_of_the_same_run() -> None:
    run = Run.read(readme.KEPT / "result.json")
    assert (readme.KEPT / "table.md").read_text(encoding="utf-8") == run.table() + "\n"
    texts = "".join(ET.fromstring((readme.KEPT / "plot.svg").read_text(encoding="utf-8")).itertext())
    assert run.date in texts


def test_a_missed_goal_a_failure_and_what_was_not_measured_are_shown_as_such() -> None:
    results: Results = {"belfry": {"idle_10000_kb": [2.5]}, "nchan": {"idle_10000_kb": [10.0]}}
    run = Run("2026-11-21", "a machine", 1, results, {"belfry": {"batch": "it ended"}})
    lines = readme.section(run).splitlines()
    assert "| memory of an idle connection (10,000), KB | ≤ 2 | 2.50 | 10.0 | – | – | ✗ |" in lines
    assert "| NDJSON accepted, messages/s | ≥ 30,000 | failed: it ended | – | – | – | ✗ |" in lines
    assert any(line.startswith("| fan-out") and "not measured" in line for line in lines)


def test_only_the_section_is_replaced(tmp_path: Path) -> None:
    text = f"before\n{readme.BEGIN}old\n{readme.END}after\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    shutil.copy(readme.KEPT / "result.json", tmp_path)
    readme.write(tmp_path / "README.md", tmp_path)
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written.startswith(f"before\n{readme.BEGIN}| figure | goal | Belfry |")
    assert written.endswith(f"{readme.END}after\n")
    assert "\nold\n" not in written


def test_a_readme_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        readme.written("nothing here", Run.read(readme.KEPT / "result.json"))
