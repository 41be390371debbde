"""The gunicorn worker: lets go of parked sockets, accepts no faster than streams can be opened, and leaves at once.

Imported in gunicorn's master, before anything is patched: it imports nothing of Belfry that touches sockets.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from app.core.errors import BelfryError
from app.realtime import descriptors
from app.realtime.parking import PARKED, PARKS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

POLL_SECONDS = 0.05
NOTIFY_SECONDS = 1.0
REQUEST_BYTES = 16_384
_NO_ROOM = json.dumps(BelfryError("too_many_connections", "This worker has no descriptor left.").problem()).encode()
NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_NO_ROOM), _NO_ROOM)
)


class BelfryWorker(GeventWorker):
    """gevent's worker with a loop of its own.

    gunicorn's looks once a second whether it should stop, and then waits for connections, idle ones included, where
    this one waits for requests.
    """

    wsgi: Any

    def load_wsgi(self) -> None:
        """Load the application, and tell it on each request that sockets can be parked here."""
        super().load_wsgi()
        application = self.wsgi
        self._streams = application.extensions["belfry.streams"]
        self._relay = application.extensions["belfry.relay"]
        self._turns = application.extensions["belfry.turns"]

        def parking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[PARKS] = True
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

        self.wsgi = parking

    def is_already_handled(self, respiter: Any) -> bool:
        """gunicorn's extension point: leave the keep-alive loop of a connection whose socket is gone."""
        if respiter is PARKED:
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Count the requests that are being answered."""
        self._answering += 1
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._answering -= 1

    def run(self) -> None:
        """Serve until told to stop; then say goodbye to every stream and finish what was begun."""
        self._answering = 0
        self._relay.start()
        servers = [self._serve(listener) for listener in self.sockets]
        self._turns.crowded = partial(_pause, servers)
        self._wait(lambda: not self.alive, None)
        for server in servers:
            server.close()
        self._streams.drain()
        runs = gevent.spawn(self._relay.drain)
        self._wait(lambda: not self._answering and runs.ready(), self.cfg.graceful_timeout)

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(True)
        server = Listener(
            listener, handle=partial(self.handle, listener), spawn=Pool(self.worker_connections), **self._tls()
        )
        if self.cfg.workers > 1:
            server.max_accept = 1  # what one worker takes at a time, the others can't
        server.start()
        return server

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}

    def _wait(self, done: Callable[[], bool], seconds: float | None) -> None:
        """Wait for `done`, telling the arbiter once a second that this worker lives."""
        started = notified = time.monotonic()
        while not done() and (seconds is None or time.monotonic() - started < seconds):
            if time.monotonic() - notified >= NOTIFY_SECONDS:
                self.notify()
                notified = time.monotonic()
            gevent.sleep(POLL_SECONDS)


class Listener(StreamServer):
    """Accepts connections, and refuses those that took a descriptor which the worker needs for itself."""

    def do_handle(self, *accepted: Any) -> None:
        """At once, and not in the connection's greenlet: a hundred may be accepted before the first of those runs."""
        if descriptors.spent(accepted[0].fileno()):
            refuse(accepted[0])
        else:
            super().do_handle(*accepted)


def refuse(client: socket.socket) -> None:
    """Say that there is no room, without waiting for anything: not for the request, and not for the answer to leave."""
    with contextlib.suppress(OSError):
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.recv(REQUEST_BYTES)  # left unread it would turn the close into a reset, which overtakes the answer
        client.send(NO_ROOM)
        client.shutdown(socket.SHUT_WR)
    client.close()


def _pause(servers: Iterable[StreamServer], crowded: bool) -> None:
    """While many wait for their turn, newcomers wait in the kernel's queue, where they cost nothing."""
    for server in servers:
        if server.started:
            server.stop_accepting() if crowded else server.start_accepting()
