"""The readers that fault runs rely on: what they write down is what the server said."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults.crowd import Crowd, Reader
from tests.stream_client import HOST

BODY = b'{"code": "too_many_connections"}'
HEAD = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 600\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    try:
        yield crowd
    finally:
        crowd.stop()


@pytest.mark.parametrize("at", [1, HEAD.index(b"\r\n\r\n") + 2, len(HEAD), len(HEAD) + 1, len(HEAD + BODY)])
def test_a_refusal_is_noted_with_its_code_wherever_its_packets_part(crowd: Crowd, at: int) -> None:
    """gunicorn writes head and body apart, and a quick reader sees the one without the other."""
    with socket.create_server((HOST, 0)) as server:
        reader = Reader("alice", server.getsockname()[1], "/stream", {}, logs=("user:alice",))
        crowd.add([reader])
        with closing(server.accept()[0]) as connection:
            connection.sendall((HEAD + BODY)[:at])
            for _ in range(2):
                crowd.call(lambda: None)  # so that it has read that
            connection.sendall((HEAD + BODY)[at:])
            crowd.wait(lambda: reader.ends, what="the reader to be refused")
    assert dict(reader.answers) == {"503 too_many_connections": 1}
    assert dict(reader.ends) == {"503": 1}
