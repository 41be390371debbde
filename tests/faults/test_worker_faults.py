"""Each thing that can happen to gunicorn's processes: cut streams, refused publishes, never a loss."""

from __future__ import annotations

import pytest

from tests.conftest import absent
from tests.faults import worker_faults
from tests.faults.clock import Clock
from tests.faults.conftest import Strike

CLOCK = "the clock steps back"

pytestmark = pytest.mark.timeout(180)  # limits within tell more than this one


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", [name for name in worker_faults.FAULTS if name != CLOCK])
def test_nothing_is_lost_while(strike: Strike, name: str, workers: int) -> None:
    verdict = strike(worker_faults.FAULTS[name], workers=workers)
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_nothing_is_lost_while_the_clock_steps_back(strike: Strike) -> None:
    if not Clock.library():
        absent("faketime")
    verdict = strike(worker_faults.FAULTS[CLOCK], workers=2, clocked=True)
    assert verdict.kept, verdict
    assert verdict.resets == 0
