"""The short way for the two busiest requests: a message published, and a stream opened, with a bearer token.

They are answered by the same code as in Flask's views, only without Flask around it: routing, contexts and a response
object cost more than all that Belfry does for a message. Whatever is unusual goes on to Flask untouched, and so does
every failure, which Flask then tells as if its own view had met it. Shorter still is the way of the next message over
the same connection (`Regular`): where all but the body is the same, what was found out for the first one holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from flask import Flask, Request, Response, request

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.server.parking import FAILURE, PARKED, REPEAT, Answered, Fields, write
from app.web.api.publish import Answer, Desk
from app.web.api.stream import HEADERS, Entrance, Start, head_of, place_of
from app.web.edge.auth import Authenticator
from app.web.edge.limits import headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

JSON: Final = "application/json"
BEARER: Final = "bearer "

_STATUS = {status: Response(status=status).status for status in (200, 201)}


Send = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


class Express:
    """WSGI middleware around `app`."""

    def __init__(self, app: Flask, auth: Authenticator, desk: Desk, entrance: Entrance) -> None:
        self._app = app
        self._application = app.wsgi_app
        self._auth = auth
        self._desk = desk
        self._entrance = entrance
        self._fields: dict[str, Fields] = {}  # by scheme, as the heads
        self._heads: dict[str, bytes] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, in the short way if it is one of those."""
        way = self._way(environ)
        if way is not None:
            try:
                send = way(Request(environ, populate_request=False))  # which would tie both together in a cycle
            except Exception as failure:  # noqa: BLE001 - not lost: Flask raises it again
                environ[FAILURE] = failure
            else:
                return send(environ, start_response)
        return self._application(environ, start_response)

    def _way(self, environ: WSGIEnvironment) -> Callable[[Request], Send] | None:
        """The short way for a request, None where it has none: a cookie, a page of another origin, another route."""
        if FAILURE in environ:  # it went this way already, or was refused before
            return None
        if environ.get("HTTP_AUTHORIZATION", "")[: len(BEARER)].lower() != BEARER or "HTTP_ORIGIN" in environ:
            return None
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if asked == ("POST", "/publish") and environ.get("CONTENT_TYPE", "").startswith(JSON):
            return self._publish
        if asked == ("GET", "/stream") and self._entrance.can_park(environ):
            return self._connect
        return None

    def _publish(self, asked: Request) -> Send:
        claims = self._auth.require(asked, "publish", counted=False)
        return partial(self._answer, self._desk.one(asked, claims), claims)

    def _answer(
        self, answer: Answer, claims: Claims, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        scheme = environ["wsgi.url_scheme"]
        further = self._fields.get(scheme)
        if further is None:
            further = self._fields[scheme] = self._fields_of_flask(scheme)
        if "HTTP_IDEMPOTENCY_KEY" not in environ:  # the next message has another one, and so another head
            environ[REPEAT] = self._desk.repeat(partial(self._again, claims, further))
        return write(environ, start_response, _STATUS[answer.status], _own_fields(answer) + further, answer.body)

    def _again(self, claims: Claims, further: Fields, text: bytes) -> Answered | None:
        """Publish `text` for who was found to be allowed to; None where that is so no more."""
        try:
            self._auth.check(claims)
        except BelfryError:
            return None
        answer = self._desk.take(text, claims)
        lines = "".join([f"{name}: {value}\r\n" for name, value in _own_fields(answer) + further])
        return _STATUS[answer.status], lines, answer.body

    def _connect(self, asked: Request) -> Send:
        claims = self._auth.require(asked, "feed", counted=False)
        start = self._entrance.open(asked, claims, *place_of(asked, claims))
        self._auth.check(claims)  # as in Flask's view
        return partial(self._park, start)

    def _park(self, start: Start, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scheme = environ["wsgi.url_scheme"]
        head = self._heads.get(scheme)
        if head is None:
            head = self._heads[scheme] = self._head_of_flask(scheme)
        try:
            if self._entrance.park(start, head, environ):
                return PARKED
        except BelfryError as error:
            environ[FAILURE] = error
        return self._application(environ, start_response)

    def _fields_of_flask(self, scheme: str) -> Fields:
        """What Flask's answers to `/publish` carry beside the fields that their view sets."""
        with self._app.test_request_context("/publish", f"{scheme}://localhost", method="POST"):
            answer = self._app.process_response(Response(mimetype=JSON))
        return [
            (name, value) for name, value in answer.headers.items() if name not in ("Content-Type", "Content-Length")
        ]

    def _head_of_flask(self, scheme: str) -> bytes:
        with self._app.test_request_context("/stream", f"{scheme}://localhost"):
            answer = self._app.process_response(Response(headers=HEADERS))
            return head_of(answer.status, answer.get_wsgi_headers(request.environ))


def _own_fields(answer: Answer) -> Fields:
    return [*headers(answer.taken).items(), ("Content-Type", JSON), ("Content-Length", str(len(answer.body)))]
