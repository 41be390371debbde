"""`GET /stream`: the SSE connection of one user."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Request, Response, request

from app.core import frames
from app.core.settings import Settings
from app.core.tokens import Claims
from app.realtime.parking import PARKED, parkable
from app.realtime.presence import Client
from app.realtime.sinks import GeneratorSink, ParkedSocket
from app.realtime.streams import Opening, Streams
from app.web.auth import Authenticator
from app.web.client_address import Network, client_address
from app.web.limits import Limits
from app.web.reading import cursor_of, logs_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

AGENT_MAX = 160  # characters of a User-Agent that are kept

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def blueprint(auth: Authenticator, streams: Streams, limits: Limits, settings: Settings) -> Blueprint:
    views = Blueprint("stream", __name__)
    proxies = settings.proxies

    @views.get("/stream")
    def stream() -> Response:
        claims = auth.require(request, "feed")
        names = logs_of(claims, request)
        cursor = cursor_of(request.headers.get("Last-Event-ID") or request.args.get("last_event_id"))
        if request.method == "HEAD":
            streams.admit()  # an EventSource doesn't tell why it failed: a client asks so
            return Response(headers=HEADERS)
        limits.connect(claims.user)
        opening = streams.open(claims.user, names, cursor)
        ready = frames.ready(opening.vector, streams.retry_ms(), claims.user, opening.counts, opening.behind)
        return StreamResponse(streams, opening, ready, claims, client_of(request, proxies), settings)

    return views


def client_of(asked: Request, proxies: Sequence[Network]) -> Client:
    """Where a connection comes from. Thousands of clients share a few names, each of which is kept once."""
    agent = sys.intern(asked.headers.get("User-Agent", "")[:AGENT_MAX])
    return Client(client_address(asked, proxies), agent)


class StreamResponse(Response):
    """An answer that never ends by itself. Its subscriber writes to the parked socket, or to this very iterator."""

    def __init__(
        self,
        streams: Streams,
        opening: Opening,
        first: bytes,
        claims: Claims,
        client: Client,
        settings: Settings,
    ) -> None:
        super().__init__(headers=HEADERS)
        self._streams = streams
        self._opening = opening
        self._first = first
        self._claims = claims
        self._client = client
        self._settings = settings

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the head and the first frames in one write, and let go of the socket; else iterate."""
        client = parkable(environ)
        if client is None or self._streams.poller is None:
            return self._iterate(environ, start_response)
        sink = ParkedSocket(client, self._streams.poller, self._settings.write_timeout_seconds)
        self._streams.attach(self._opening, sink, self._head(environ) + self._first, self._claims, self._client)
        return PARKED

    def _iterate(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sink = GeneratorSink(self._settings.outbox_bytes)
        self._streams.attach(self._opening, sink, self._first, self._claims, self._client)
        self.response = sink
        self.call_on_close(lambda: sink.subscriber.close("gone"))  # also when nobody began to iterate
        return super().__call__(environ, start_response)

    def _head(self, environ: WSGIEnvironment) -> bytes:
        # No length and no chunks: the body ends with the connection (RFC 9112, 6.3), also for HTTP/1.0.
        headers: Any = self.get_wsgi_headers(environ)
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items() if name != "Content-Length"])
        return f"HTTP/1.1 {self.status}\r\n{fields}Connection: close\r\n\r\n".encode("latin-1")
