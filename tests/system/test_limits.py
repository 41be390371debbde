"""Rates, counters and the cap on a user's connections, on a running server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import pytest

from app.core.settings import Settings
from tests.servers import Belfry
from tests.stream_client import StreamClient
from tests.waiting import wait_until

CONNECTS_MAX = 200
PUBLISHES_MAX = 200


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {
        "WEB_CONCURRENCY": "2",
        "BELFRY_PUBLISH_PER_MINUTE": "20",
        "BELFRY_CONNECTS_PER_MINUTE": "20",
        "BELFRY_MAX_CONNECTIONS_PER_USER": "2",
        "BELFRY_RETRY_MS": "100",
    }


def count(belfry: Belfry, name: str) -> float:
    """A number of `/metrics`, 0 where nothing was counted yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", belfry.api().get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_publisher_is_told_how_far_it_may_go_and_stopped_there(belfry: Belfry, alice: str) -> None:
    with belfry.api(belfry.token("eager", "publish")) as api:  # one connection, hence one worker
        first = api.publish({"to": alice, "data": 1})
        assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("20", "19")
        # The worker refills a third of a message in a second, so a slow machine needs more than 20 to get there.
        answers = (api.publish({"to": alice, "data": 1}) for _ in range(PUBLISHES_MAX))
        refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "rate_limited"
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["RateLimit-Remaining"] == "0"


def test_a_line_over_the_limit_costs_only_itself(belfry: Belfry, alice: str) -> None:
    with belfry.api(belfry.token("eager-too", "publish")) as api:
        results = api.publish_lines([json.dumps({"to": alice, "data": number}) for number in range(30)])
    assert [result["status"] for result in results[:20]] == [201] * 20
    assert {result.get("code") for result in results[21:]} == {"rate_limited"}


@pytest.mark.parametrize("line", ["1", '{"to":[]}', '{"to":"a","to":"b"}', "{", '{"to":"a b"}'])
def test_a_bad_line_costs_as_much_as_a_delivery(belfry: Belfry, line: str) -> None:
    with belfry.api(belfry.token(f"careless-{line.encode().hex()}", "publish")) as api:
        codes = [result["code"] for result in api.publish_lines([line] * 40)]
        assert "rate_limited" not in codes[:20]
        assert set(codes[21:]) == {"rate_limited"}


def test_a_batch_has_a_limit_of_lines_and_its_answer_stays_in_proportion(belfry: Belfry) -> None:
    most = Settings().max_batch_lines
    headers = {"Content-Type": "application/x-ndjson"}
    with belfry.api(belfry.token("endless", "publish")) as api:
        for body in (b"1\n" * most + b"1", b"\n" * (most + 1)):
            answer = api.post("/publish", data=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
            assert str(most) in answer.json()["detail"]
        answer = api.post("/publish", data=b"1\n" * 20_000, headers=headers)
    results = [json.loads(line) for line in answer.content.splitlines()]
    assert len(results) == 20_000
    assert all({"status", "code"} <= result.keys() for result in results)
    assert len(answer.content) < 20_000 * 50


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/nowhere", "not_found"), ("POST", "/v1/chat/completions", "token_missing")]
)
def test_refusals_are_counted_by_reason_over_all_workers(belfry: Belfry, method: str, path: str, code: str) -> None:
    before = count(belfry, f'belfry_refusals_total{{code="{code}"}}')
    for _ in range(10):
        with belfry.api() as api:  # a new connection, so maybe another worker
            api.request(method, path)
    wait_until(lambda: count(belfry, f'belfry_refusals_total{{code="{code}"}}') == before + 10)


def was_replaced(stream: StreamClient) -> bool:
    with suppress(TimeoutError):
        stream.read_some(0.05)
    return any(event.event == "goodbye" and "replaced" in event.data for event in stream.events)


def test_the_oldest_of_too_many_connections_is_told_not_to_come_back(belfry: Belfry, alice: str) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(belfry.stream(alice)) for _ in range(5)]
        for stream in streams:
            stream.wait_for("ready")
        # Two workers with two each: at least one of five had to go, the oldest of those that met at its worker.
        wait_until(lambda: any(was_replaced(stream) for stream in streams[:-1]))
        wait_until(lambda: count(belfry, 'belfry_streams_ended_total{reason="replaced"}') >= 1)


def test_a_user_who_connects_too_often_is_told_to_wait(belfry: Belfry, bob: str) -> None:
    """Each worker refills a third of a connection in a second, which is slower than this test connects."""
    with ExitStack() as stack:
        streams = (stack.enter_context(belfry.stream(bob)) for _ in range(CONNECTS_MAX))
        refused = next(stream for stream in streams if stream.status != 200)
        assert (refused.status, refused.body()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
