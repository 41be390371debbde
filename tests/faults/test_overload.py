"""Twice as much is published as a worker can do: what it accepts arrives in time, the rest is refused at once."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartBelfry
from tests.faults.flood import OVER, Figures, Outcome, flood
from tests.waiting import patient

ARRIVAL_SECONDS = 1.0
REFUSAL_SECONDS = 0.5
MEMORY_BYTES = 64 * 1024 * 1024  # 15 to 37 MB were seen, after a minute no more than after six seconds
FLOOD_SECONDS = 6.0
PUBLISHERS = 600  # without a limit, the last of them waits for several seconds
# A queue without an end is late in every round or refuses nobody; a machine that has other things to do, in some.
ROUNDS = 4

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]  # measures how soon a refusal comes


def test_at_twice_the_pace_what_is_accepted_arrives_in_time_and_the_rest_is_refused_at_once(
    start_belfry: StartBelfry,
) -> None:
    belfry = start_belfry(BELFRY_PUBLISH_PER_MINUTE="100000000")
    found = []
    for _ in range(ROUNDS):
        figures = flood(belfry, FLOOD_SECONDS, PUBLISHERS, others=50)
        outcome = figures.outcome
        assert outcome.statuses <= {201, 503}
        assert all(answer.retry_after for answer in outcome.answers.values() if answer.status == 503)
        arrived = outcome.arrivals.keys() - outcome.unsure
        assert sorted(arrived) == sorted(outcome.accepted), "what was accepted arrives, and nothing else"
        assert all(len(arrivals) == 1 for arrivals in outcome.arrivals.values())
        assert figures.grown_bytes < MEMORY_BYTES
        found.append(figures)
        if was_too_much(outcome) and is_in_time(figures):
            return
    pytest.fail(f"late, or never refused, in each of {ROUNDS} rounds: {[str(figures) for figures in found]}")


def was_too_much(outcome: Outcome) -> bool:
    """Whether a good part was refused. What a server can sustain is measured before, maybe beside other work."""
    return outcome.count(503) > outcome.asked * (OVER - 1) / OVER / 4


def is_in_time(figures: Figures) -> bool:
    return figures.arrival_p99 <= patient(ARRIVAL_SECONDS) and figures.refusal_p99 <= patient(REFUSAL_SECONDS)
