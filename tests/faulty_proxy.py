"""A reverse proxy that breaks one promise: it passes everything on, but for what a `Fault` does to it on the way.

Blocks of an event stream pass one by one and at once. Nothing here knows pytest, nor what a check looks at.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
UPSTREAM_SECONDS = 30.0
Blocks = Iterable[bytes]  # of an event stream, each with its blank line
BLOCK_END = b"\n\n"
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Asked:
    """A request on its way to the server."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass
class Answer:
    """The server's answer on its way back; of a stream only the head."""

    status: int
    headers: Message
    body: bytes = b""


def _as_it_is(*_: object) -> None:
    pass


def _block_by_block(_asked: Asked, blocks: Blocks) -> Blocks:
    return blocks


@dataclass(frozen=True)
class Fault:
    """What happens on the way: `ask` and `answer` change what passes in place, `blocks` what a stream is made of.

    `instead` answers without asking the server.
    """

    ask: Callable[[Asked], None] = _as_it_is
    answer: Callable[[Asked, Answer], None] = _as_it_is
    blocks: Callable[[Asked, Blocks], Blocks] = _block_by_block
    instead: Callable[[Asked], Answer | None] = lambda _asked: None


@contextmanager
def faulty_proxy(port: int, fault: Fault) -> Iterator[str]:
    """A proxy in front of the server at `port`; its address."""

    class Handler(_Handler):
        upstream = port
        planted = fault

    with _Proxy((HOST, 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{HOST}:{proxy.server_port}"
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


class _Upstream(HTTPConnection):
    """Without chunks, the last of which might lie read but unseen when select() waits for more."""

    _http_vsn = 10
    _http_vsn_str = "HTTP/1.0"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: int
    planted: Fault

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, self.headers, body)
        if (answer := self.planted.instead(asked)) is not None:
            self._send(answer)
            return
        self.planted.ask(asked)
        connection = _Upstream(HOST, self.upstream, timeout=UPSTREAM_SECONDS)
        try:
            connection.request(asked.method, asked.path, asked.body, dict(asked.headers.items()))
            with connection.getresponse() as response:
                self._answer(asked, response)
        finally:
            connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = pass_on  # noqa: N815 - http.server names them so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it so
        pass

    def _answer(self, asked: Asked, response: HTTPResponse) -> None:
        streamed = response.headers.get_content_type() == "text/event-stream" and asked.method != "HEAD"
        answer = Answer(response.status, response.headers, b"" if streamed else response.read())
        self.planted.answer(asked, answer)
        if streamed and answer.status == response.status:
            self._send_stream(answer, self.planted.blocks(asked, self._blocks(response)))
        else:
            self._send(answer)

    def _send_head(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)

    def _send(self, answer: Answer) -> None:
        self._send_head(answer)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _send_stream(self, answer: Answer, blocks: Blocks) -> None:
        self.close_connection = True
        self._send_head(answer)
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            for block in blocks:
                self.wfile.write(block)

    def _blocks(self, response: HTTPResponse) -> Iterator[bytes]:
        """Whole blocks, until either side hangs up."""
        rest = b""
        while chunk := response.read1(65_536):  # at first what came with the head, for which select() would wait
            *blocks, rest = (rest + chunk).split(BLOCK_END)
            yield from (block + BLOCK_END for block in blocks)
            if self.connection in select.select([response, self.connection], [], [])[0]:
                return
