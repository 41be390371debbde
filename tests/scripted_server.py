"""An HTTP server that answers each request with the next answer of a script, then cuts the connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    """What the server says next."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode())


@dataclass
class Asked:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: bytes


@dataclass
class Script:
    """A running server: what it still has to say, and what it was asked."""

    url: str
    answers: list[Answer]
    asked: list[Asked]


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[Script]:
    script = Script("", list(answers), [])

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            script.asked.append(Asked(self.command, address.path, query, token, body))
            answer = script.answers.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = answer  # noqa: N815 - http.server names them so

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()
