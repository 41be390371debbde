"""Rounds: every server is measured in each, one after the other, so that what the machine does hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bench.load import LoadError
from bench.load import run as run_load
from bench.scenarios import WARM_UP, BenchError, Figures, Scenario
from bench.servers import Server, belfry, started

Results = dict[str, dict[str, list[float]]]  # server, figure: one number a round


def measured(
    servers: Sequence[Server], scenarios: Sequence[Scenario], rounds: int, say: Callable[[str], None]
) -> Results:
    """All figures. What a server can't do is told by `say` and left out."""
    able = [server for server in servers if _is_able(server, say)]
    results: Results = {server.name: {} for server in able}
    for number in range(1, rounds + 1):
        for server in able:
            say(f"round {number} of {rounds}: {server.title}")
            for figures in _round(server, scenarios, say):
                for name, value in figures.items():
                    results[server.name].setdefault(name, []).append(value)
    return results


def _is_able(server: Server, say: Callable[[str], None]) -> bool:
    missing = server.missing()
    if missing:
        say(f"{server.title} is left out: {missing}")
    return missing is None


def _round(server: Server, scenarios: Sequence[Scenario], say: Callable[[str], None]) -> Iterable[Figures]:
    """One round of one server: the scenarios that can share it, then those that want a fresh one."""
    possible = [scenario for scenario in scenarios if scenario.suits(server)]
    shared = [scenario for scenario in possible if not scenario.fresh and scenario.workers == 1]
    if shared:
        yield from _on(server, shared, say)
    for scenario in possible:
        if scenario not in shared:
            yield from _on(server if scenario.workers == 1 else belfry(scenario.workers), [scenario], say)


def _on(server: Server, scenarios: Sequence[Scenario], say: Callable[[str], None]) -> Iterable[Figures]:
    try:
        with started(replace(server, processes=[])) as running:
            if not scenarios[0].fresh:
                run_load(WARM_UP, running.requests(users=WARM_UP.users, prefix=WARM_UP.prefix))
            for scenario in scenarios:
                yield _figures(scenario, running, say)
    except (LoadError, RuntimeError) as error:
        say(f"  {server.title} failed: {error}")


def _figures(scenario: Scenario, server: Server, say: Callable[[str], None]) -> Figures:
    """What it measured; nothing where the server failed, which is told."""
    try:
        figures = scenario.measure(server)
    except (BenchError, LoadError, RuntimeError, OSError) as error:
        say(f"  {scenario.name}: failed: {error}")
        return {}
    if scenario.workers > 1:
        figures = {f"workers_{scenario.workers}_{name}": value for name, value in figures.items()}
    say("  " + "  ".join(f"{name}={value:,.4g}" for name, value in figures.items()))
    return figures
