"""Rounds: every server is measured in each, one after the other, so that what the machine does hits all alike."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bench.figures import derived
from bench.load import LoadError
from bench.load import run as run_load
from bench.scenarios import WARM_UP, BenchError, Figures, Scenario
from bench.servers import Belfry, Server, belfry, started

Values = list[float | None]  # one a round; None where there is none: its scenario failed, or was left out
Results = dict[str, dict[str, Values]]  # server, figure
Failures = dict[str, dict[str, str]]  # server, scenario: why
Say = Callable[[str], None]


@dataclass(slots=True)
class Measured:
    """What came of all rounds so far."""

    results: Results = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)
    rounds: int = 0  # that are whole

    def add(self, server: str, number: int, figures: Figures) -> None:
        """The figures of a server's round; rounds count from 1."""
        own = self.results.setdefault(server, {})
        for name, value in figures.items():
            own.setdefault(name, []).extend([None] * (number - 1 - len(own[name])))
            own[name].append(value)

    def fail(self, server: str, scenario: str, reason: str) -> None:
        self.failures.setdefault(server, {})[scenario] = reason

    def drop_round_begun(self) -> None:
        """Forget what was measured in a round that is not whole: its ratios would be between unequal neighbours."""
        for own in self.results.values():
            for values in own.values():
                del values[self.rounds :]


def measured(servers: Sequence[Server], scenarios: Sequence[Scenario], rounds: int, say: Say) -> Measured:
    """All figures. What a server can't do is told by `say` and kept; a peer isn't asked for it again.

    Ctrl-C after the first round ends it early: the rounds that are whole are answered.
    """
    able = [server for server in servers if _is_able(server, say)]
    all_rounds = Measured({server.name: {} for server in able})
    try:
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            for server in able:
                say(f"round {number} of {rounds}: {server.title}")
                _measure_round(server, number, scenarios, all_rounds, say)
            all_rounds.rounds = number
            say(f"round {number} of {rounds} took {(time.monotonic() - begun) / 60:.1f} minutes")
    except KeyboardInterrupt:
        if not all_rounds.rounds:
            raise
        all_rounds.drop_round_begun()
    return all_rounds


def _measure_round(server: Server, number: int, scenarios: Sequence[Scenario], all_rounds: Measured, say: Say) -> None:
    failed = all_rounds.failures.get(server.name, {})
    asked = [scenario for scenario in scenarios if _is_asked(scenario, server, number, failed)]
    figures: Figures = {}
    for name, outcome in _round(server, asked, say):
        if isinstance(outcome, str):
            all_rounds.fail(server.name, name, outcome)
        else:
            figures |= outcome
    all_rounds.add(server.name, number, figures | derived(figures))


def _is_able(server: Server, say: Say) -> bool:
    missing = server.missing()
    if missing:
        say(f"{server.title} is left out: {missing}")
    return missing is None


def _is_asked(scenario: Scenario, server: Server, number: int, failed: dict[str, str]) -> bool:
    if isinstance(server, Belfry):
        return True
    is_left_out = number > 1 and (scenario.once or server.once)
    return scenario.suits(server) and scenario.name not in failed and not is_left_out


Outcome = tuple[str, Figures | str]  # scenario: what it measured, or why it failed


def _round(server: Server, scenarios: Sequence[Scenario], say: Say) -> Iterator[Outcome]:
    """One round of one server: the scenarios that can share it, then those that want a fresh one."""
    shared = [scenario for scenario in scenarios if not scenario.fresh and scenario.workers == 1]
    groups = [shared, *([scenario] for scenario in scenarios if scenario not in shared)]
    for group in filter(None, groups):
        workers = group[0].workers
        yield from _on(server if workers == 1 else belfry(workers), group, say)


def _on(server: Server, scenarios: Sequence[Scenario], say: Say) -> Iterator[Outcome]:
    """The scenarios on one server; after a failure on another one: what it left behind is not the next one's."""
    waiting = list(scenarios)
    while waiting:
        serves = False
        begun = time.monotonic()
        try:
            with _warm(server, waiting[0]) as running:
                serves = True
                while waiting:
                    begun = time.monotonic()
                    figures = _named(waiting[0], waiting[0].measure(running))
                    told = "  ".join(f"{name}={value:,.4g}" for name, value in figures.items())
                    say(f"  {time.monotonic() - begun:3.0f} s  {told}")
                    yield waiting.pop(0).name, figures
        except (BenchError, LoadError, RuntimeError, OSError) as error:
            for scenario in waiting[: 1 if serves else None]:
                say(f"  {time.monotonic() - begun:3.0f} s  {scenario.name}: failed: {error}")
                yield scenario.name, str(error)
            del waiting[: 1 if serves else None]


@contextlib.contextmanager
def _warm(server: Server, scenario: Scenario) -> Iterator[Server]:
    """It runs, and has served before, unless the scenario looks at just that."""
    with started(replace(server, processes=[])) as running:
        if not scenario.fresh:
            run_load(running.suited(WARM_UP), running.requests(users=WARM_UP.users, prefix=WARM_UP.prefix))
        yield running


def _named(scenario: Scenario, figures: Figures) -> Figures:
    if scenario.workers == 1:
        return figures
    return {f"workers_{scenario.workers}_{name}": value for name, value in figures.items()}
