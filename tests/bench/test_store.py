"""What data cost in Redis: measured by kind, within the goals, and added up for a deployment."""

from __future__ import annotations

import pytest

from app.core.settings import Settings
from bench.store import estimate, measure, started
from tests.conftest import absent
from tests.servers import RedisServer

GOALS = {"connected user": 700, "message": 290, "id": 205, "recipients": 302}  # bytes; nothing may grow beyond


@pytest.mark.parametrize("given_ids", [False, True])
def test_no_kind_of_data_costs_more_than_its_limit(*, given_ids: bool) -> None:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with started() as url:
        costs = measure(url, users=400, messages=50, given_ids=given_ids)
    assert costs.keys() == GOALS.keys()
    assert all(0 < costs[name] <= most for name, most in GOALS.items()), costs


def test_an_estimate_counts_what_is_kept_and_what_is_remembered_for_a_time() -> None:
    costs = {"connected user": 500.0, "message": 200.0, "id": 100.0, "recipients": 10.0}
    settings = Settings(own_id_seconds=86_400, dedup_seconds=172_800, retract_seconds=604_800)
    kept = 500 + 100 * 200
    assert estimate(costs, 10, 100, 5, settings) == 10 * (kept + 5 * 100 + 5 * 7 * 10)
    assert estimate(costs, 10, 100, 5, settings, given_ids=True) == 10 * (kept + 5 * 2 * 100 + 5 * 7 * 10)
