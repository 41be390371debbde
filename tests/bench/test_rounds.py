"""What is asked of whom in which round, on the bare C loop: the server that starts soonest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from bench.rounds import Measured, measured
from bench.scenarios import BenchError, Figures, Scenario, fan_out
from bench.servers import Loop, Server

LOOP = Loop("loop", "C loop")


def _silent(_line: str) -> None:
    return None


def run_of(*scenarios: Scenario, rounds: int = 2) -> Measured:
    return measured([LOOP], scenarios, rounds, say=_silent)


def counted(name: str) -> Callable[[Server], Figures]:
    numbers = count(1)

    def measure(_server: Server) -> Figures:
        return {name: float(next(numbers))}

    return measure


def refused(server: Server) -> Figures:
    raise BenchError(f"{server.title} could not")


@pytest.mark.needs("cc")
def test_a_peer_that_failed_is_told_with_its_reason_and_not_asked_again() -> None:
    asked = []

    def fails(server: Server) -> Figures:
        asked.append(server.port)
        return refused(server)

    found = run_of(Scenario("bad", fails, kind="fan-out"), Scenario("good", counted("x"), kind="fan-out"))
    assert found.failures == {"loop": {"bad": "C loop could not"}}
    assert found.results == {"loop": {"x": [1.0, 2.0]}}
    assert len(asked) == 1


@pytest.mark.needs("cc")
def test_after_a_failure_the_next_scenario_has_a_server_of_its_own() -> None:
    ports = []

    def seen(server: Server) -> Figures:
        ports.append(server.processes[0].pid)
        return {}

    before, after = Scenario("before", seen, kind="fan-out"), Scenario("after", seen, kind="fan-out")
    run_of(before, Scenario("bad", refused, kind="fan-out"), after, rounds=1)
    assert len(set(ports)) == 2


@pytest.mark.needs("cc")
def test_a_peer_does_some_scenarios_in_the_first_round_only() -> None:
    found = run_of(Scenario("a", counted("x"), kind="fan-out", once=True), Scenario("b", counted("y"), kind="fan-out"))
    assert found.results["loop"] == {"x": [1.0], "y": [1.0, 2.0]}


@pytest.mark.needs("cc")
def test_a_peer_that_no_goal_is_compared_with_is_asked_in_the_first_round_only() -> None:
    scenario = Scenario("a", counted("x"), kind="fan-out")
    found = measured([replace(LOOP, once=True), replace(LOOP, name="other")], [scenario], 2, say=_silent)
    assert found.results == {"loop": {"x": [1.0]}, "other": {"x": [2.0, 3.0]}}


def test_a_value_stands_at_its_rounds_place_so_that_ratios_are_taken_within_a_round() -> None:
    found = Measured()
    found.add("belfry", 1, {"x": 1.0})
    found.add("belfry", 3, {"x": 3.0, "y": 3.0})
    assert found.results["belfry"] == {"x": [1.0, None, 3.0], "y": [None, None, 3.0]}


def test_a_server_that_does_not_start_has_failed_in_all_that_was_asked() -> None:
    class Missing(Loop):
        def start(self) -> None:
            raise RuntimeError("no such program")

    scenarios = [Scenario(name, counted(name), kind="fan-out") for name in "ab"]
    found = measured([Missing("loop", "C loop")], scenarios, 1, say=_silent)
    assert found.failures == {"loop": {"a": "no such program", "b": "no such program"}}


@pytest.mark.needs("cc")
def test_a_fan_out_is_measured_on_a_real_server() -> None:
    found = run_of(Scenario("fan", fan_out(10, 5), kind="fan-out"), rounds=1)
    assert found.failures == {}
    assert found.results["loop"]["fanout_10_per_s"][0]


@pytest.mark.needs("cc")
def test_a_round_that_is_broken_off_counts_for_nobody() -> None:
    numbers = count(1)

    def broken_off(_server: Server) -> Figures:
        if next(numbers) == 4:  # the other one's, when the loop's of that round is known
            raise KeyboardInterrupt
        return {}

    scenarios = [Scenario("x", counted("x"), kind="fan-out"), Scenario("y", broken_off, kind="fan-out")]
    found = measured([LOOP, replace(LOOP, name="other")], scenarios, 3, say=_silent)
    assert (found.rounds, found.results) == (1, {"loop": {"x": [1.0]}, "other": {"x": [2.0]}})


@pytest.mark.needs("cc")
def test_a_first_round_that_is_broken_off_tells_nothing() -> None:
    def broken_off(_server: Server) -> Figures:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(Scenario("x", broken_off, kind="fan-out"))
