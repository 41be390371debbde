"""Readers that stop cost bounded memory, delay nobody else, and get everything when they read again."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartBelfry
from tests.faults.slow_readers import SETTINGS, measure
from tests.waiting import patient

SLOW = 100
MESSAGES = 1_500
MEMORY_BYTES = 50 * 1024 * 1024  # for 500 as well: unbounded queues would hold 150 MB for these
DELAY_FACTOR = 2.0
LEAST_SECONDS = 0.008  # below, a delay is the machine's
ROUNDS = 3  # a machine that has other things to do is not late in each

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]  # measures memory and delay


def test_readers_that_stop_are_bounded_in_memory_delay_nobody_and_get_everything_later(
    start_belfry: StartBelfry,
) -> None:
    found = []
    for _ in range(ROUNDS):
        figures = measure(start_belfry(**SETTINGS), SLOW, MESSAGES)
        assert figures.grown_bytes < MEMORY_BYTES
        found.append(figures)
        if figures.p99_beside <= max(DELAY_FACTOR * figures.p99_alone, patient(LEAST_SECONDS)):
            return
    pytest.fail(f"others were late in each of {ROUNDS} rounds: {[str(figures) for figures in found]}")
