"""What one user may hold of a worker, and that the worker still answers health checks when nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

from tests.servers import HOST, Belfry
from tests.system.conftest import StartBelfry
from tests.system.test_completions import Runner
from tests.upstream import Upstream, running_upstream
from tests.waiting import wait_until

PLACES = 4


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """It never answers: the runs go on for as long as a test takes."""
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {
        "WEB_CONCURRENCY": "1",
        "BELFRY_UPSTREAM_URL": upstream.url,
        "BELFRY_MAX_CONNECTIONS_PER_USER": "2",
    }


def poll_status(belfry: Belfry, user: str, wait: str) -> tuple[int, str]:
    reader = belfry.reader(user)
    cursor = reader.get("/feed").json()["cursor"]
    answer = reader.get("/feed", params={"after": cursor, "wait": wait})
    return answer.status_code, answer.json().get("code", "")


def patient_poll(belfry: Belfry, user: str, told: list[tuple[int, str]]) -> threading.Thread:
    """Waits for long, and comes again as long as a short poll of the test has its place."""

    def poll() -> None:
        while (answer := poll_status(belfry, user, "20"))[0] == 503:
            pass
        told.append(answer)

    thread = threading.Thread(target=poll)
    thread.start()
    return thread


def test_streams_of_the_feed_and_of_all_runs_count_together(belfry: Belfry, alice: str) -> None:
    runner = Runner(belfry, alice)
    runs = [runner.start() for _ in range(2)]
    with ExitStack() as stack:
        feed = stack.enter_context(belfry.stream(alice))
        feed.wait_for("ready")
        first = stack.enter_context(runner.watch(runs[0]))
        first.wait_for("ready")
        second = stack.enter_context(runner.watch(runs[1]))
        second.wait_for("ready")
        goodbye = feed.read_to_end()[-1]
        assert (goodbye.event, goodbye.data) == ("goodbye", '{"reason":"replaced"}')
        assert (goodbye.retry or 0) >= 1_800_000, "clients that obey only this stay away"
        stack.enter_context(belfry.stream(alice)).wait_for("ready")
        assert first.read_to_end()[-1].data == '{"reason":"replaced"}'
        assert poll_status(belfry, alice, "5") == (503, "too_many_connections")
        assert poll_status(belfry, alice, "0") == (200, ""), "it holds nothing"


def test_waiting_polls_count_while_they_wait(belfry: Belfry, alice: str, bob: str) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        told: list[tuple[int, str]] = []
        waiting = patient_poll(belfry, alice, told)
        wait_until(lambda: poll_status(belfry, alice, "0.01") == (503, "too_many_connections"))
        assert poll_status(belfry, bob, "0.01") == (200, ""), "another user has places of his own"
        belfry.publish({"to": alice, "title": "over"})
        waiting.join(60)
        assert told == [(200, "")]
        assert poll_status(belfry, alice, "0.01") == (200, "")


def test_every_request_counts_against_a_limit_also_a_page_of_the_feed(
    start_belfry: StartBelfry, alice: str, bob: str
) -> None:
    belfry = start_belfry(WEB_CONCURRENCY="1", BELFRY_REQUESTS_PER_MINUTE="2")
    reader = belfry.reader(alice)
    wait_until(lambda: reader.get("/feed").status_code == 429)
    refused = reader.get("/feed", params={"limit": "1"})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    assert belfry.reader(bob).get("/feed").status_code == 200


def asked(belfry: Belfry, path: str, token: str = "") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = HTTPConnection(HOST, belfry.port, timeout=40)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_health_is_answered_when_every_place_is_taken(start_belfry: StartBelfry, alice: str, bob: str) -> None:
    belfry = start_belfry(WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS=f"--worker-connections {PLACES}")
    token = belfry.token(alice, "feed")
    with belfry.api(token) as api:
        cursor = api.get("/feed").json()["cursor"]

    def poll() -> None:
        while asked(belfry, f"/feed?after={cursor}&wait=10", token)[0] == 503:  # a look of the test has its place
            pass

    polls = [threading.Thread(target=poll) for _ in range(PLACES)]
    for each in polls:
        each.start()
    others = belfry.token(bob, "feed")
    wait_until(lambda: asked(belfry, "/feed", others)[0] == 503)
    for path in ("/health/live", "/health/ready"):
        assert asked(belfry, path)[0] == 200
    status, body = asked(belfry, "/feed", others)
    assert (status, b"too_many_connections" in body) == (503, True)
    for each in polls:
        each.join(60)
    assert asked(belfry, "/feed", others)[0] == 200


def test_polls_of_many_users_leave_places_for_others(start_belfry: StartBelfry, alice: str, bob: str) -> None:
    belfry = start_belfry(WEB_CONCURRENCY="1", BELFRY_MAX_WAITING_POLLS="1")
    told: list[tuple[int, str]] = []
    waiting = patient_poll(belfry, alice, told)
    wait_until(lambda: poll_status(belfry, bob, "0.01") == (503, "too_many_connections"))
    belfry.publish({"to": alice, "title": "over"})
    waiting.join(60)
    assert told == [(200, "")]
    assert poll_status(belfry, bob, "0.01") == (200, "")
