"""One SSE connection over a raw socket, so that a test decides when to read, when to stop and how to hang up.

It reads with Belfry's own decoder, which has tests of its own, and knows nothing of servers or pytest.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from app.core.wire.sse import Decoder, Event
from tests.waiting import patient

HOST = "127.0.0.1"
SECONDS = 20.0  # how long a test waits for what it expects, longer on a busy machine; only a failing test needs it

# What Belfry says for itself; everything else on a stream was published by somebody.
OWN_EVENTS = frozenset({"ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"})


class StreamEndedError(AssertionError):
    """The server closed the connection while a test waited for more."""


class StreamClient:
    """Sends one request and reads what comes, when asked to.

    `events` holds everything read so far, `cursor` is what a browser would send as Last-Event-ID.
    `receive_buffer` makes the kernel's own buffer small, which makes a client slow sooner. `read_size` is how many
    bytes it takes at once: with a small one it hangs up within a block.
    """

    def __init__(
        self,
        port: int,
        path: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        version: str = "HTTP/1.1",
        receive_buffer: int | None = None,
        read_size: int = 65_536,
        host: str = HOST,
    ) -> None:
        self._read_size = read_size
        self.events: list[Event] = []
        self._published: list[Event] = []
        self._waited_for = 0  # events up to here were the answer to some wait
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw = b""
        self._decoder = Decoder()
        self._dechunker: _Dechunker | None = None
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(patient(SECONDS))
        self._socket.connect((host, port))
        self._sent_at = time.monotonic()
        self.first_byte_seconds = 0.0
        self._send(method, path, version, headers)
        self._read_head()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Of this end."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def cursor(self) -> str:
        return self._decoder.last_event_id

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was published, decoded, as far as it was read."""
        return [json.loads(event.data) for event in self._published]

    def next_event(self, seconds: float = SECONDS) -> Event:
        """The event after the last one that was waited for."""
        self._read_until(lambda: len(self.events) > self._waited_for, seconds)
        self._waited_for += 1
        return self.events[self._waited_for - 1]

    def wait_for(self, predicate: Callable[[Event], bool] | str, seconds: float = SECONDS) -> Event:
        """The first event, from the beginning of the connection, that `predicate` (or a type's name) fits."""
        fits = (lambda event: event.event == predicate) if isinstance(predicate, str) else predicate
        self._read_until(lambda: any(fits(event) for event in self.events), seconds)
        found = next(at for at, event in enumerate(self.events) if fits(event))
        self._waited_for = found + 1
        return self.events[found]

    def wait_for_messages(self, count: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Read until `count` messages came in all; answers all that came."""
        self._read_until(lambda: len(self._published) >= count, seconds)
        self._waited_for = len(self.events)
        return self.messages

    def read_some(self, seconds: float = SECONDS) -> bool:
        """One read of `read_size` bytes at most; False at the end of the connection."""
        return self._receive(time.monotonic() + seconds)

    def read_to_end(self, seconds: float = SECONDS) -> list[Event]:
        """Everything until the server closes the connection."""
        deadline = time.monotonic() + patient(seconds)
        while self._receive(deadline):
            pass
        return self.events

    def body(self, seconds: float = SECONDS) -> dict[str, Any]:
        """The JSON of an answer that is no stream, which has a Content-Length."""
        size = int(self.headers["content-length"])
        self._read_until(lambda: len(self.raw) >= size, seconds)
        decoded: dict[str, Any] = json.loads(self.raw)
        return decoded

    def fileno(self) -> int:
        """Its socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up politely (FIN)."""
        self._socket.close()

    def reset(self) -> None:
        """Hang up rudely (RST), as a crashed client or a middlebox does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _send(self, method: str, path: str, version: str, headers: Mapping[str, str]) -> None:
        lines = [
            f"{method} {path} {version}",
            f"Host: {HOST}:{self._socket.getpeername()[1]}",  # the demo answers for this machine's own names only
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def _read_head(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = self._socket.recv(self._read_size)
            self.first_byte_seconds = self.first_byte_seconds or time.monotonic() - self._sent_at
            if not chunk:
                raise StreamEndedError(f"closed within the head: {received!r}")
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        status_line, *header_lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)
        }
        if self.headers.get("transfer-encoding") == "chunked":
            self._dechunker = _Dechunker()
        self._take(body)

    def _take(self, received: bytes) -> None:
        body = self._dechunker.feed(received) if self._dechunker else received
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            events = self._decoder.feed(body)
            self.events += events
            self._published += [event for event in events if event.event not in OWN_EVENTS]
        else:
            self.raw += body

    def _receive(self, deadline: float) -> bool:
        """Read once; False at the end of the connection."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            received = self._socket.recv(self._read_size)
        except ConnectionResetError:
            return False
        self._take(received)
        return bool(received) and not (self._dechunker and self._dechunker.ended)

    def _read_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + patient(seconds)
        while not condition():
            try:
                goes_on = self._receive(deadline)
            except TimeoutError:
                raise TimeoutError(f"{seconds} s passed; {self._so_far()}") from None
            if not goes_on and not condition():
                raise StreamEndedError(f"the server closed the stream; {self._so_far()}")

    def _so_far(self) -> str:
        return f"{len(self.events)} events so far, the last ones are {self.events[-3:]}"


class _Dechunker:
    """Takes HTTP/1.1's chunked coding (RFC 9112 section 7.1) off, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def feed(self, received: bytes) -> bytes:
        self._rest += received
        body = b""
        while not self.ended and b"\r\n" in self._rest:
            size_line, _, rest = self._rest.partition(b"\r\n")
            size = int(size_line.split(b";")[0], 16)
            if len(rest) < size + 2:
                break
            body += rest[:size]
            self._rest = rest[size + 2 :]
            self.ended = size == 0
        return body
