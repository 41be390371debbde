"""`GET /stream`: the SSE connection of one user."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from flask import Request, Response, request
from werkzeug.wsgi import ClosingIterator

from ... import metrics
from ...core.addresses import Network
from ...core.dialects.blocks import BlockTranslator
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.log.cursor import Vector
from ...core.settings import Settings
from ...core.wire import frames
from ...live.streams.sinks import GeneratorSink, ParkedSocket, TranslatedSink
from ...live.streams.streams import RETRY_AFTER_SECONDS, Opening, Streams
from ...live.streams.subscriber import ClientInfo
from ...server.sockets import PARKED, Fields, lines_of, parkable, spent_for_streams
from ...store.logs.newcomers import Newcomers
from ..edge.answers import Answers, WsgiAnswer
from ..edge.auth import Authenticator
from ..edge.client_address import client_address
from ..edge.endpoint import Endpoint
from ..edge.limits import RateLimits
from ..edge.problems import problem_response
from ..edge.reading import LeftOut, flag, has_query, names_of, resumed_from, tabs_of, topics_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

AGENT_MAX = 160  # characters of the User-Agent that are kept
CLIENTS_SHARED = 256  # number of clients whose connections share one `ClientInfo`

OK = "200 OK"
EVENT_STREAM = "text/event-stream"
HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class Place(NamedTuple):
    """The logs that a stream reads, the topics that it leaves out, and the position of its client."""

    names: list[str]
    left_out: list[LeftOut]
    cursor: Vector | None


class Start(NamedTuple):
    """A stream that is ready to begin. Its logs have been read, and `first` is what its client gets first.

    `dialect` translates the stream into another format, if there is one.
    """

    opening: Opening
    first: bytes
    claims: Claims
    client: ClientInfo
    dialect: BlockTranslator | None = None


class StreamHandler:
    """Opens streams for requests."""

    def __init__(
        self, streams: Streams, newcomers: Newcomers, limits: RateLimits, answers: Answers, settings: Settings
    ) -> None:
        self.answers = answers
        self._newcomers = newcomers
        self._streams = streams
        self._limits = limits
        self._settings = settings
        self._proxies = settings.proxies

    def admit(self) -> None:
        """Raise `BelfryError` like `Streams.admit`."""
        self._streams.admit()

    def said_in_a_stream(self, error: BelfryError) -> bytes | None:
        """Return a stream that tells its client to come back, or None if `error` needs an ordinary answer.

        An EventSource treats every status except 200 as final (WHATWG HTML, 9.2.3). So a client that arrives on a
        keep-alive connection while this worker stops gets a stream that says when to come back. This refusal is
        counted.
        """
        if error.code != "shutting_down":
            return None
        metrics.refused(error.code)
        return self._streams.come_again()

    def refuse(self, error: BelfryError) -> Response:
        """Return the answer of Flask's views to a request for a stream that can't be opened."""
        said = self.said_in_a_stream(error) if request.method == "GET" else None
        return problem_response(error) if said is None else Response(said, headers=HEADERS)

    def open(self, asked: Request, claims: Claims, place: Place) -> Start:
        """Open the logs of `place`. The client gets the list of topics that are left out.

        Raises `BelfryError` `rate_limited`, and like `require_room`, `tabs_of`, `flag` and `Streams.open`.
        """
        require_room(asked)
        self._limits.connect(claims.user)
        tabs, unnamed = 0, False
        if has_query(asked):
            tabs = tabs_of(asked) if "tabs" in asked.args else 0
            unnamed = flag(asked, "unnamed") or False
        self._newcomers.welcome(claims.user, place.names)
        opening = self._streams.open(claims.user, place.names, place.cursor)
        opening.tabs, opening.unnamed = tabs, unnamed
        state = opening.counts, opening.behind, opening.connection
        ready = frames.ready(opening.vector, self._streams.retry_ms(), claims.user, *state, place.left_out)
        return Start(opening, ready, claims, client_of(asked, self._proxies))

    def can_park(self, environ: WSGIEnvironment) -> bool:
        """Return whether a request's socket can be parked.

        Ask this before a stream is opened, because opening one is expensive and counts.
        """
        return self._streams.parks and parkable(environ) is not None

    def park(self, start: Start, head: bytes, environ: WSGIEnvironment) -> bool:
        """Park the request's socket, and send `head` and the first frames in one write.

        Return False if that is impossible. Raises `BelfryError` `too_many_connections` if the system has no room for
        the socket.
        """
        client, poller = parkable(environ), self._streams.poller
        if client is None or poller is None:
            return False
        try:
            sink = ParkedSocket(client, poller, self._settings.write_timeout_seconds)
        except OSError as error:
            told = f"The system watches no further connection ({error.strerror})."
            raise BelfryError("too_many_connections", told, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from None
        if start.dialect is None:
            self._streams.attach(start.opening, sink, head + start.first, start.claims, start.client)
        else:
            spoken = TranslatedSink(sink, start.dialect, head)
            self._streams.attach(start.opening, spoken, start.first, start.claims, start.client)
        return True

    def queue(self, start: Start) -> GeneratorSink:
        """Attach the stream to an iterator, for a server that can't park sockets."""
        sink = GeneratorSink(self._settings.outbox_bytes)
        spoken = sink if start.dialect is None else TranslatedSink(sink, start.dialect)
        self._streams.attach(start.opening, spoken, start.first, start.claims, start.client)
        return sink


