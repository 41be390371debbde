"""What a Redis Cluster costs: measured on a small one, and set beside a single Redis."""

from __future__ import annotations

from app.launch.embedded import engines
from bench.cluster import GOALS, ONE, SINGLE, THREE, OnRedis, measure, ratios
from tests.conftest import absent

PRIMARIES = 3
MESSAGES = 100


def test_a_message_costs_belfry_and_every_primary_something() -> None:
    if next(engines(None), None) is None:
        absent("Redis or Valkey")
    server = OnRedis("small", "small", primaries=PRIMARIES)
    try:
        server.start()
        assert len(server.stores()) == PRIMARIES
        figures = measure(server, MESSAGES, 0, "t-")
    finally:
        server.stop()
    assert figures["p99"] > 0
    assert figures["redis"] >= figures["busiest"]


def test_ratios_are_those_of_three_primaries_to_a_single_redis_and_to_one_primary() -> None:
    medians = {
        SINGLE: {"belfry": 200.0, "redis": 100.0, "busiest": 100.0, "p99": 4.0},
        ONE: {"belfry": 220.0, "redis": 120.0, "busiest": 120.0, "p99": 4.0},
        THREE: {"belfry": 250.0, "redis": 150.0, "busiest": 50.0, "p99": 6.0},
    }
    assert ratios(medians) == dict(zip(GOALS, [1.25, 1.5, 2.4, 1.5], strict=True))
