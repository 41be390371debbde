"""The load generator sees what a server does wrong: it is pointed at one that does just that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from bench.load import HERE, Load, Requests, run

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
        result = run(Load(1, users=1, publishers=1, messages=MESSAGES), Requests(server.port, *templates))
    return {name: result[name] for name in ("events", "missing", "gaps", "dups", "reorders")}


SOUND = {"events": MESSAGES, "missing": 0, "gaps": 0, "dups": 0, "reorders": 0}


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
