"""A few at a time, each in its turn, and the door is held while a crowd waits."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from app import metrics
from app.core.settings import Settings
from app.server.gates import concurrency_limit
from app.server.gates.concurrency_limit import AT_ONCE, CROWD, ConcurrencyLimit, hung_up
from app.web.edge.answers import Answers

ORIGIN = "https://app.example"

Ends = tuple[socket.socket, socket.socket]  # the server's and the client's


class Slow:
    """An application that answers when it is let."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.go = Event()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.running += 1
        self.most = max(self.most, self.running)
        if environ["PATH_INFO"] == "/slow":
            self.go.wait()
        self.running -= 1
        return Response("done")(environ, start_response)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def door(slow: Slow) -> ConcurrencyLimit:
    refusal = Answers(Settings(cors_origins=ORIGIN)).refusing(concurrency_limit.REFUSAL)
    return ConcurrencyLimit(slow, lambda environ: environ["PATH_INFO"] == "/slow", refusal)


def come(door: ConcurrencyLimit, count: int) -> list[gevent.Greenlet[..., TestResponse]]:
    greenlets = [gevent.spawn(Client(door).get, "/slow") for _ in range(count)]
    gevent.sleep(0)
    return greenlets


def test_only_so_many_run_at_once_and_all_are_answered(door: ConcurrencyLimit, slow: Slow) -> None:
    everybody = come(door, AT_ONCE * 3)
    assert slow.running == AT_ONCE
    slow.go.set()
    gevent.joinall(everybody, timeout=60)
    assert [greenlet.value.status_code for greenlet in everybody if greenlet.value] == [200] * AT_ONCE * 3
    assert slow.most == AT_ONCE


def test_other_requests_need_no_turn(door: ConcurrencyLimit, slow: Slow) -> None:
    waiting = come(door, AT_ONCE + 1)
    assert Client(door).get("/other").status_code == 200
    slow.go.set()
    gevent.joinall(waiting, timeout=60)


def test_the_door_is_held_while_a_crowd_waits_and_opened_again(door: ConcurrencyLimit, slow: Slow) -> None:
    told: list[bool] = []
    door.crowded = told.append
    everybody = come(door, AT_ONCE + CROWD - 1)
    assert told == []
    everybody += come(door, 1)
    assert told == [True]
    slow.go.set()
    gevent.joinall(everybody, timeout=60)
    assert told == [True, False]


def test_whose_turn_does_not_come_is_told_when_to_come_back(
    door: ConcurrencyLimit, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency_limit, "WAIT_SECONDS", 0.01)
    everybody = come(door, AT_ONCE)
    refused = Client(door).get("/slow", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    slow.go.set()
    gevent.joinall(everybody, timeout=60)


class TestWhoHungUp:
    @pytest.fixture
    def ends(self) -> Iterator[Ends]:
        server, client = socket.socketpair()
        with server, client:
            yield server, client

    def test_is_not_let_in(self, door: ConcurrencyLimit, slow: Slow, ends: Ends) -> None:
        server, client = ends
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")  # read or not
        client.close()
        assert hung_up({"gunicorn.socket": server})
        errors, left = metrics.TALLY.errors, metrics.ABANDONED._value.get()
        answer = Client(door).get("/slow", environ_overrides={"gunicorn.socket": server})
        assert (answer.status_code, slow.most) == (503, 0)
        assert metrics.TALLY.errors == errors, "the dashboard shows no error: nobody was refused"
        assert metrics.ABANDONED._value.get() == left + 1

    def test_is_told_from_who_waits(self, door: ConcurrencyLimit, slow: Slow, ends: Ends) -> None:
        server, client = ends
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert not hung_up({"gunicorn.socket": server})
        slow.go.set()
        assert Client(door).get("/slow", environ_overrides={"gunicorn.socket": server}).status_code == 200

    def test_frees_the_turn_for_others(self, door: ConcurrencyLimit, slow: Slow, ends: Ends) -> None:
        server, client = ends
        client.close()
        for _ in range(AT_ONCE + 1):
            Client(door).get("/slow", environ_overrides={"gunicorn.socket": server})
        slow.go.set()
        assert Client(door).get("/slow").status_code == 200
