"""Endpoints: the two busiest paths, `/publish` and `/stream`, are plain WSGI applications that bypass Flask.

Routing, contexts and a response object cost more than all work that Belfry does for a message. An endpoint is the only
implementation of its path. It handles every method, credential and origin, and its errors have the headers of all
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Request
from werkzeug.exceptions import MethodNotAllowed

from ... import metrics
from .answers import Answers, WsgiAnswer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Handler = Callable[[Request], "WSGIApplication"]


class Endpoint:
    """A path. `handlers` answer its methods. Their exceptions become problems.

    An answer may have a `status`. An answer without one is a stream, which has begun with 200.
    """

    def __init__(self, path: str, answers: Answers, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._answers = answers
        self._handlers = handlers
        self.methods = sorted({*handlers, "OPTIONS"})

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except Exception as error:  # noqa: BLE001 - not lost: it is answered, counted, and logged if it is a bug
            answer = self._answers.problem(error, environ)
        metrics.ANSWERED[self._path, str(getattr(answer, "status", "200"))[:3]] += 1
        return answer(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> WSGIApplication:
        handler = self._handlers.get(environ["REQUEST_METHOD"])
        if handler is not None:
            # Populating would put both objects into a reference cycle.
            return handler(Request(environ, populate_request=False))
        if environ["REQUEST_METHOD"] != "OPTIONS":
            raise MethodNotAllowed(self.methods)
        allow = ("Allow", ", ".join(self.methods))
        return self._answers.preflight(environ) or WsgiAnswer(
            200, [allow, ("Content-Length", "0"), *self._answers.fields(environ, None)]
        )


class Endpoints:
    """WSGI middleware that sends requests for the paths of `endpoints` to these, and all others to `application`."""

    def __init__(self, application: WSGIApplication, endpoints: Mapping[str, Endpoint]) -> None:
        self._application = application
        self.paths = endpoints

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        # A client may join a base URL that ends with a slash and a path that begins with one.
        if path.startswith("//"):
            path = f"/{path.lstrip('/')}"
        return self.paths.get(path, self._application)(environ, start_response)
