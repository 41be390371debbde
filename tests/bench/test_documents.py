"""The documents show the run that is kept beside them, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import documents
from bench.figures import FIGURES
from bench.report import Run
from bench.rounds import Results

KEPT = documents.KEPT / "result.json"


def test_the_section_of_results_is_what_the_kept_run_says() -> None:
    text = documents.PERFORMANCE.read_text(encoding="utf-8")
    assert documents.with_section(text, Run.read(KEPT)) == text, "run `python -m bench.documents`"


def test_the_numbers_of_the_page_on_performance_are_the_kept_runs() -> None:
    text = documents.PERFORMANCE.read_text(encoding="utf-8")
    assert documents.with_numbers(text, Run.read(KEPT)) == text, "run `python -m bench.documents`"


def test_the_page_on_performance_says_of_every_goal_what_became_of_it() -> None:
    told = documents.told_goals(documents.PERFORMANCE.read_text(encoding="utf-8"))
    assert sorted(told) == sorted(figure.name for figure in FIGURES if figure.goals)


def test_the_kept_table_and_plot_are_of_the_same_run() -> None:
    run = Run.read(KEPT)
    assert (documents.KEPT / "table.md").read_text(encoding="utf-8") == run.table() + "\n"
    texts = "".join(ET.fromstring((documents.KEPT / "plot.svg").read_text(encoding="utf-8")).itertext())
    assert run.date in texts


def test_a_missed_goal_a_failure_and_what_was_not_measured_are_shown_as_such() -> None:
    results: Results = {"belfry": {"idle_10000_kb": [2.5]}, "nchan": {"idle_10000_kb": [10.0]}}
    run = Run("2026-11-21", "a machine", 1, results, {"belfry": {"batch": "it ended"}})
    lines = documents.section(run).splitlines()
    assert "| memory of an idle connection (10,000), KB | ≤ 2 | 2.50 | 10.0 | – | – | ✗ |" in lines
    assert "| NDJSON accepted, messages/s | ≥ 30,000 | failed: it ended | – | – | – | ✗ |" in lines
    assert any(line.startswith("| fan-out") and "not measured" in line for line in lines)


def test_only_the_places_of_numbers_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    number = "A delivery: <!-- = fanout_1000_cpu_us -->old<!-- / --> µs.\n"
    page.write_text(f"before\n{documents.BEGIN}old\n{documents.END}after\n{number}", encoding="utf-8")
    shutil.copy(KEPT, tmp_path)
    documents.write(page, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{documents.BEGIN}| figure | goal | Belfry |")
    assert "\nold\n" not in text
    cost = Run.read(KEPT).cell("belfry", "fanout_1000_cpu_us").partition(" (")[0]
    assert text.endswith(f"{documents.END}after\nA delivery: <!-- = fanout_1000_cpu_us -->{cost}<!-- / --> µs.\n")


def test_a_mark_tells_a_peers_number_or_what_became_of_a_goal() -> None:
    results: Results = {"belfry": {"fanout_1000_per_s": [120.0]}, "nchan": {"fanout_1000_per_s": [100.0]}}
    text = "<!-- = fanout_1000_per_s nchan --><!-- / --> <!-- = goals fanout_1000_per_s --><!-- / -->"
    told = documents.with_numbers(text, Run("2026-11-21", "a machine", 1, results))
    assert "-->100<!--" in told
    assert "120 deliveries/s; goal ≥ 1.3 × nchan (100): 1.20 ✗; ≥ 8 × sse-starlette (–): not measured" in told


def test_a_mark_of_no_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="no figure 'fanout'"):
        documents.with_numbers("<!-- = fanout -->1<!-- / -->", Run.read(KEPT))


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        documents.with_section("nothing here", Run.read(KEPT))
