"""The two ways to a client: a socket that was taken out of the server, and a generator that a server drains.

Neither blocks the writer. Each keeps at most the rest of one write; later messages stay in the store.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gevent.event import Event

from ...core.dialects.blocks import BlockTranslator

if TYPE_CHECKING:
    from .poller import Poller
    from .subscriber import Subscriber

# What the kernel may hold unsent for one client. Left to itself it takes megabytes and calls the socket writable only
# once a third of them is gone: a slow reader would look like one that takes nothing, and be cut off.
UNSENT_BYTES = 65_536
_DISCARD_BYTES = 4_096


class ParkedSocket:
    """A client's socket, known by its descriptor alone; it costs no greenlet.

    The code that parks the socket sets `subscriber`, before anything is written.
    """

    __slots__ = ("_descriptor", "_outbox", "_poller", "subscriber")

    subscriber: Subscriber

    def __init__(self, client: socket.socket, poller: Poller, write_timeout_seconds: float) -> None:
        """Take the socket out of the server.

        Raises `OSError` where the kernel watches no more sockets: then the client is as it was, and the server's to
        answer.
        """
        _tune(client, write_timeout_seconds)
        self._outbox = b""
        self._poller = poller
        poller.add(client.fileno(), self)
        client.setblocking(False)
        self._descriptor = client.detach()

    @property
    def pending(self) -> bool:
        return bool(self._outbox)

    @property
    def pending_bytes(self) -> int:
        return len(self._outbox)

    def write(self, data: bytes) -> bool:
        if self._outbox:
            self._outbox += data
            return False
        try:  # as `_send`, without its call: this line is most of what a fan-out does
            sent = os.write(self._descriptor, data)
        except OSError:
            sent = self._send(data)
        if sent == len(data):
            return True
        if sent >= 0:
            self._outbox = data[sent:]
            self._poller.want_write(self._descriptor, True)
        return False

    def writable(self) -> None:
        sent = self._send(self._outbox)
        if sent < 0:
            return
        self._outbox = self._outbox[sent:]
        if self._outbox:
            if sent:
                self.subscriber.owner.progressed(self.subscriber)
            return
        self._poller.want_write(self._descriptor, False)
        self.subscriber.drained()

    def readable(self) -> None:
        """A stream's client has nothing to say; what it sends is dropped, its end is seen."""
        try:
            ended = not os.read(self._descriptor, _DISCARD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self.hung_up()

    def hung_up(self) -> None:
        self.subscriber.close("gone")

    def close(self) -> None:
        self._poller.remove(self._descriptor)
        os.close(self._descriptor)
        self._outbox = b""
        del self.subscriber  # else both would live on until a garbage collection

    def _send(self, data: bytes) -> int:
        """Bytes sent, 0 when the socket is full, -1 when the client is gone."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.hung_up()
            return -1


class GeneratorSink:
    """A queue that the server's response iterator drains: for TLS in gunicorn, other WSGI servers, the test client."""

    __slots__ = ("_closed", "_filled", "_limit_bytes", "_queue", "_size", "subscriber")

    subscriber: Subscriber

    def __init__(self, limit_bytes: int) -> None:
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._limit_bytes = limit_bytes
        self._filled = Event()
        self._closed = False

    @property
    def pending(self) -> bool:
        return self._size >= self._limit_bytes

    @property
    def pending_bytes(self) -> int:
        return self._size

    def write(self, data: bytes) -> bool:
        self._queue.append(data)
        self._size += len(data)
        self._filled.set()
        return self._size < self._limit_bytes

    def close(self) -> None:
        self._closed = True
        self._filled.set()

    def __iter__(self) -> Iterator[bytes]:
        """The response's body; ends when the subscriber is closed, closes it when the server stops iterating."""
        try:
            while self._queue or not self._closed:
                if self._queue:
                    yield self._taken()
                else:
                    self._filled.clear()
                    self._filled.wait()
        finally:
            self.subscriber.close("gone")

    def _taken(self) -> bytes:
        """All that is queued, as one piece; room again may mean that the subscriber goes on reading history."""
        was_full = self.pending
        data = b"".join(self._queue)
        self._queue.clear()
        self._size = 0
        if was_full and not self._closed:
            self.subscriber.drained()
        return data


class TranslatedSink:
    """A sink whose client speaks another language: each write is translated. `head` goes before the first one."""

    __slots__ = ("_dialect", "_head", "_sink")

    def __init__(self, sink: ParkedSocket | GeneratorSink, dialect: BlockTranslator, head: bytes = b"") -> None:
        self._sink = sink
        self._dialect = dialect
        self._head = head

    @property
    def subscriber(self) -> Subscriber:
        return self._sink.subscriber

    @subscriber.setter
    def subscriber(self, subscriber: Subscriber) -> None:
        self._sink.subscriber = subscriber

    @property
    def pending(self) -> bool:
        return self._sink.pending

    @property
    def pending_bytes(self) -> int:
        return self._sink.pending_bytes

    def write(self, data: bytes) -> bool:
        head, self._head = self._head, b""
        said = head + self._dialect.translate(data)
        return self._sink.write(said) if said else not self._sink.pending

    def close(self) -> None:
        self._sink.close()


def _tune(client: socket.socket, write_timeout_seconds: float) -> None:
    """How much may lie unsent, and for how long; all else that a stream needs its listener had, see `parking`."""
    if client.family == socket.AF_UNIX:  # a proxy on this machine: nothing is delayed, and nothing vanishes
        return
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(write_timeout_seconds * 1_000))
