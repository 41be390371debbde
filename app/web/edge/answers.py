"""The common parts of all answers, from Flask and from plain WSGI endpoints: security headers, CORS, problems.

`finish` adds the headers to a response object of Flask. `fields` returns the same headers as a list, for answers whose
head is written without a response object. Both come from the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from flask import Flask, Request, Response, request
from werkzeug.http import HTTP_STATUS_CODES

from ... import metrics
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...server.sockets import Answered, Fields, lines_of, write
from . import headers, problems
from .cors import Cors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PROBLEM: Final = "application/problem+json"
# Header fields that an answer without content does not have.
BODY_FIELDS: Final = frozenset({"Content-Type", "Content-Length"})


@dataclass(frozen=True, slots=True)
class WsgiAnswer:
    """A whole answer without a response object. It is also the WSGI application that writes it.

    If `last` is set, no request can follow on the connection, because its beginning can't be found (RFC 9110, 15.5.9).
    """

    status: int
    fields: Fields
    body: bytes = b""
    last: bool = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Write head and body at once. Write only the head for HEAD."""
        if self.last:
            problems.close_after(start_response)
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else self.body
        return write(environ, start_response, status_line(self.status), self.fields, body)

    def as_answered(self) -> Answered:
        """Return the answer in the form that the gunicorn worker takes."""
        return Answered(status_line(self.status), lines_of(self.fields), self.body, self.last)


class Answers:
    """Makes the answers of a deployment with these settings."""

    def __init__(self, settings: Settings) -> None:
        self._cors = Cors(settings.allowed_origins)

    def install(self, app: Flask) -> None:
        """Add headers, counts and problems to all answers of `app`."""
        app.before_request(lambda: self._cors.preflight(request.environ))
        app.after_request(lambda answer: self.finish(request, answer))
        app.after_request(_counted)
        problems.install(app)

    def finish(self, asked: Request, answer: Response) -> Response:
        """Add the missing headers to `answer`."""
        headers.harden(answer, asked.environ)
        self._cors.mark(answer, asked.environ)
        return answer

    def fields(self, environ: WSGIEnvironment, mimetype: str | None) -> Fields:
        """Return the same headers for an answer of `mimetype`, which must not be a page."""
        return headers.fields(environ, mimetype) + self._cors.fields(environ)

    def preflight(self, environ: WSGIEnvironment) -> WsgiAnswer | None:
        """Return the answer to a CORS preflight request, or None for any other request."""
        answer = self._cors.preflight(environ)
        if answer is None:
            return None
        self._cors.mark(answer, environ)
        own = [(name, value) for name, value in answer.headers.items() if name not in BODY_FIELDS]
        return WsgiAnswer(answer.status_code, own + headers.fields(environ, None))

    def problem(self, error: Exception, environ: WSGIEnvironment) -> WsgiAnswer:
        """Return the answer that reports `error` to a client. The error is counted and, if it is a bug, logged."""
        return self.prepared(problems.refusal_for(error, environ), environ)

    def prepared(self, refusal: BelfryError, environ: WSGIEnvironment) -> WsgiAnswer:
        """Return the same answer for later use. It is not counted: nobody has been refused yet."""
        body = json.dumps(refusal.problem()).encode()
        own = [("Content-Type", PROBLEM), ("Content-Length", str(len(body))), *refusal.headers.items()]
        return WsgiAnswer(refusal.status, own + self.fields(environ, PROBLEM), body, refusal.code in problems.LAST)

    def refusing(self, error: BelfryError) -> WSGIApplication:
        """Return a WSGI application that answers every request with `error`."""

        def refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return self.problem(error, environ)(environ, start_response)

        return refuse


def _counted(answer: Response) -> Response:
    """Count an answer of Flask under its route. A path without a route counts as `other`."""
    metrics.ANSWERED[request.url_rule.rule if request.url_rule else "other", str(answer.status_code)] += 1
    return answer


@cache
def status_line(status: int) -> str:
    """Return the status as WSGI writes it, such as `201 CREATED`."""
    return f"{status} {HTTP_STATUS_CODES[status].upper()}"
