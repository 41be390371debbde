"""An upstream whose every byte a test decides: OpenAI's streaming API, spoken well or badly, over real HTTP."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

SECONDS = 30.0  # how long a test waits for a request; only a failing test needs it

Play = Callable[["Conversation"], None]


class Conversation:
    """One request, and what is said in return."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers = handler.headers
        self.path = handler.path
        self.raw: bytes = handler.rfile.read(int(handler.headers["Content-Length"]))
        is_json = "json" in handler.headers.get("Content-Type", "")
        self.body: dict[str, Any] = json.loads(self.raw) if is_json else {}
        self.over = threading.Event()
        self._socket: socket.socket = handler.connection

    def refuse(self, status: int, body: bytes | dict[str, Any], **headers: str) -> None:
        """A whole answer, refusal or not."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(text)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + text)
        self.over.set()

    def answer(self, body: bytes, content_type: str, status: int = 200, **headers: str) -> None:
        """The beginning of an answer with any body, which `end` or `cut` ends."""
        lines = [f"HTTP/1.1 {status} Said", "Transfer-Encoding: chunked"]
        lines += [f"Content-Type: {content_type}"] if content_type else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        if body:
            self.send(body)

    def hint(self, status: int) -> None:
        """An interim answer, before the answer itself."""
        self._socket.sendall(b"HTTP/1.1 %d Soon\r\nLink: </x>; rel=preload\r\n\r\n" % status)

    def begin(self) -> None:
        self._socket.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def send(self, data: bytes) -> None:
        """Bytes of the stream, as one HTTP chunk."""
        with suppress(OSError):  # who has left is seen by `has_left`
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def say(self, *texts: str) -> None:
        """Content, a chunk for each text."""
        for text in texts:
            self.send(f"data: {content(text)}\n\n".encode())

    def finish(self, usage: dict[str, int] | None = None) -> None:
        """The end of a good answer."""
        self.send(f"data: {chunk({}, 'stop')}\n\n".encode())
        if usage:
            self.send(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
        self.send(b"data: [DONE]\n\n")
        self.end()

    def end(self) -> None:
        """The end of the body."""
        with suppress(OSError):
            self._socket.sendall(b"0\r\n\r\n")
        self.over.set()

    def cut(self) -> None:
        """The connection breaks."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.over.set()

    @property
    def client_port(self) -> int:
        port: int = self._socket.getpeername()[1]
        return port

    def has_left(self, seconds: float = SECONDS) -> bool:
        """Whether the client closes the connection within `seconds`."""
        readable, _, _ = select.select([self._socket], [], [], seconds)
        with suppress(ConnectionError):
            return bool(readable) and self._socket.recv(1) == b""
        return True


class Upstream:
    """`play` answers each request; left alone, each waits for the test to take it by `next_request`.

    `models` are what it lists; None: it has no list.
    """

    def __init__(self) -> None:
        self.url = ""
        self.conversations: list[Conversation] = []
        self.models: list[dict[str, Any]] | None = [{"id": "m", "object": "model", "made_up": True}]
        self.lists_at = "/models"
        self.asked: list[str] = []  # the paths of GET requests
        self._waiting: Queue[Conversation] = Queue()
        self.play: Play = self.hand_over

    def next_request(self, user: str, seconds: float = SECONDS) -> Conversation:
        """The next request that names `user`. Those of others, left over from an earlier test, are dropped."""
        while True:
            conversation = self._waiting.get(timeout=seconds)
            if conversation.body.get("user") == user:
                return conversation
            conversation.over.set()

    def next(self, seconds: float = SECONDS) -> Conversation:
        """The next request."""
        return self._waiting.get(timeout=seconds)

    def let_go(self) -> None:
        """Let those wait no longer that nobody took."""
        while not self._waiting.empty():
            self._waiting.get().over.set()

    def hand_over(self, conversation: Conversation) -> None:
        self._waiting.put(conversation)
        conversation.over.wait(60)


@contextmanager
def running_upstream(context: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """With a context, it speaks TLS."""
    upstream = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            conversation = Conversation(self)
            upstream.conversations.append(conversation)
            upstream.play(conversation)

        def do_GET(self) -> None:
            """The list of models."""
            upstream.asked.append(self.path)
            known = upstream.models is not None and self.path.endswith(upstream.lists_at)
            status = 200 if known else 404
            text = json.dumps({"object": "list", "data": upstream.models}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it so
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        upstream.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/v1"
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield upstream
        finally:
            for conversation in upstream.conversations:
                conversation.over.set()
            server.shutdown()
            thread.join()


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    whole = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps(whole, ensure_ascii=False)


def content(text: str) -> str:
    return chunk({"content": text})


def saying(*texts: str, usage: dict[str, int] | None = None) -> Play:
    """Answers every request with these texts, well."""

    def play(conversation: Conversation) -> None:
        conversation.begin()
        conversation.say(*texts)
        conversation.finish(usage)

    return play


def sending(*pieces: bytes, end: bool = True) -> Play:
    """Answers every request with exactly these bytes, each piece in an HTTP chunk of its own."""

    def play(conversation: Conversation) -> None:
        conversation.begin()
        for piece in pieces:
            conversation.send(piece)
        conversation.end() if end else conversation.cut()

    return play


def refusing(status: int, body: bytes | dict[str, Any], times: int | None = None, then: Play | None = None) -> Play:
    """Refuses `times` requests, or all, and plays `then` afterwards."""
    refused: list[int] = []

    def play(conversation: Conversation) -> None:
        if then is not None and times is not None and len(refused) >= times:
            then(conversation)
        else:
            refused.append(status)
            conversation.refuse(status, body)

    return play


def text_of(datas: Sequence[str]) -> str:
    """The text of OpenAI's chunks."""
    return "".join(
        choice["delta"].get("content") or ""
        for data in datas
        if data != "[DONE]"
        for choice in json.loads(data).get("choices", ())
    )
