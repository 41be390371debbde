"""A worker whose queue is full says so at once, and goes on with everything else."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection

import pytest
import requests

from app.server.gates.admission import FIRST_GUESS_SECONDS
from tests.servers import HOST, Api, Belfry, RedisServer, frozen
from tests.system.conftest import StartBelfry
from tests.system.test_late_bodies import send_and_have_read
from tests.system.test_limits import count
from tests.waiting import patient, wait_until

pytestmark = pytest.mark.alone  # measures how soon a refusal comes

HANGING = 40
WAIT_SECONDS = 0.01
TAKEN = int(WAIT_SECONDS / FIRST_GUESS_SECONDS) + 1
LET_IN_MORE = 2
ORIGIN = "https://shop.example"
STORE_SECONDS = "30"  # how long a worker waits for a frozen store
AT_ONCE_SECONDS = 15.0  # half of that


@pytest.fixture
def full(start_belfry: StartBelfry, own_redis: RedisServer) -> Iterator[Belfry]:
    """A server that waits for a frozen store with as many publishes as it takes on."""
    belfry = start_belfry(
        own_redis.url,
        BELFRY_PUBLISH_QUEUE_SECONDS=str(WAIT_SECONDS),
        BELFRY_REDIS_TIMEOUT_SECONDS=STORE_SECONDS,
        BELFRY_CORS_ORIGINS=ORIGIN,
    )
    belfry.publish({"to": "someone"})
    with frozen(own_redis.pid), ExitStack() as stack:
        hanging = [stack.enter_context(connected(belfry)) for _ in range(HANGING)]
        for publisher in hanging:
            post(belfry, publisher)
        wait_until(lambda: refused_of(hanging))
        yield belfry


def connected(belfry: Belfry) -> closing[HTTPConnection]:
    return closing(HTTPConnection(HOST, belfry.port, timeout=patient(AT_ONCE_SECONDS)))


def post(belfry: Belfry, publisher: HTTPConnection, path: str = "/publish", token: str = "", **headers: str) -> None:
    token = token or belfry.token("shop", "publish")
    given = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    publisher.request("POST", path, b'{"to":"someone"}', given)


@pytest.mark.parametrize("path", ["/publish", "/%70ublish", "/publish?x=1"])
def test_one_more_is_refused_at_once_and_may_ask_again_on_the_same_connection(full: Belfry, path: str) -> None:
    before = count(full, 'belfry_refusals_total{code="overloaded"}')
    with connected(full) as publisher:
        for _ in range(3):
            started = time.monotonic()
            post(full, publisher, path)
            answer = publisher.getresponse()
            assert (answer.status, answer.headers["Retry-After"], answer.will_close) == (503, "1", False)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert b'"code": "overloaded"' in answer.read()
            assert time.monotonic() - started < patient(AT_ONCE_SECONDS)
    assert count(full, 'belfry_refusals_total{code="overloaded"}') >= before + 3


def test_a_page_of_another_origin_can_read_the_refusal(full: Belfry) -> None:
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://elsewhere.example", None)):
        with connected(full) as publisher:
            post(full, publisher, Origin=origin)
            answer = publisher.getresponse()
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (503, allowed)
            assert answer.headers["Vary"] == "Origin"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_those_whose_requests_are_known_already_wait_in_the_same_queue(
    start_belfry: StartBelfry, own_redis: RedisServer
) -> None:
    belfry = start_belfry(
        own_redis.url, BELFRY_PUBLISH_QUEUE_SECONDS=str(WAIT_SECONDS), BELFRY_REDIS_TIMEOUT_SECONDS=STORE_SECONDS
    )
    ask = partial(post, belfry, token=belfry.token("shop", "publish"))
    with ExitStack() as stack:
        publishers = [stack.enter_context(connected(belfry)) for _ in range(HANGING)]
        for publisher in publishers * 3:
            ask(publisher)
            assert status(publisher) == 201
        with frozen(own_redis.pid):
            for publisher in publishers:
                ask(publisher)
            refused = wait_until(lambda: refused_of(publishers))
            assert [status(publisher) for publisher in refused] == [503] * len(refused)
            for publisher in refused:
                ask(publisher)
                assert status(publisher) == 503
        later = [status(publisher) for publisher in publishers if publisher not in refused]
        assert set(later) <= {201, 503}
        assert later.count(201) >= TAKEN
        for publisher in publishers:
            ask(publisher)
            assert status(publisher) == 201


def status(publisher: HTTPConnection) -> int:
    with publisher.getresponse() as answer:
        answer.read()
        return answer.status


def refused_of(publishers: list[HTTPConnection]) -> list[HTTPConnection]:
    """Those that were answered, once they are as many as must be.

    Who was let in and whose body is on its way is not counted yet, so one or two more may be let in.
    """
    sockets = select.select([publisher.sock for publisher in publishers], [], [], 0)[0]
    refused = [publisher for publisher in publishers if publisher.sock in sockets]
    return refused if len(refused) >= HANGING - TAKEN - LET_IN_MORE else []


def test_everything_else_is_answered(full: Belfry) -> None:
    with connected(full) as visitor:
        visitor.request("GET", "/health/live")
        assert visitor.getresponse().status == 200


@pytest.mark.parametrize("header", ["Connection: close", "Expect: 100-continue"])
def test_a_refusal_ends_a_connection_on_which_nothing_can_follow(full: Belfry, header: str) -> None:
    with socket.create_connection((HOST, full.port), patient(AT_ONCE_SECONDS)) as publisher:
        publisher.sendall(f"POST /publish HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode())
        received = b""
        while more := publisher.recv(65_536):
            received += more
    assert received.startswith(b"HTTP/1.1 503 ")
    assert received.count(b"HTTP/1.1") == 1


def test_batches_that_would_not_fit_into_memory_wait_outside(start_belfry: StartBelfry) -> None:
    room = 65_536
    belfry = start_belfry(BELFRY_MAX_BATCHES_BYTES=str(room))
    line = json.dumps({"to": "someone", "body": "x" * 1_000}).encode() + b"\n"
    large, small = line * (room // len(line)), [line.decode()] * 20  # together more than the room
    with connected(belfry) as publisher, belfry.api(belfry.token("shop", "publish")) as other:
        publisher.request("GET", "/health/live")  # now it is accepted
        publisher.getresponse().read()
        publisher.putrequest("POST", "/publish")
        for name, value in {**batch_headers(belfry), "Content-Length": str(len(large))}.items():
            publisher.putheader(name, value)
        publisher.endheaders()
        send_and_have_read(publisher.sock, large[:-10], other)
        refused = send(other, small)
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        publisher.send(large[-10:])
        assert publisher.getresponse().read().count(b'"status":201') == room // len(line)
        assert all(result["status"] == 201 for result in other.publish_lines(small))


def batch_headers(belfry: Belfry) -> dict[str, str]:
    return {"Authorization": f"Bearer {belfry.token('shop', 'publish')}", "Content-Type": "application/x-ndjson"}


def send(api: Api, lines: list[str]) -> requests.Response:
    return api.post("/publish", data="".join(lines).encode(), headers={"Content-Type": "application/x-ndjson"})
