"""Publishing by NDJSON: bodies made beforehand, so that this process has nothing to do but send and count."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.servers import Belfry

LINES = 5_000  # per request: 1.2 MB
LONGEST_SECONDS = 60.0  # within which 50,000 messages are accepted and delivered on the busiest machine


@dataclass(frozen=True, slots=True)
class Sent:
    """How it went: this process's own processor time says whether the server was waited for, or it for the server."""

    messages: int
    seconds: float
    own_cpu_seconds: float


def publish(server: Belfry, *, prefix: str, users: int, messages: int) -> Sent:
    """Publish `messages` to `users` in turn, in as few requests as there must be; RuntimeError if one is refused."""
    token = server.token("publisher", "publish")
    bodies = [_body(prefix, users, first, min(LINES, messages - first)) for first in range(0, messages, LINES)]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    begun, used = time.perf_counter(), time.process_time()
    for body in bodies:
        connection.request("POST", "/publish", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200 or b'"code"' in text:
            raise RuntimeError(f"a batch was answered with {answer.status}: {text[:300]!r}")
    connection.close()
    return Sent(messages, time.perf_counter() - begun, time.process_time() - used)


def _body(prefix: str, users: int, first: int, count: int) -> bytes:
    return b"".join(_line(prefix, number % users, number // users + 1) for number in range(first, first + count))


def _line(prefix: str, user: int, sequence: int) -> bytes:
    mark = f"@@{user}:{sequence}:{time.monotonic_ns()}@@"
    body = f"Your order has left the warehouse and will be with you tomorrow {mark}"
    message = {"to": f"{prefix}{user}", "title": "Order shipped", "body": body, "url": f"/orders/{sequence}"}
    return json.dumps(message).encode() + b"\n"
