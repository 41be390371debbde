"""Refusals are told apart by whose fault they are, and what was tallied is handed on once."""

from __future__ import annotations

import logging

from prometheus_client import REGISTRY

from app import metrics


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
        metrics.count_failures()
    log, before = logging.getLogger("belfry.test"), counted()
    log.error("the store is away")
    assert counted() == before
    log.error("a round failed", exc_info=RuntimeError())
    assert counted() == before + 1
