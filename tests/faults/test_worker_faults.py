"""Each thing that can happen to gunicorn's processes: cut streams, refused publishes, never a loss."""

from __future__ import annotations

import pytest

from tests.faults import worker_faults
from tests.faults.conftest import Strike


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", worker_faults.FAULTS)
def test_nothing_is_lost_while(strike: Strike, name: str, workers: int) -> None:
    verdict = strike(worker_faults.FAULTS[name], workers=workers)
    assert verdict.kept, verdict
    assert verdict.resets == 0
