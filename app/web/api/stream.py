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
from ...server.sockets import PARKED, Fields, parkable, spent_for_streams
from ...store.logs.newcomers import Newcomers
from ..edge.answers import Answers, WsgiAnswer
from ..edge.auth import Authenticator
from ..edge.client_address import client_address
from ..edge.endpoint import Endpoint
from ..edge.limits import RateLimits
from ..edge.problems import problem_response
from ..edge.reading import logs_of, resumed_from, tabs_of, topics_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

AGENT_MAX = 160  # characters of a User-Agent that are kept
CLIENTS_SHARED = 256  # connections from so many places share what is known of the place

OK = "200 OK"
EVENT_STREAM = "text/event-stream"
HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class Start(NamedTuple):
    """A stream that can begin: its logs are read, `first` is the first thing that its client gets.

    `dialect` says all of it in another language, if there is one.
    """

    opening: Opening
    first: bytes
    claims: Claims
    client: ClientInfo
    dialect: BlockTranslator | None = None


class StreamHandler:
    """Opens the streams that requests ask for."""

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
        """Raise `BelfryError` as `Streams.admit` does."""
        self._streams.admit()

    def said_in_a_stream(self, error: BelfryError) -> bytes | None:
        """What a stream says that only tells its client to come again; None where `error` is told as any other.

        An EventSource takes every status but 200 as final (WHATWG HTML, 9.2.3). One that comes while this worker stops,
        over a connection that it kept, is therefore told in a stream when to come back. Such a refusal is counted.
        """
        if error.code != "shutting_down":
            return None
        metrics.refused(error.code)
        return self._streams.come_again()

    def refuse(self, error: BelfryError) -> Response:
        """The answer of Flask's views to a request for a stream that can't be opened."""
        said = self.said_in_a_stream(error) if request.method == "GET" else None
        return problem_response(error) if said is None else Response(said, headers=HEADERS)

    def open(self, asked: Request, claims: Claims, names: Sequence[str], cursor: Vector | None) -> Start:
        """Open the logs `names` from `cursor` on. Its client is told of the topics that are left out.

        Raises `BelfryError` `rate_limited`, and as `require_room`, `tabs_of` and `Streams.open` do.
        """
        require_room(asked)
        self._limits.connect(claims.user)
        tabs = tabs_of(asked) if "tabs" in asked.args else 0
        self._newcomers.welcome(claims.user, names)
        opening = self._streams.open(claims.user, names, cursor)
        opening.tabs = tabs
        place = opening.counts, opening.behind, opening.connection
        _, left_out = topics_of(claims, asked)
        ready = frames.ready(opening.vector, self._streams.retry_ms(), claims.user, *place, left_out)
        return Start(opening, ready, claims, client_of(asked, self._proxies))

    def can_park(self, environ: WSGIEnvironment) -> bool:
        """Whether a request's socket can be taken. To be asked before a stream is opened, which costs and counts."""
        return self._streams.parks and parkable(environ) is not None

    def park(self, start: Start, head: bytes, environ: WSGIEnvironment) -> bool:
        """Take the request's socket and send `head` and the first frames in one write; False where it can't be.

        Raises `BelfryError` `too_many_connections` where the system has no room for it.
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
        """The same for a server that has to iterate."""
        sink = GeneratorSink(self._settings.outbox_bytes)
        spoken = sink if start.dialect is None else TranslatedSink(sink, start.dialect)
        self._streams.attach(start.opening, spoken, start.first, start.claims, start.client)
        return sink


def endpoint(auth: Authenticator, stream_handler: StreamHandler) -> Endpoint:
    """`/stream` as a plain WSGI application."""

    def open_stream(asked: Request) -> WSGIApplication:
        fields = [*HEADERS.items(), *stream_handler.answers.fields(asked.environ, EVENT_STREAM)]
        claims = auth.require(asked, "feed", counted=False)
        try:
            start = stream_handler.open(asked, claims, *place_of(asked, claims))
        except BelfryError as error:
            said = stream_handler.said_in_a_stream(error)
            if said is None:
                raise
            return WsgiAnswer(200, [*fields, ("Content-Length", str(len(said)))], said)
        auth.check(claims)  # what was withdrawn while the store was asked ended only streams that were attached
        return StreamApplication(stream_handler, start, fields)

    def look(asked: Request) -> WSGIApplication:
        """HEAD: the answer that a GET would get, without a stream."""
        place_of(asked, auth.require(asked, "feed", counted=False))
        stream_handler.admit()
        return WsgiAnswer(200, [*HEADERS.items(), *stream_handler.answers.fields(asked.environ, EVENT_STREAM)])

    return Endpoint("/stream", stream_handler.answers, {"GET": open_stream, "HEAD": look})


def require_room(asked: Request) -> None:
    """Refuse what holds its connection where the last descriptors are left, which are for requests.

    Raises `BelfryError` `too_many_connections`.
    """
    client = asked.environ.get("gunicorn.socket")
    if client is not None and spent_for_streams(client.fileno()):
        raise BelfryError(
            "too_many_connections",
            "This worker has no descriptor left for a stream.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


def place_of(asked: Request, claims: Claims) -> tuple[list[str], Vector | None]:
    """The logs that a request reads, and from where. Raises `BelfryError` as `logs_of` and `resumed_from` do."""
    names = logs_of(claims, asked)
    return names, resumed_from(asked)


def client_of(asked: Request, proxies: Sequence[Network]) -> ClientInfo:
    """Where a connection comes from."""
    return _client(client_address(asked, proxies), asked.headers.get("User-Agent", "")[:AGENT_MAX])


@lru_cache(maxsize=CLIENTS_SHARED)
def _client(address: str, agent: str) -> ClientInfo:
    # Thousands share an address or a name, which is kept once.
    return ClientInfo(sys.intern(address), sys.intern(agent))


class StreamApplication:
    """An answer that never ends by itself, as a WSGI application. `fields` are the header fields of its head.

    Its subscriber writes to the parked socket or, where none can be parked, to the iterator that the server drains.
    """

    def __init__(self, stream_handler: StreamHandler, start: Start, fields: Fields) -> None:
        self._stream_handler = stream_handler
        self._start = start
        self._fields = fields

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the head and the first frames in one write, and let go of the socket; otherwise iterate."""
        try:
            if self._stream_handler.park(self._start, head_of(self._fields), environ):
                return PARKED
        except BelfryError as error:
            return self._stream_handler.answers.problem(error, environ)(environ, start_response)
        sink = self._stream_handler.queue(self._start)
        start_response(OK, self._fields)
        return ClosingIterator(sink, lambda: sink.subscriber.close("gone"))  # also when nobody began to iterate


class StreamResponse(Response):
    """The same for a view of Flask, which adds its own header fields."""

    def __init__(self, stream_handler: StreamHandler, start: Start, headers: Mapping[str, str] = HEADERS) -> None:
        super().__init__(headers=headers)
        self._stream_handler = stream_handler
        self._start = start

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As `StreamApplication`."""
        fields = [field for field in self.get_wsgi_headers(environ).items() if field[0] != "Content-Length"]
        return StreamApplication(self._stream_handler, self._start, fields)(environ, start_response)


def head_of(fields: Fields) -> bytes:
    """The head of an answer whose body ends with the connection (RFC 9112, 6.3), also for HTTP/1.0."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return f"HTTP/1.1 {OK}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1")
