"""What two workers did is one series of points, and only administrators hear of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.servers import Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until as wait_for_condition

TOPIC = "belfry.figures"
READERS = 6
SECONDS = 60.0


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_FIGURES_SECONDS": "1"}


def wait_until(condition: Callable[[], object]) -> None:
    """A point stands there a slot later, and a machine may be busy."""
    wait_for_condition(condition, SECONDS)


def points(belfry: Belfry) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = belfry.api(belfry.token("root", "admin")).get("/admin/figures").json()["points"]
    return told


def total(belfry: Belfry, name: str) -> int:
    return sum(point[name] for point in points(belfry))


def test_both_workers_are_in_every_point(belfry: Belfry) -> None:
    wait_until(lambda: points(belfry)[-2:] and all(point["workers"] == 2 for point in points(belfry)[-2:]))


def test_messages_deliveries_and_connections_are_counted(belfry: Belfry, alice: str) -> None:
    before = {name: total(belfry, name) for name in ("messages", "deliveries")}
    with ExitStack() as stack:
        streams = [stack.enter_context(belfry.stream(alice)) for _ in range(READERS)]
        for stream in streams:
            stream.wait_for("ready")
        belfry.publish_all([{"to": alice, "data": number} for number in range(10)])
        belfry.publish({"to": alice, "transient": True})
        for stream in streams:
            stream.wait_for_messages(11)
        wait_until(lambda: total(belfry, "messages") == before["messages"] + 11)
        wait_until(lambda: total(belfry, "deliveries") == before["deliveries"] + 11 * READERS)
        wait_until(lambda: points(belfry)[-1]["connections"] == READERS)
    assert any(0 < (point["p50"] or 0) <= point["p99"] < 60_000 for point in points(belfry))
    wait_until(lambda: points(belfry)[-1]["connections"] == 0)


def test_what_is_caught_up_with_counts_as_delivered(belfry: Belfry, alice: str) -> None:
    cursor = belfry.reader(alice).feed()["cursor"]
    belfry.publish_all([{"to": alice, "data": number} for number in range(3)])
    before = total(belfry, "deliveries")
    with belfry.stream(alice, cursor=cursor) as stream:
        stream.wait_for_messages(3)
        wait_until(lambda: total(belfry, "deliveries") == before + 3)


def test_a_reader_who_takes_nothing_is_counted(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice, receive_buffer=2_048) as stream:
        stream.wait_for("ready")
        belfry.publish_all([{"to": alice, "body": "x" * 50_000} for _ in range(100)])
        wait_until(lambda: points(belfry)[-1]["slow"] == 1)
    wait_until(lambda: points(belfry)[-1]["slow"] == 0)


def test_nodes_that_share_a_store_are_one_series(start_belfry: StartBelfry, alice: str) -> None:
    shared = {"BELFRY_REDIS_PREFIX": f"shared-{alice}", "BELFRY_SECRET": alice * 4, "BELFRY_FIGURES_SECONDS": "1"}
    one, two = start_belfry(**shared), start_belfry(**shared)
    with one.stream(alice) as first, two.stream(alice) as second:
        first.wait_for("ready"), second.wait_for("ready")
        one.publish({"to": alice, "title": "Hello"})
        wait_until(lambda: total(two, "deliveries") == 2)
        wait_until(lambda: (points(one)[-1]["workers"], points(one)[-1]["connections"]) == (2, 2))
        wait_until(lambda: total(one, "messages") == 1)


def test_refusals_are_counted(belfry: Belfry) -> None:
    before = total(belfry, "refusals")
    assert belfry.publisher.publish({"to": "two words"}).status_code == 422
    wait_until(lambda: total(belfry, "refusals") == before + 1)


def test_a_point_comes_over_the_stream_as_it_is_kept(belfry: Belfry) -> None:
    token = belfry.token("root", "feed", "admin")
    with belfry.stream("root", token=token, query=f"topics={TOPIC}") as stream:
        event = stream.wait_for(TOPIC, SECONDS)
    told = json.loads(event.data)
    assert time.time() - 30 < told["time"] <= time.time()
    assert told in points(belfry)


def test_only_administrators_hear_of_it(belfry: Belfry) -> None:
    for topics in ([TOPIC], ["*"], ["belfry.*"]):
        token = belfry.token("eve", "feed", "publish", "complete", topics=topics)
        answer = belfry.api(token).get(f"/feed?topics={TOPIC}")
        assert (answer.status_code, answer.json()["code"]) == (403, "topic_forbidden")


def test_nobody_can_send_what_looks_like_it(belfry: Belfry) -> None:
    answer = belfry.publisher.publish({"topic": TOPIC, "title": "forged"})
    assert (answer.status_code, answer.json()["code"]) == (403, "target_forbidden")
    answer = belfry.publisher.publish({"to": "root", "event": TOPIC})
    assert (answer.status_code, answer.json()["code"]) == (422, "reserved_event")