def endpoint(auth: Authenticator, stream_handler: StreamHandler) -> Endpoint:
    """Return `/stream` as a plain WSGI application."""

    def open_stream(asked: Request) -> WSGIApplication:
        fields = [*HEADERS.items(), *stream_handler.answers.fields(asked.environ, EVENT_STREAM)]
        claims = auth.require(asked, "feed", counted=False)
        try:
            start = stream_handler.open(asked, claims, place_of(asked, claims))
        except BelfryError as error:
            said = stream_handler.said_in_a_stream(error)
            if said is None:
                raise
            return WsgiAnswer(200, [*fields, ("Content-Length", str(len(said)))], said)
        # A revocation during the store's answer ended only streams that were attached, so check again.
        auth.check(claims)
        return StreamApplication(stream_handler, start, fields)

    def look(asked: Request) -> WSGIApplication:
        """Answer HEAD like GET, but without a stream."""
        place_of(asked, auth.require(asked, "feed", counted=False))
        stream_handler.admit()
        return WsgiAnswer(200, [*HEADERS.items(), *stream_handler.answers.fields(asked.environ, EVENT_STREAM)])

    return Endpoint("/stream", stream_handler.answers, {"GET": open_stream, "HEAD": look})


def require_room(asked: Request) -> None:
    """Refuse a stream or long poll if only the last file descriptors are left, which are reserved for requests."""
    client = asked.environ.get("gunicorn.socket")
    if client is not None and spent_for_streams(client.fileno()):
        raise BelfryError(
            "too_many_connections",
            "This worker has no descriptor left for a stream.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


def place_of(asked: Request, claims: Claims) -> Place:
    """Return the logs of a request and its start position. Raises `BelfryError` like `topics_of` and `resumed_from`."""
    topics, left_out = topics_of(claims, asked)
    return Place(names_of(claims.user, topics), left_out, resumed_from(asked))


def client_of(asked: Request, proxies: Sequence[Network]) -> ClientInfo:
    """Return the address and the user agent of a connection."""
    return _client(client_address(asked, proxies), asked.headers.get("User-Agent", "")[:AGENT_MAX])


@lru_cache(maxsize=CLIENTS_SHARED)
def _client(address: str, agent: str) -> ClientInfo:
    # Thousands of connections share an address or a user agent, so each text is kept once.
    return ClientInfo(sys.intern(address), sys.intern(agent))


class StreamApplication:
    """An answer that does not end by itself, as a WSGI application. `fields` are the header fields of its head.

    Its subscriber writes to the parked socket. If the socket can't be parked, it writes to the iterator that the server
    drains.
    """

    def __init__(self, stream_handler: StreamHandler, start: Start, fields: Fields) -> None:
        self._stream_handler = stream_handler
        self._start = start
        self._fields = fields

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the head and the first frames in one write, and release the socket. Otherwise return an iterator."""
        try:
            if self._stream_handler.park(self._start, head_of(self._fields), environ):
                return PARKED
        except BelfryError as error:
            return self._stream_handler.answers.problem(error, environ)(environ, start_response)
        sink = self._stream_handler.queue(self._start)
        start_response(OK, self._fields)
        # This also runs if the server never begins to iterate.
        return ClosingIterator(sink, lambda: sink.subscriber.close("gone"))


class StreamResponse(Response):
    """A stream like `StreamApplication`, for a view of Flask, which adds its own header fields."""

    def __init__(self, stream_handler: StreamHandler, start: Start, headers: Mapping[str, str] = HEADERS) -> None:
        super().__init__(headers=headers)
        self._stream_handler = stream_handler
        self._start = start

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer like `StreamApplication`."""
        fields = [field for field in self.get_wsgi_headers(environ).items() if field[0] != "Content-Length"]
        return StreamApplication(self._stream_handler, self._start, fields)(environ, start_response)


def head_of(fields: Fields) -> bytes:
    """Return the head of an answer whose body ends with the connection (RFC 9112, 6.3), also for HTTP/1.0."""
    return f"HTTP/1.1 {OK}\r\n{lines_of(fields)}Connection: close\r\n\r\n".encode("latin-1")
