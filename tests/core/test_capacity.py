"""What a deployment needs follows from the unit costs, which are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from app.core.capacity import COSTS, PLANNED_SHARE, Figure, Load, first_limit, plan, redis_bytes
from app.core.settings import Settings

RESULTS = json.loads((Path(__file__).parents[2] / "docs" / "bench" / "result.json").read_text())["results"]["belfry"]
MILLION = Load(users=1_000_000, online=0.1, per_day=5, kept=100)


def by_name(load: Load, **settings: float) -> dict[str, Figure]:
    return {figure.name: figure for figure in plan(load, Settings(**settings))}


def cost(name: str) -> float:
    return COSTS[name].value


def test_unit_costs_are_those_of_the_kept_run() -> None:
    def measured(name: str) -> float:
        return float(median(RESULTS[name]))

    assert cost("publish_worker_us") == pytest.approx(measured("posts_8_workers_us"))
    assert cost("publish_redis_us") == pytest.approx(measured("posts_8_cpu_us") - measured("posts_8_workers_us"))
    assert cost("connect_worker_us") + cost("connect_redis_us") == pytest.approx(measured("storm_resume_cpu_us"))
    assert cost("idle_us") == pytest.approx(measured("idle_10000_core_percent"), rel=0.01)
    assert cost("connection_kb") == pytest.approx(measured("idle_10000_kb"), rel=0.01)


def test_a_million_users_are_added_up() -> None:
    found = by_name(MILLION, history_seconds=2_592_000)
    assert found["streams"].value == 100_000
    assert found["messages"].value == pytest.approx(1_000_000 * 5 / 86_400 * 5)
    assert found["deliveries"].value == pytest.approx(found["messages"].value / 10)
    assert found["connects"].value == pytest.approx(100_000 / 7_200)
    steady = found["messages"].value * 110 + found["connects"].value * 356 + 100_000 * 1.33
    assert found["cores of workers"].value == pytest.approx(steady / 1e6)
    assert found["cores of a return"].value == pytest.approx(100_000 * 356 / 60 / 1e6)
    assert (found["workers"].value, found["nodes"].value, found["shards"].value) == (5, 3, 2)
    assert found["memory of Belfry"].value == pytest.approx((2 * 70 + 5 * 30 + 139) / 1e3)


def test_memory_of_redis_is_what_is_kept_and_what_is_remembered() -> None:
    settings = Settings(own_id_seconds=86_400, dedup_seconds=172_800, retract_seconds=604_800)
    costs = {"user_bytes": 500.0, "message_bytes": 200.0, "id_bytes": 100.0, "recipients_bytes": 10.0}
    load = Load(users=10, online=0, per_day=5, kept=100, body_bytes=220)
    assert redis_bytes(costs, load, settings) == 10 * (500 + 100 * 300 + 5 * (100 + 7 * 10))
    assert redis_bytes(costs, load, settings, given_ids=True) == 10 * (500 + 100 * 300 + 5 * (200 + 7 * 10))


def test_a_message_to_everyone_is_one_publish_and_as_many_deliveries_as_there_are_streams() -> None:
    quiet = by_name(Load(users=10_000, online=1, per_day=0, kept=0))
    loud = by_name(Load(users=10_000, online=1, per_day=0, kept=0, everyone_per_day=8_640, peak=1))
    assert quiet["messages"].value == quiet["deliveries"].value == 0
    assert loud["messages"].value == pytest.approx(0.1)
    assert loud["deliveries"].value == pytest.approx(1_000)
    added = loud["cores of workers"].value - quiet["cores of workers"].value
    assert added == pytest.approx((0.1 * 110 + 999.9 * 6) / 1e6)


@pytest.mark.parametrize(
    ("load", "settings", "says"),
    [
        (Load(users=20_000, online=1, per_day=0, kept=0), {}, "open streams of a worker"),
        (Load(users=200_000, online=0, per_day=5, kept=500), {}, "the memory of a Redis"),
        (Load(users=8_000_000, online=0, per_day=20, kept=0, shard_gb=4_000), {}, "the core of a Redis"),
        (Load(users=60_000, online=1, per_day=0, kept=0, return_seconds=5), {}, "when all clients come back"),
    ],
)
def test_what_reaches_its_limit_first_is_named(load: Load, settings: dict[str, float], says: str) -> None:
    assert says in first_limit(plan(load, Settings(**settings)))


def test_no_worker_is_planned_beyond_its_share_and_its_streams() -> None:
    for users in (1, 1_000, 123_456, 50_000_000):
        found = by_name(Load(users=users, online=1, per_day=100, kept=10))
        assert found["streams of a worker"].value <= Settings().max_connections
        assert found["cores of workers"].value <= PLANNED_SHARE * found["workers"].value
        assert found["cores of a return"].value <= found["workers"].value
        assert found["cores of Redis"].value <= PLANNED_SHARE * found["shards"].value


def test_each_figure_has_a_formula_and_each_cost_a_source() -> None:
    assert all(figure.formula for figure in plan(MILLION, Settings()))
    assert all(each.source and each.unit for each in COSTS.values())
