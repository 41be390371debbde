"""A TCP proxy between Belfry and Redis whose link can be made slow, silent, broken or lossy.

    proxy = LinkProxy(redis_server.socket_path)
    belfry = start_belfry(proxy.url)
    proxy.cut()                      # RST on every connection; new ones work
    proxy.latency_seconds = 0.05     # each way
    with proxy.silent(): ...         # nothing goes through, nobody is told; afterwards everything arrives
    with proxy.refusing(): ...       # every connection is cut, and every new one at once
    proxy.lose_replies(3)            # the next 3 replies never arrive: what was asked for was done all the same
    proxy.lose_replies(1, b"started")  # the next one with this in it

One greenlet-free thread per direction of a connection, of which Belfry has a dozen.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.servers import HOST

CHUNK_BYTES = 65_536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class LinkProxy:
    """Listens on a port of its own and hands every connection on to the unix socket at `target`."""

    def __init__(self, target: Path) -> None:
        self.latency_seconds = 0.0
        self.largest_held = 0  # bytes of the largest piece that is held up by the latency, on its way to Redis
        self._target = str(target)
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = threading.Event()
        self._replies_to_lose = 0
        self._lost_with = b""
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}"
        self._accepting = threading.Thread(target=self._accept, name="link proxy", daemon=True)
        self._accepting.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection, in both directions."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._drop(pair)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Hold everything back, as a network does that loses packets: TCP repeats them when it is well again."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """No connection lives."""
        self._refusing.set()
        self.cut()
        try:
            yield
        finally:
            self._refusing.clear()

    def lose_replies(self, number: int, having: bytes = b"") -> None:
        """Cut the connection instead of handing on each of the next `number` replies that have these bytes in them."""
        with self._lock:
            self._replies_to_lose, self._lost_with = number, having

    @property
    def replies_to_lose(self) -> int:
        """How many of them are still to come."""
        return self._replies_to_lose

    def close(self) -> None:
        self._refusing.set()
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()
        self._accepting.join(5)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            server = socket.socket(socket.AF_UNIX)
            if self._refusing.is_set() or server.connect_ex(self._target):
                client.close()
                server.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            if self._refusing.is_set():  # since this connection was accepted
                self._drop(pair)
                continue
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(pair, source, sink), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if self.latency_seconds:
                    self._hold(len(data) if source is pair[0] else 0)
                self._flowing.wait()
                if source is pair[1] and self._loses(data):
                    break
                sink.sendall(data)
        self._drop(pair)

    def _hold(self, size: int) -> None:
        self.largest_held = max(self.largest_held, size)
        time.sleep(self.latency_seconds)
        if size == self.largest_held:
            self.largest_held = 0

    def _loses(self, data: bytes) -> bool:
        with self._lock:
            losing = self._replies_to_lose > 0 and self._lost_with in data
            self._replies_to_lose -= losing
        return losing

    def _drop(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread
            end.close()
