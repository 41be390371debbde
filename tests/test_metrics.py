"""Refusals are told apart by whose fault they are, and what was tallied is handed on once."""

from __future__ import annotations

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
