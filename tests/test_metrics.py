"""Refusals are told apart by whose fault they are, and what was tallied is handed on once."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app import metrics
from app.core.insight import figures

ROOT = Path(__file__).resolve().parent.parent


def test_what_the_server_could_not_do_is_an_error_and_all_else_a_refusal() -> None:
    metrics.take()
    for code in ("internal_error", "store_unavailable", "not_found", "rate_limited", "token_missing"):
        metrics.refused(code)
    assert metrics.take() == {"errors": 2, "refusals": 3}


def test_prometheus_hears_of_messages_and_deliveries_when_they_are_taken() -> None:
    metrics.take()

    def counted() -> list[float | None]:
        return [REGISTRY.get_sample_value(f"belfry_{name}_total") for name in ("messages", "deliveries")]

    messages, deliveries = counted()
    metrics.TALLY.messages += 2
    metrics.TALLY.delivered(5, 0.001)
    assert counted() == [messages, deliveries]
    metrics.take()
    metrics.take()
    assert counted() == [(messages or 0) + 2, (deliveries or 0) + 5]


def test_only_what_nobody_foresaw_counts_as_a_failure() -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("belfry_failures_total", {"part": "test"}) or 0

    for _ in range(2):
        metrics.begin("1.2.3")
    log, before = logging.getLogger("belfry.test"), counted()
    log.error("the store is away")
    assert counted() == before
    log.error("a round failed", exc_info=RuntimeError())
    assert counted() == before + 1


def test_the_latencies_of_the_tally_become_a_histogram_that_holds_each_once() -> None:
    metrics.take()

    def held(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"belfry_delivery_seconds_{name}", labels) or 0

    before = {le: held("bucket", le=le) for le in ("0.00025", "0.002", "65.536", "+Inf")}
    total, seconds = held("count"), held("sum")
    for latency in (0.0001, 0.0015, 50.0, 1_000.0):
        metrics.TALLY.delivered(1, latency)
    metrics.take()
    assert {le: held("bucket", le=le) - count for le, count in before.items()} == {
        "0.00025": 1,
        "0.002": 2,
        "65.536": 3,
        "+Inf": 4,
    }
    assert held("count") - total == 4
    assert held("sum") - seconds == pytest.approx(1_050.0016)


def test_the_bounds_of_the_histogram_are_bounds_of_the_tally() -> None:
    tallied = {round(figures.bound_ms(bucket), 6) for bucket in range(figures.BUCKETS)}
    assert {round(bound * 1_000, 6) for bound in metrics.BOUNDS} <= tallied


def test_plain_counts_are_handed_on_once() -> None:
    metrics.take()

    def slowed() -> float:
        return REGISTRY.get_sample_value("belfry_slow_readers_total") or 0

    before = slowed()
    metrics.SLOWED[()] += 2
    assert slowed() == before
    metrics.take()
    metrics.take()
    assert slowed() == before + 2


def test_every_way_in_which_a_stream_ends_is_known_from_the_start() -> None:
    source = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    written = set(re.findall(r"\.close\(\"(\w+)\"\)", source)) | {"away", "aged"}
    assert written == set(metrics.ENDS)
