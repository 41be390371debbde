"""The gunicorn worker: lets go of parked sockets, accepts no faster than streams can be opened, and leaves at once.

Imported in gunicorn's master, before anything is patched: it imports nothing of Belfry that touches sockets.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from ..core.addresses import plain_peer
from .connection import ProblemSocket, end_when_silent, head, send
from .gates.listener import REQUEST_BYTES, ConnectionListener, ListenerAddress, has_callers, is_shared, pause
from .repeats import RepeatedRequest
from .request import BoundedRequest, FairSocket
from .sockets import PARKED, PARKS, REPEAT, WRITES, WRITTEN, Fields, prepare

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

POLL_SECONDS = 0.05
NOTIFY_SECONDS = 1.0
# A publisher that keeps its connection open gets so long to send one more request, whose answer says
# `Connection: close`. Closing at once would meet requests that are on their way (RFC 9112, 9.6).
LINGER_SECONDS = 1.0
STORE_SECONDS = 3.0  # that a start waits for a silent store; one that is away, or answers, is known at once
LAST_SECONDS = 1.0  # before the arbiter kills whoever waits as long as it does: what was counted is reported then
BOOT_SECONDS = 30.0  # a successor that takes longer may never come
# Beyond `worker_connections`, so many more are accepted, for health checks: each has so long to send its request, and
# anything else is refused.
SPARE_PLACES = 64
SPARE_SECONDS = 2.0
HEALTH = ("/health/live", "/health/ready")
ACCEPTS_PER_TURN = 100  # of a worker that stops: nobody else takes them

# Left alone, the collector stops the worker for 30 ms every few seconds of a thousand messages: it goes through all
# that was ever imported. What was loaded is taken out of its sight; what is young it sees in small portions, and all
# the rest seldom: a stream that ends leaves no cycle behind. A portion is about as large as what the requests that are
# under way in a storm of connects hold: else it goes through all of them again and again, and finds nothing.
COLLECT_AFTER = (10_000, 0, 50)

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False


class BelfryWorker(GeventWorker):
    """gevent's worker with a loop of its own.

    gunicorn's looks once a second whether it should stop, and then waits for connections, idle ones included, where
    this one waits for requests.
    """

    wsgi: Any
    _request_timeout: float  # seconds for the next request to come, where gunicorn waits for it
    booting: Path | None = None  # stands in its folder until this worker serves, see gunicorn.conf.py

    def load_wsgi(self) -> None:
        """Load the application, and tell it on each request that sockets can be parked here."""
        super().load_wsgi()
        application = self.wsgi
        self._hub = application.extensions["belfry.hub"]
        self._streams = application.extensions["belfry.streams"]
        self._relay = application.extensions["belfry.relay"]
        self._models = application.extensions["belfry.models"]
        self._reporter = application.extensions["belfry.reporter"]
        self._deliverer = application.extensions["belfry.deliverer"]
        self._concurrency_limit = application.extensions["belfry.concurrency_limit"]
        self._admission = application.extensions["belfry.admission"]
        self._refusals = application.extensions["belfry.refusals"]
        # gunicorn makes its parsers by itself; this is where they take the class of their requests from.
        RequestParser.mesg_class = BoundedRequest
        BoundedRequest.max_bytes = application.extensions["belfry.max_head_bytes"]

        def parking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[PARKS] = True
            environ[WRITES] = self._write
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

        self.wsgi = parking

    def is_already_handled(self, respiter: Any) -> bool:
        """gunicorn's extension point: leave the keep-alive loop of a connection whose socket is gone."""
        if respiter is WRITTEN:
            return True
        if respiter is PARKED:
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Log and judge what gunicorn can't make a request of as it does, and say it in the form of all refusals."""
        told: Any = ProblemSocket(client, exc)
        super().handle_error(req, told, addr, exc)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, and know it while it is open."""
        if len(self._clients) >= self.worker_connections:
            self._spare.add(client)
            self._request_timeout = SPARE_SECONDS
        self._clients.add(client)
        try:
            super().handle(listener, client, _plain(addr))
        finally:
            self._clients.discard(client)
            self._spare.discard(client)
            self._repeated_requests.pop(client, None)

    def timeout_ctx(self) -> Any:
        """How long the next request may take to come: less, where some of that was spent waiting here."""
        # Set and used without a switch in between: gunicorn asks for it right after `handle_request`.
        seconds, self._request_timeout = self._request_timeout, self.cfg.keepalive
        return gevent.Timeout(seconds, _QUIETLY)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request, and know that its connection is no idle one meanwhile."""
        repeated = self._repeated_requests.get(sock)
        sent = b"" if repeated is None else repeated.next_parsed()
        if req.req_number == 1 and type(req.unreader.sock) is not FairSocket:
            req.unreader.sock = FairSocket(sock)
        if sock in self._spare and not req.path.endswith(HEALTH):
            self._refuse(req, sock, self._refusals.no_place.answer)
            raise StopIteration
        if self._admission.refuses(req.method, req.path):
            return self._refuse(req, sock, self._refusals.overloaded.answer)
        self._answering.add(sock)
        try:
            answered = super().handle_request(listener_name, req, sock, addr)
        finally:
            self._answering.discard(sock)
        if sock in self._spare:
            raise StopIteration  # the place is for the next health check
        if req.unreader.buf.tell():
            gevent.sleep(0)  # the next request has come with this one: without a wait for it others had no turn
        if self._hangs_up:  # a request that was begun before the stop keeps its connection open
            end_when_silent(sock)
        repeated = self._repeated_requests.get(sock)
        if repeated is not None and repeated.offered is not None:
            repeated.learn(sent, req.headers)
            self._serve(repeated, req, sock)
        return answered

    def _serve(self, repeated: RepeatedRequest, req: Any, sock: Any) -> None:
        """Answer what comes again over a connection; leave the rest, whatever it is, to gunicorn, unread."""
        while True:
            since = self._idle[sock] = time.monotonic()
            try:
                data = req.unreader.take_buffered() or sock.recv(REQUEST_BYTES)
            finally:
                del self._idle[sock]
            if not data:
                raise StopIteration  # hung up
            left = self._left_of(data, repeated, sock)
            if left:
                break
        req.unreader.unread(left)
        self._request_timeout = max(0.0, since + self.cfg.keepalive - time.monotonic())

    def _left_of(self, data: bytes, repeated: RepeatedRequest, sock: Any) -> bytes:
        """What gunicorn has to parse of what came in: nothing if that was asked before, and is answered now."""
        if not self.alive or self.nr + 1 >= self.max_requests or not self._admission.is_open:
            return data
        self._answering.add(sock)
        try:
            answered = repeated.answer(data, sock.recv)
            if answered is None:
                return repeated.came
            self.nr += 1
            send(sock, head(answered.status, answered.lines, answered.last) + answered.body)
        finally:
            self._answering.discard(sock)
        if answered.last:
            raise StopIteration
        if self._hangs_up:
            end_when_silent(sock)
        return b""

    def _refuse(self, req: Any, sock: Any, answer: Callable[[str, str], bytes]) -> bool:
        """Answer by what lies ready. After a body that was announced and may never come, no request can follow."""
        origin = next((value for name, value in req.headers if name == "ORIGIN"), "")
        sock.sendall(answer(origin, req.scheme))
        if not self.alive or any(name == "EXPECT" for name, _ in req.headers):
            raise StopIteration
        return True

    def _write(
        self, environ: WSGIEnvironment, start_response: StartResponse, status: str, fields: Fields, body: bytes
    ) -> Iterable[bytes]:
        """Send an answer in one write, as gunicorn's response does in two.

        Left to that one: what isn't HTTP/1.1, ends its connection, or belongs into an access log.
        """
        response: Any = getattr(start_response, "__self__", None)
        plain = type(response) is Response and response.req.version == (1, 1)
        if not plain or response.must_close or response.req.should_close() or self.log.access_log_enabled:
            start_response(status, fields)
            return [body]
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        client = environ["gunicorn.socket"]
        send(client, head(status, lines) + body)
        if REPEAT in environ and type(client) is gevent.socket.socket:
            self._repeated_requests.setdefault(client, RepeatedRequest()).offered = environ[REPEAT]
        return WRITTEN

    def run(self) -> None:
        """Serve until told to stop; then say goodbye to every stream and finish what was begun."""
        self._clients: set[Any] = set()
        self._answering: set[Any] = set()
        self._spare: set[Any] = set()  # those that hold no place but a spare one
        self._repeated_requests: dict[Any, RepeatedRequest] = {}
        self._idle: dict[Any, float] = {}  # connections between two requests, and since when, the longest first
        self._request_timeout = self.cfg.keepalive
        self._hangs_up = False
        tune_garbage_collector()
        freeze_settings(self.cfg)
        self._hub.start()  # so that a worker without a stream also notices where the store has gone
        self._relay.start()
        self._models.start()
        self._reporter.start()
        self._deliverer.start()
        self._refuse_store()
        servers = [self._listen(listener) for listener in self.sockets]
        self._concurrency_limit.crowded = partial(pause, servers)
        if self.booting is not None:
            self.booting.unlink(missing_ok=True)
        self._wait_for_stop()
        self._announce_stop()
        # On a reload, callers would wait for as long as the successors take to load.
        self._wait(
            lambda: not (self._has_successor and any(is_shared(server.socket) for server in servers)), BOOT_SECONDS
        )
        self._drain_and_close(servers)

    def _refuse_store(self) -> None:
        """End the whole server where its first workers find a store that can never be used; the canary has said why.

        The first one ends it, and the others wait for the signal: gunicorn's arbiter fails while it stops, with a
        traceback, where a second worker exits with this code.
        """
        if self.age > self.cfg.workers or not self._hub.canaries.unusable(STORE_SECONDS):
            return
        if self.age == 1:
            sys.exit(Arbiter.APP_LOAD_ERROR)
        self._wait(lambda: not self.alive, 2 * STORE_SECONDS)
        if not self.alive:
            sys.exit()

    def _announce_stop(self) -> None:
        """Serve on for a while, so that balancers see 503 at `/health/ready` before connections are refused.

        Not on a reload, where other workers go on to accept from the same listeners.
        """
        if not any(is_shared(listener) for listener in self.sockets):
            self._streams.leaving = True
            self._wait(lambda: False, self._streams.lame_duck_seconds)

    @property
    def _has_successor(self) -> bool:
        """Whether a successor is on its way."""
        return self.booting is not None and any(self.booting.parent.glob("booting-*"))

    def _drain_and_close(self, servers: Sequence[StreamServer]) -> None:
        """Answer all who are here, and all who wait at the door unless another worker will let them in."""
        started = time.monotonic()
        own = [server for server in servers if not is_shared(server.socket)]
        for server in servers:
            if server in own:
                server.max_accept = ACCEPTS_PER_TURN
            else:
                server.close()
        parts = (self._streams.drain, self._relay.drain, self._deliverer.stop)
        drains = [gevent.spawn(drain) for drain in parts]
        pools = [server.pool for server in servers]  # also of those who were let in a moment ago
        self._wait(lambda: not any(pools) and not any(map(has_callers, own)), LINGER_SECONDS)
        for server in own:
            server.close()
        self._hangs_up = True
        for client in self._clients - self._answering:
            end_when_silent(client)
        until = started + self.cfg.graceful_timeout - self._streams.lame_duck_seconds - LAST_SECONDS
        self._wait(lambda: not any(pools) and all(drain.ready() for drain in drains), until - time.monotonic())
        gevent.joinall([gevent.spawn(self._reporter.stop), gevent.spawn(self._hub.canaries.leave)])

    def _listen(self, listener: Any) -> StreamServer:
        listener.setblocking(True)
        prepare(listener)
        server = ConnectionListener(
            listener,
            handle=partial(self.handle, ListenerAddress(listener)),
            spawn=Pool(self.worker_connections + SPARE_PLACES),
            **self._tls(),
        )
        server.no_room = self._refusals.no_room.answer
        server.handshake_seconds = self.cfg.keepalive
        if self.cfg.workers > 1:
            server.max_accept = 1  # what one worker takes at a time, the others can't
        server.start()
        return server

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}

    def _wait_for_stop(self) -> None:
        """Return when told to stop, at once, without looking for it: idle workers sleep.

        Python writes into gunicorn's pipe when a signal comes, which wakes the loop, and so runs the handler.
        """
        signalled = Event()
        watcher = gevent.get_hub().loop.io(self.PIPE[0], 1)  # libev's EV_READ
        watcher.start(partial(_drain, self.PIPE[0], signalled))
        while self.alive:
            self._tell_alive()
            signalled.wait(NOTIFY_SECONDS)
            signalled.clear()
        watcher.stop()
        watcher.close()

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for `done`, telling the arbiter once a second that this worker lives."""
        started = notified = time.monotonic()
        while not done() and time.monotonic() - started < seconds:
            if time.monotonic() - notified >= NOTIFY_SECONDS:
                self._tell_alive()
                notified = time.monotonic()
            gevent.sleep(POLL_SECONDS)

    def _tell_alive(self) -> None:
        self.notify()
        self._end_idle()

    def _end_idle(self) -> None:
        """Close connections that sent nothing for as long as gunicorn would have waited, without a timer for each."""
        latest = time.monotonic() - self.cfg.keepalive
        for client in list(takewhile(lambda idle: self._idle[idle] <= latest, self._idle)):
            end_when_silent(client)


def tune_garbage_collector() -> None:
    """Keep garbage collection from stopping the worker: what lives now lives on, and is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def freeze_settings(cfg: Config) -> None:
    """Have gunicorn's settings, which change no more, found at once: it asks twenty of them about every request.

    Each was looked up by a method that Python calls only after it has found no attribute of the name.
    """
    vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})


def _plain(addr: Any) -> Any:
    """The peer's address without the IPv6 form of an IPv4 one: gunicorn compares it with those of proxies."""
    return (plain_peer(addr[0]), *addr[1:]) if isinstance(addr, tuple) else addr


def _drain(pipe: int, signalled: Event) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(pipe, REQUEST_BYTES)
    signalled.set()
