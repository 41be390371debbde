"""`/metrics` of a running server: every family is there at once, and each count follows what happens."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from tests.servers import Belfry
from tests.test_metrics_doc import exposed_names
from tests.waiting import wait_until

SECONDS = 60.0


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_FIGURES_SECONDS": "1", "BELFRY_HISTORY_LENGTH": "5"}


def samples(belfry: Belfry) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    text = requests.get(f"{belfry.url}/metrics", timeout=60).text
    return {
        (sample.name, *[sample.labels[name] for name in sorted(sample.labels)]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rises(belfry: Belfry, before: Mapping[tuple[str, ...], float], *name: str, by: float = 1) -> None:
    """Wait until a count has risen by at least so much."""
    wait_until(lambda: samples(belfry).get(name, 0) >= before.get(name, 0) + by, SECONDS, what=" ".join(name))


def test_every_family_is_there_from_the_start(belfry: Belfry) -> None:
    assert exposed_names() - {name for name, *_ in samples(belfry)} == set()


def test_versions_and_workers_are_told(belfry: Belfry) -> None:
    assert samples(belfry)["belfry_build_info", platform.python_version(), __version__] == 1
    wait_until(lambda: samples(belfry)["belfry_workers",] == 2, SECONDS)
    known = wait_until(
        lambda: [key for key, value in samples(belfry).items() if key[0] == "belfry_store_info" and value and key[-1]],
        SECONDS,
    )
    assert {engine for _, _, engine, _, _ in known} <= {"valkey", "redis"}


def test_a_message_is_counted_with_its_latency_its_request_and_its_round_trips(belfry: Belfry, alice: str) -> None:
    before = samples(belfry)
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        for number in range(3):
            belfry.publish({"to": alice, "title": str(number)})
        stream.wait_for_messages(3)
        rises(belfry, before, "belfry_messages_total", by=3)
        rises(belfry, before, "belfry_deliveries_total", by=3)
        rises(belfry, before, "belfry_delivery_seconds_count", by=3)
        rises(belfry, before, "belfry_delivery_seconds_bucket", "+Inf", by=3)
        rises(belfry, before, "belfry_connects_total", "feed", "new")
        rises(belfry, before, "belfry_requests_total", "/stream", "200")
        rises(belfry, before, "belfry_requests_total", "/publish", "201", by=3)
        rises(belfry, before, "belfry_redis_round_trips_total", by=3)
        rises(belfry, before, "belfry_redis_round_trip_seconds_count", by=3)
        wait_until(lambda: samples(belfry)["belfry_streams",] == 1, SECONDS)
    assert samples(belfry)["belfry_delivery_seconds_sum",] > before["belfry_delivery_seconds_sum",]
    rises(belfry, before, "belfry_streams_ended_total", "gone")
    rises(belfry, before, "belfry_loop_lag_seconds_count")


def test_lost_history_and_a_resume_are_counted(belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "first"})
    cursor = belfry.reader(alice).feed()["cursor"]
    before = samples(belfry)
    with belfry.stream(alice, cursor=cursor) as stream:
        stream.wait_for("ready")
    rises(belfry, before, "belfry_connects_total", "feed", "resumed")
    for number in range(20):
        belfry.publish({"to": alice, "title": str(number)})
    with belfry.stream(alice, cursor=cursor) as stream:
        stream.wait_for("reset")
    rises(belfry, before, "belfry_resets_total", "trimmed")
    with belfry.stream(alice, cursor="nosuchepoch.7") as stream:
        stream.wait_for("reset")
    rises(belfry, before, "belfry_resets_total", "connect")


def test_routes_are_rules_and_never_what_a_client_made_up(belfry: Belfry) -> None:
    before = samples(belfry)
    for path in ("/no/such/page", "/messages/made-up-id", "/health/live"):
        belfry.publisher.get(path)
    refused = belfry.publisher.publish({"to": "alice", "nonsense": True}).status_code
    rises(belfry, before, "belfry_requests_total", "other", "404")
    rises(belfry, before, "belfry_requests_total", "/messages/<message_id>", "404")
    rises(belfry, before, "belfry_requests_total", "/health/live", "200")
    rises(belfry, before, "belfry_requests_total", "/publish", str(refused))
    routes = {key[1] for key in samples(belfry) if key[0] == "belfry_requests_total"}
    assert not any("made-up" in route or "such" in route for route in routes)
