"""The connections of a gunicorn worker: every request on them, including repeated and refused ones.

It lets go of parked sockets and closes idle connections. Imported in gunicorn's master, before anything is patched: it
imports nothing of Belfry that touches sockets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response
from gunicorn.workers.ggevent import GeventWorker

from ..core.addresses import plain_peer
from ..live.turns import turn
from .connection import ProblemSocket, end_when_silent, head, send
from .gates.listener import REQUEST_BYTES
from .repeats import RepeatedRequest
from .request import BoundedRequest, FairSocket
from .sockets import PARKED, PARKS, REPEAT, WRITES, WRITTEN, Fields, lines_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SPARE_SECONDS = 2.0  # for the request of a connection that was accepted beyond `worker_connections`
HEALTH = ("/health/live", "/health/ready")

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False


class ConnectionWorker(GeventWorker):
    """gevent's worker, as far as it serves connections."""

    wsgi: Any
    extensions: dict[str, Any]  # of the Flask application
    _request_timeout: float  # seconds for the next request to come, where gunicorn waits for it

    def load_wsgi(self) -> None:
        """Load the application, and tell it on each request that sockets can be parked here."""
        super().load_wsgi()
        application = self.wsgi
        self.extensions = application.extensions
        self._admission = self.extensions["belfry.admission"]
        self._refusals = self.extensions["belfry.refusals"]
        # gunicorn creates its parsers itself, and takes the class of their requests from here.
        RequestParser.mesg_class = BoundedRequest
        BoundedRequest.max_bytes = self.extensions["belfry.max_head_bytes"]

        def parking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[PARKS] = True
            environ[WRITES] = self._write
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

        self.wsgi = parking

    def begin_serving(self) -> None:
        """Prepare for the first connection."""
        self._clients: set[Any] = set()
        self._answering: set[Any] = set()
        self._spare: set[Any] = set()  # connections accepted beyond `worker_connections`
        self._repeated_requests: dict[Any, RepeatedRequest] = {}
        self._idle: dict[Any, float] = {}  # connections between two requests, and since when, the longest first
        self._request_timeout = self.cfg.keepalive
        self._hangs_up = False

    def is_already_handled(self, respiter: Any) -> bool:
        """Leave the keep-alive loop of a connection whose socket was parked. gunicorn calls this for each response."""
        if respiter is WRITTEN:
            return True
        if respiter is PARKED:
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Let gunicorn log an invalid request and choose its status, and answer in the form of all refusals."""
        told: Any = ProblemSocket(client, exc)
        super().handle_error(req, told, addr, exc)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, and keep it in `_clients` while it is open."""
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
        """How long gunicorn waits for the next request. The time spent waiting in `_serve` counts."""
        # Set and used without a switch in between: gunicorn asks for it right after `handle_request`.
        seconds, self._request_timeout = self._request_timeout, self.cfg.keepalive
        return gevent.Timeout(seconds, _QUIETLY)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request. Meanwhile its connection does not count as idle."""
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
            raise StopIteration  # the next health check needs this place
        if req.unreader.buf.tell():
            turn()  # the next request is already here, and other connections must not wait for all that follow
        if self._hangs_up:  # a request that was begun before the stop keeps its connection open
            end_when_silent(sock)
        repeated = self._repeated_requests.get(sock)
        if repeated is not None and repeated.offered is not None:
            repeated.learn(sent, req.headers)
            self._serve(repeated, req, sock)
        return answered

    def _serve(self, repeated: RepeatedRequest, req: Any, sock: Any) -> None:
        """Answer repeated requests on a connection. Anything else is put back for gunicorn's parser."""
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
        """Answer `data` if it repeats the known request, and return b"". Otherwise return what gunicorn must parse."""
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
        """Send a prepared answer. If the client announced a body and waits with it, no request can follow: hang up."""
        origin = next((value for name, value in req.headers if name == "ORIGIN"), "")
        sock.sendall(answer(origin, req.scheme))
        if not self.alive or any(name == "EXPECT" for name, _ in req.headers):
            raise StopIteration
        return True

    def _write(
        self, environ: WSGIEnvironment, start_response: StartResponse, status: str, fields: Fields, body: bytes
    ) -> Iterable[bytes]:
        """Send an answer in one write; gunicorn's response needs two.

        gunicorn's response is used for requests other than HTTP/1.1, for the last answer on a connection, and if
        there is an access log.
        """
        response: Any = getattr(start_response, "__self__", None)
        plain = type(response) is Response and response.req.version == (1, 1)
        if not plain or response.must_close or response.req.should_close() or self.log.access_log_enabled:
            start_response(status, fields)
            return [body]
        client = environ["gunicorn.socket"]
        send(client, head(status, lines_of(fields)) + body)
        if REPEAT in environ and type(client) is gevent.socket.socket:
            self._repeated_requests.setdefault(client, RepeatedRequest()).offered = environ[REPEAT]
        return WRITTEN

    def hang_up(self) -> None:
        """Close connections without a request now, and the others after their answers."""
        self._hangs_up = True
        for client in self._clients - self._answering:
            end_when_silent(client)

    def end_idle(self) -> None:
        """Close connections that sent nothing for as long as gunicorn would wait, without one timer each."""
        latest = time.monotonic() - self.cfg.keepalive
        for client in list(takewhile(lambda idle: self._idle[idle] <= latest, self._idle)):
            end_when_silent(client)


def _plain(addr: Any) -> Any:
    """The peer's address; an IPv4 address in IPv6 form becomes plain IPv4, since gunicorn compares it with proxies'."""
    return (plain_peer(addr[0]), *addr[1:]) if isinstance(addr, tuple) else addr
