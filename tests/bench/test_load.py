"""The load generator sees what a server does wrong: it is pointed at one that does just that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from bench.load import HERE, Load, LoadError, Requests, report, run, running, wait_until_ready
from bench.scenarios import short

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ready\ndata: {}\n\n"
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
MESSAGES = 6


class Relay:
    """Sends each POST's body to the one reader, in the order and number that `plan` says for its sequence."""

    def __init__(self, plan: dict[int, Sequence[int]]) -> None:
        self._plan = plan
        self._bodies: dict[int, bytes] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        reader, _ = self._listener.accept()
        _request(reader)
        reader.sendall(HEAD)
        publisher, _ = self._listener.accept()
        for sequence in range(1, MESSAGES + 1):
            self._bodies[sequence] = _request(publisher)
            for sent in self._plan.get(sequence, [sequence]):
                reader.sendall(b"data: " + self._bodies[sent] + b"\n\n")
            publisher.sendall(ANSWER)
        publisher.recv(1)
        publisher.close()
        reader.close()

    def close(self) -> None:
        self._listener.close()


def _request(connection: socket.socket) -> bytes:
    """One request's body; the load generator sends each in one piece of less than 64 KiB."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(65_536)
    return body


@contextmanager
def relay(plan: dict[int, Sequence[int]]) -> Iterator[Relay]:
    server = Relay(plan)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    thread.join(20)
    server.close()
    assert not thread.is_alive()


def seen(plan: dict[int, Sequence[int]]) -> dict[str, Any]:
    with relay(plan) as server:
        templates = [(HERE / "requests" / name).read_text() for name in ("path.sub", "path.pub")]
        result = run(
            Load(1, users=1, publishers=1, messages=MESSAGES), Requests(server.port, templates[0], templates[1])
        )
    return {name: result[name] for name in ("events", "missing", "gaps", "dups", "reorders")}


SOUND = {"events": MESSAGES, "missing": 0, "gaps": 0, "dups": 0, "reorders": 0}


@pytest.mark.needs("cc")
@pytest.mark.parametrize(
    ("fault", "plan", "expected"),
    [
        ("none", {}, SOUND),
        ("a loss", {3: []}, {**SOUND, "events": 5, "gaps": 1}),
        ("a loss at the end", {6: []}, {**SOUND, "events": 5, "missing": 1}),
        ("a double", {3: [3, 3]}, {**SOUND, "events": 7, "dups": 1}),
        ("an inversion", {3: [], 4: [4, 3]}, {**SOUND, "gaps": 1, "reorders": 1}),
    ],
)
def test_the_load_generator_sees(fault: str, plan: dict[int, Sequence[int]], expected: dict[str, int]) -> None:
    del fault
    assert seen(plan) == expected


def test_more_connections_than_a_process_may_open_are_spread_over_several() -> None:
    parts = Load(20_001, users=20_001, prefix="i-").spread(most=10_000)
    assert [part.connections for part in parts] == [6_667, 6_667, 6_667]
    assert [part.users for part in parts] == [6_667, 6_667, 6_667]
    assert [part.prefix for part in parts] == ["i-0-", "i-1-", "i-2-"]


def test_connections_that_fit_one_process_stay_in_one() -> None:
    assert [part.connections for part in Load(500, users=500).spread(most=500)] == [500]


REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\n\r\n<!doctype html><p>no</p>"


@contextmanager
def one_answer(answer: bytes) -> Iterator[int]:
    """A server that gives each of two connections this answer; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            open_ = []
            for _ in range(2):
                connection, _ = listener.accept()
                open_.append(connection)
                _request(connection)
                connection.sendall(answer)
            for connection in open_:
                connection.recv(1)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


def _path(port: int) -> Requests:
    return Requests(port, (HERE / "requests" / "path.sub").read_text())


@pytest.mark.needs("cc")
def test_refused_connections_are_told_by_the_answers_first_line() -> None:
    told = pytest.raises(LoadError, match=r"^0 of 2 connected HTTP/1.1 503 Service Unavailable$")
    with one_answer(REFUSAL) as port, running(Load(2, users=2), _path(port)) as process, told:
        wait_until_ready(process, 2)


@pytest.mark.needs("cc")
def test_connections_that_never_open_are_told_when_the_time_is_over() -> None:
    told = pytest.raises(LoadError, match=r"^0 of 2 connected when the time was over$")
    with one_answer(b"") as port, running(Load(2, users=2, timeout=1), _path(port)) as process, told:
        wait_until_ready(process, 2)


@pytest.mark.needs("cc")
def test_a_load_without_messages_of_its_own_ends_with_the_last_that_it_awaits() -> None:
    stream = HEAD + b"data: @@0:1:1@@\n\n"
    with one_answer(stream) as port, running(Load(2, users=1, hold=60, awaited=2), _path(port)) as process:
        assert wait_until_ready(process, 2) == 2
        assert report(process)["events"] == 2


@pytest.mark.needs("cc")
def test_its_own_processor_time_counts_from_the_first_message_on() -> None:
    with relay({}) as server:
        templates = [(HERE / "requests" / name).read_text() for name in ("path.sub", "path.pub")]
        load = Load(1, users=1, publishers=1, messages=MESSAGES, rate=20)
        result = run(load, Requests(server.port, templates[0], templates[1]))
    assert result["work_s"] >= 5 / 20  # the sixth is sent after five twentieths of a second
    assert 0 <= result["work_cpu_s"] <= result["work_s"]
    assert result["connect_cpu_s"] >= 0


def test_a_bad_answer_is_told_shortly() -> None:
    html = "first bad reply: HTTP/1.1 500 INTERNAL SERVER ERROR\r\nServer: x\r\n\r\n<!doctype html>"
    assert short(html) == "first bad reply: HTTP/1.1 500 INTERNAL SERVER ERROR"
    problem = 'first bad reply: HTTP/1.1 503 Service Unavailable\r\n\r\n{"code": "overloaded"}'
    assert short(problem) == "first bad reply: HTTP/1.1 503 Service Unavailable overloaded"
