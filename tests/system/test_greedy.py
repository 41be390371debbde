"""One who sends without a pause, faster than it is read: everybody else is served all the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.servers import HOST, Belfry
from tests.waiting import patient

pytestmark = pytest.mark.alone  # measures how long others wait beside one who takes the processor

WORTH_BYTES = 1_048_576
CHUNK = b"1\r\n \r\n"
REQUEST = b"GET /feed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\n\r\n"


@contextmanager
def flood(port: int, first: bytes, then: bytes) -> Iterator[None]:
    """A connection over which `first` is sent, and then `then` again and again. What is answered is read."""
    with socket.create_connection((HOST, port), timeout=patient(10)) as client:
        client.sendall(first)
        sender = threading.Thread(target=_send_all, args=(client, then * (WORTH_BYTES // len(then))))
        reader = threading.Thread(target=_read_all, args=(client,))
        sender.start()
        reader.start()
        try:
            yield
        finally:
            with suppress(OSError):  # the server refuses a body of too many small chunks, and hangs up
                client.shutdown(socket.SHUT_RDWR)
            sender.join()
            reader.join()


def _send_all(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        while True:
            client.sendall(data)


def _read_all(client: socket.socket) -> None:
    with suppress(OSError):
        while client.recv(WORTH_BYTES):
            pass


@pytest.mark.parametrize(
    ("framing", "then"),
    [
        ("", REQUEST),
        (f"Content-Length: {10**12}", b"x"),
        ("Transfer-Encoding: chunked", CHUNK),
        ("Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked", CHUNK),
    ],
    ids=["requests", "an unwanted body", "an unwanted body in small pieces", "a batch in small pieces"],
)
def test_who_sends_without_a_pause_keeps_nobody_waiting(belfry: Belfry, alice: str, framing: str, then: bytes) -> None:
    """Opening a stream and publishing take several turns each, a look at the health takes one."""
    token = belfry.token("greedy", "publish")
    head = f"POST /publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    with flood(belfry.port, head.encode() if framing else REQUEST, then):
        for _ in range(5):
            assert belfry.api().get("/health/live", timeout=patient(5)).ok
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "title": "meanwhile"})
            assert stream.wait_for_messages(1)[0]["title"] == "meanwhile"
