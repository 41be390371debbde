"""What a run of the benchmark tells of its numbers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.figures import BY_SCENARIO, FIGURES, SHARED, derived
from bench.report import Run, write
from bench.rounds import Results, Values
from bench.scenarios import suite

BELFRY: dict[str, Values] = {"fanout_1000_per_s": [130_000.0, 150_000.0, 90_000.0], "idle_10000_kb": [1.8, 1.9, 1.7]}
NCHAN: dict[str, Values] = {"fanout_1000_per_s": [100_000.0, 100_000.0, 60_000.0], "idle_10000_kb": [10.0, 10.0, 10.0]}


def run_of(**results: dict[str, Values]) -> Run:
    return Run("2026-11-21", "a machine", 3, results)


def row(run: Run, title: str, earlier: Run | None = None) -> list[str]:
    line = next(line for line in run.table(earlier).splitlines() if title in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_the_median_and_the_spread_of_each_server() -> None:
    assert row(run_of(belfry=BELFRY, nchan=NCHAN), "fan-out to 1,000")[1:3] == [
        "130,000 (90,000 – 150,000)",
        "100,000 (60,000 – 100,000)",
    ]


def test_a_ratio_is_taken_within_each_round_since_rounds_differ_more_than_servers() -> None:
    slow_round: Results = {
        "belfry": {"posts_8_per_s": [10.0, 100.0, 1.0]},
        "nchan": {"posts_8_per_s": [5.0, 25.0, 1.0]},
    }
    assert run_of(**slow_round).ratio("posts_8_per_s", "nchan") == 2


def test_a_goal_that_was_missed_is_shown_as_missed() -> None:
    cells = row(run_of(belfry={"fanout_1000_per_s": [100.0]}, nchan={"fanout_1000_per_s": [100.0]}), "fan-out")
    assert cells[-1].startswith("≥ 1.3 × nchan (1.00) ✗")


def test_a_goal_that_was_met_is_shown_as_met_also_where_less_is_better() -> None:
    assert row(run_of(belfry=BELFRY), "memory of an idle")[-1] == "≤ 2 ✓"


def test_a_goal_beside_a_peer_that_was_not_measured_is_not_judged() -> None:
    assert row(run_of(belfry=BELFRY), "fan-out to 1,000")[-1] == "≥ 1.3 × nchan; ≥ 8 × sse-starlette; ≥ 0.7 × C loop"


@pytest.mark.parametrize(
    ("figure", "then", "now", "is_worse"),
    [
        ("fanout_1000_per_s", 100, 80, True),
        ("fanout_1000_per_s", 100, 95, False),
        ("fanout_1000_per_s", 100, 200, False),
        ("latency_1000_p99_ms", 4.0, 5.0, True),
        ("latency_1000_p99_ms", 4.0, 2.0, False),
    ],
)
def test_a_regression_is_a_figure_that_got_worse_by_more_than_the_noise(
    figure: str, then: float, now: float, *, is_worse: bool
) -> None:
    before, after = run_of(belfry={figure: [then]}), run_of(belfry={figure: [now]})
    assert after.regressions(before) == ([figure] if is_worse else [])


def test_an_earlier_run_stands_beside_this_one() -> None:
    assert row(run_of(belfry=BELFRY), "memory of an idle", run_of(belfry={"idle_10000_kb": [3.0]}))[2] == "3.00"


def test_what_is_written_reads_back_and_the_plot_shows_every_server(tmp_path: Path) -> None:
    results: Results = {"belfry": BELFRY, "nchan": NCHAN}
    write(run_of(**results), tmp_path)
    assert Run.read(tmp_path / "result.json").results == results
    texts = "".join(ET.fromstring((tmp_path / "plot.svg").read_text()).itertext())
    assert "belfry" in texts
    assert "nchan" in texts
    assert "fan-out" in (tmp_path / "table.md").read_text()


def test_no_figure_stands_twice() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


def test_every_figure_belongs_to_a_scenario_and_every_scenario_has_a_figure() -> None:
    assert set(BY_SCENARIO) == {scenario.name for scenario in suite()}


def test_a_peer_that_failed_has_the_reason_in_its_place() -> None:
    run = Run(
        "2026-11-21",
        "a machine",
        1,
        {"belfry": BELFRY, "flask-sse": {}},
        {"flask-sse": {"idle_10000": "gone\nits log"}},
    )
    assert row(run, "memory of an idle")[2] == "failed: gone"


def test_a_goal_of_a_scenario_that_failed_is_missed() -> None:
    run = Run("2026-11-21", "a machine", 1, {"belfry": BELFRY, "nchan": NCHAN}, {"belfry": {"idle_10000": "gone"}})
    lost = Run("2026-11-21", "a machine", 1, {"belfry": {}, "nchan": NCHAN}, run.failures)
    assert row(lost, "memory of an idle")[1] == "failed: gone"
    assert row(lost, "memory of an idle")[-1] == "≤ 2 ✗"


def test_a_round_without_a_value_is_left_out_of_ratios_too() -> None:
    uneven: Results = {"belfry": {"posts_8_per_s": [8.0, None, 2.0]}, "nchan": {"posts_8_per_s": [4.0, 1.0, 1.0]}}
    assert run_of(**uneven).ratio("posts_8_per_s", "nchan") == 2


def test_two_workers_capacity_is_told_by_what_a_message_costs_them() -> None:
    """One needs 60 µs of a core for a message; two that need 60 as well do twice as many, at 120 no more than one."""
    for cost, capacity in ((60.0, 2.0), (120.0, 1.0)):
        figures = {"posts_64_workers_us": 60.0, "workers_2_posts_64_workers_us": cost}
        assert derived(figures) == {"workers_2_capacity": capacity}


def test_nothing_is_derived_from_a_figure_that_is_not_there() -> None:
    assert derived({"latency_fanout_p99_ms": 4.0}) == {}
    assert derived({"latency_fanout_p99_ms": 4.0, "latency_1000_p99_ms": 2.0}) == {"latency_fanout_ratio": 2.0}


def busy(server: float, load: float) -> dict[str, Values]:
    return {"fanout_1000_per_s": [1.0], "fanout_1000_server_share": [server], "fanout_1000_load_share": [load]}


def test_the_load_generators_share_of_a_core_stands_beside_the_servers_and_is_marked_where_it_had_little_left() -> None:
    lines = run_of(belfry=busy(0.98, 0.55), nchan=busy(0.7, 0.95), loop={}).table().splitlines()
    assert "| fan-out to 1,000 connections | 0.98 : 0.55 | 0.70 : 0.95 (!) | – |" in lines


def test_a_run_without_shares_has_no_table_of_them() -> None:
    assert "load generator" not in run_of(belfry=BELFRY).table()


def test_every_row_about_who_was_busy_belongs_to_a_scenario() -> None:
    assert set(SHARED) <= set(BY_SCENARIO)


def test_the_outcome_counts_goals_and_names_those_that_were_missed() -> None:
    run = run_of(belfry=BELFRY | {"batch_accepted_per_s": [20_000.0]}, nchan=NCHAN)
    assert run.outcome() == "Goals: 2 met, 1 missed: NDJSON accepted."
    assert run_of(belfry={"idle_10000_kb": [1.0]}).outcome() == "Goals: 1 met, 0 missed."
