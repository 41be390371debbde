"""The bytes of an answer come as the upstream sends them, for each framing of HTTP/1.1, and its connection is kept."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import urllib3

from app.core.completion.coding import decoded
from app.live.runs.body_bytes import reader_of
from app.live.runs.call import BROKEN

BODY = b"".join(b"data: %d\n\n" % number for number in range(500))


class Server(ThreadingHTTPServer):
    """Answers each path in its own framing, and counts its connections."""

    connections = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        body, is_cut = BODY, self.path == "/cut"
        self.send_response(200)
        if self.path == "/gzip":
            body = gzip.compress(BODY)
            self.send_header("Content-Encoding", "gzip")
        if self.path == "/length":
            self.send_header("Content-Length", str(len(BODY)))
        elif self.path == "/short":
            self.send_header("Content-Length", str(len(BODY) + 1))
        elif self.path == "/close":
            self.send_header("Connection", "close")
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.path in ("/length", "/close", "/short"):
            self.wfile.write(body)
            self.close_connection = self.path != "/length"
            return
        for start in range(0, len(body), 100):
            part = body[start : start + 100]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"" if is_cut else b"0\r\n\r\n")
        self.close_connection = is_cut

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def body_of(session: requests.Session, server: Server, path: str) -> bytes:
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    with session.get(url, stream=True, timeout=10) as reply:
        read, parts = reader_of(reply), []
        while received := read():
            parts.append(received)
        return b"".join(decoded(parts, reply.headers.get("Content-Encoding", "")))


@pytest.mark.parametrize("path", ["/chunked", "/gzip", "/length", "/close"])
def test_the_whole_body_comes_in_every_framing(server: Server, path: str) -> None:
    with requests.Session() as session:
        assert body_of(session, server, path) == BODY


@pytest.mark.parametrize("path", ["/chunked", "/gzip", "/length"])
def test_a_connection_whose_answer_was_read_to_its_end_is_used_again(server: Server, path: str) -> None:
    with requests.Session() as session:
        assert [body_of(session, server, path) for _ in range(3)] == [BODY] * 3
    assert server.connections == 1


@pytest.mark.parametrize("path", ["/cut", "/short"])
def test_a_body_that_ends_too_soon_raises(server: Server, path: str) -> None:
    with requests.Session() as session, pytest.raises(BROKEN) as caught:
        body_of(session, server, path)
    assert isinstance(caught.value, urllib3.exceptions.HTTPError | http.client.HTTPException)


def test_a_connection_whose_answer_broke_off_is_not_used_again(server: Server) -> None:
    with requests.Session() as session:
        with pytest.raises(BROKEN):
            body_of(session, server, "/cut")
        assert body_of(session, server, "/chunked") == BODY
    assert server.connections == 2
