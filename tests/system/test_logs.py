"""The log of a running server, as programs read it: JSON lines from the first to the last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app import __version__
from tests.servers import Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

SECONDS = 60.0
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IDS = {"X-Request-Id": "order-17:a", "traceparent": TRACE}


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_LOG_FORMAT": "json", "BELFRY_HEARTBEAT_SECONDS": "1", "BELFRY_CORS_ORIGINS": "https://a.example"}


def lines(belfry: Belfry) -> list[dict[str, Any]]:
    """Those that were written whole."""
    return [json.loads(line) for line in belfry.log().rpartition("\n")[0].splitlines()]


def test_the_first_lines_tell_version_store_and_changed_settings_without_secrets(belfry: Belfry) -> None:
    (line,) = wait_until(
        lambda: [each["message"] for each in lines(belfry) if "settings that differ" in each["message"]], SECONDS
    )
    assert f"Belfry {__version__} serves on 127.0.0.1:{belfry.port}" in line
    assert "store: unix:" in line
    assert "BELFRY_LOG_FORMAT=json" in line
    assert "BELFRY_CORS_ORIGINS=https://a.example" in line
    assert "BELFRY_MAX_BODY_BYTES" not in line, "it has its default"
    assert belfry.settings_environment["BELFRY_SECRET"] not in belfry.log()


def test_a_closed_stream_leaves_one_line(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        for number in range(3):
            belfry.publish({"to": alice, "title": str(number)})
        stream.wait_for_messages(3)
    closed = wait_until(
        lambda: [each for each in lines(belfry) if each["logger"] == "belfry.closed" and each.get("user") == alice],
        SECONDS,
    )
    assert [(each["reason"], each["messages"]) for each in closed] == [("gone", 3)]
    assert closed[0]["bytes"] > 300
    assert 0 <= closed[0]["seconds"] < 60


def test_ids_of_a_request_come_back_whoever_answers(belfry: Belfry, alice: str) -> None:
    reader = belfry.reader(alice)
    reader.headers.update(IDS)
    belfry.publisher.headers.update(IDS)
    answers = [reader.get("/feed"), reader.get("/no/such/page")]
    answers += [belfry.publisher.publish({"to": alice, "title": "repeated"}) for _ in range(4)]
    answers += [belfry.publisher.publish({"to": alice, "nonsense": 1})]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in IDS} == IDS, (answer.url, answer.status_code)
    with belfry.stream(alice, headers=IDS) as stream:
        stream.wait_for("ready")
        assert stream.headers["x-request-id"] == IDS["X-Request-Id"]


def test_what_is_no_id_is_not_repeated(belfry: Belfry, alice: str) -> None:
    answer = belfry.reader(alice).get("/feed", headers={"X-Request-Id": "<script>", "traceparent": "00-0-0-0"})
    assert "X-Request-Id" not in answer.headers
    assert "traceparent" not in answer.headers


def test_the_line_for_each_stream_can_be_switched_off(start_belfry: StartBelfry, alice: str) -> None:
    server = start_belfry(BELFRY_LOG_STREAMS="0")
    with server.stream(alice) as stream:
        stream.wait_for("ready")
    wait_until(lambda: not server.is_online(alice), SECONDS)
    assert "stream closed" not in server.log()
