"""What every answer carries, from Flask and from plain WSGI endpoints: security headers, CORS, errors as problems.

`finish` adds the headers to a response object of Flask. `fields` gives the same headers as a list, for answers whose
head is written without a response object. Both come from the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import Flask, Request, Response, request
from werkzeug.http import HTTP_STATUS_CODES

from ... import metrics
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...server.sockets import Answered, Fields, write
from . import headers, problems
from .cors import Cors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PROBLEM: Final = "application/problem+json"
BODY_FIELDS: Final = frozenset({"Content-Type", "Content-Length"})  # which an answer without content lacks


@dataclass(frozen=True, slots=True)
class WsgiAnswer:
    """A whole answer without a response object. As a WSGI application, it is written as such.

    After an answer that is the `last`, no request can follow on the connection: nobody knows where it would begin
    (RFC 9110, 15.5.9).
    """

    status: int
    fields: Fields
    body: bytes = b""
    last: bool = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Write head and body at once; of an answer to HEAD, the head."""
        if self.last:
            problems.close_after(start_response)
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else self.body
        return write(environ, start_response, status_line(self.status), self.fields, body)

    def as_answered(self) -> Answered:
        """The same as the gunicorn worker takes it."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.fields])
        return Answered(status_line(self.status), lines, self.body, self.last)


class Answers:
    """The answers of a deployment with these settings."""

    def __init__(self, settings: Settings) -> None:
        self._cors = Cors(settings.allowed_origins)

    def install(self, app: Flask) -> None:
        """Have all that `app` answers carry this."""
        app.before_request(lambda: self._cors.preflight(request.environ))
        app.after_request(lambda answer: self.finish(request, answer))
        app.after_request(_counted)
        problems.install(app)

    def finish(self, asked: Request, answer: Response) -> Response:
        """Add to `answer` what it does not have yet."""
        headers.harden(answer, asked.environ)
        self._cors.mark(answer, asked.environ)
        return answer

    def fields(self, environ: WSGIEnvironment, mimetype: str | None) -> Fields:
        """The same for an answer of `mimetype`, which is no page."""
        return headers.fields(environ, mimetype) + self._cors.fields(environ)

    def preflight(self, environ: WSGIEnvironment) -> WsgiAnswer | None:
        """The answer to a CORS preflight request; None for any other request."""
        answer = self._cors.preflight(environ)
        if answer is None:
            return None
        self._cors.mark(answer, environ)
        own = [(name, value) for name, value in answer.headers.items() if name not in BODY_FIELDS]
        return WsgiAnswer(answer.status_code, own + headers.fields(environ, None))

    def problem(self, error: Exception, environ: WSGIEnvironment) -> WsgiAnswer:
        """The answer that tells a client about `error`, which is counted and, if it is a bug, logged."""
        refusal = problems.refusal_for(error, environ)
        body = json.dumps(refusal.problem()).encode()
        own = [("Content-Type", PROBLEM), ("Content-Length", str(len(body))), *refusal.headers.items()]
        return WsgiAnswer(refusal.status, own + self.fields(environ, PROBLEM), body, refusal.code in problems.LAST)

    def refusing(self, error: BelfryError) -> WSGIApplication:
        """A WSGI application that answers every request with `error`."""

        def refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return self.problem(error, environ)(environ, start_response)

        return refuse


def _counted(answer: Response) -> Response:
    """Count an answer of Flask. The route is the rule, so a path that a client made up is `other`."""
    metrics.ANSWERED[request.url_rule.rule if request.url_rule else "other", str(answer.status_code)] += 1
    return answer


def status_line(status: int) -> str:
    """The status as WSGI writes it, such as `201 CREATED`."""
    return f"{status} {HTTP_STATUS_CODES[status].upper()}"
