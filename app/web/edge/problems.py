"""Every refusal as `application/problem+json` (RFC 9457), whether Belfry, werkzeug or a bug caused it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, render_template, request
from werkzeug.exceptions import HTTPException

from ... import metrics
from ...core.errors import BelfryError
from . import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("belfry.views")

LAST = frozenset({"body_late", "body_broken"})

_CODE_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def install(app: Flask) -> None:
    """Answer every exception of `app`'s views and of its routing with a problem."""
    app.register_error_handler(BelfryError, problem_response)
    app.register_error_handler(HTTPException, problem_response)
    app.register_error_handler(Exception, problem_response)


def refusal_for(error: Exception, environ: WSGIEnvironment) -> BelfryError:
    """What to tell a client about `error`, which is counted. A bug is logged, with the ids of the request."""
    told = _translated(error, environ)
    metrics.refused(told.code)
    return told


def problem_response(error: Exception) -> Response:
    """The answer that tells a client about `error`, which is counted. Flask lets its redirects pass us by."""
    told = _translated(error, request.environ)
    if wants_page(request):
        return refusal(told, render_template("pages/problem.html", problem=told), "text/html; charset=utf-8")
    return refusal(told, json.dumps(told.problem()), "application/problem+json")


def wants_page(asked: Request) -> bool:
    """Whether a person at a browser asks: it prefers HTML, where programs take JSON or anything."""
    if asked.method not in ("GET", "HEAD", "POST"):
        return False
    accepted = asked.accept_mimetypes
    return accepted["text/html"] > max(accepted["application/json"], accepted["application/problem+json"])


def refusal(error: BelfryError, text: str, content_type: str) -> Response:
    """An answer to `error`, which is counted, in whatever form its client understands."""
    metrics.refused(error.code)
    kind = LastResponse if error.code in LAST else Response
    return kind(text, error.status, error.headers, content_type=content_type)


class LastResponse(Response):
    """After it no request can follow on the connection: nobody knows where it would begin (RFC 9110, 15.5.9)."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As any response; gunicorn is told to say `Connection: close`."""
        close_after(start_response)
        return super().__call__(environ, start_response)


def close_after(start_response: StartResponse) -> None:
    """Have gunicorn say `Connection: close` with the answer that begins now: that header is gunicorn's own."""
    server: Any = getattr(start_response, "__self__", None)
    if hasattr(server, "force_close"):
        server.force_close()


def _translated(error: Exception, environ: WSGIEnvironment) -> BelfryError:
    if isinstance(error, BelfryError):
        return error
    if isinstance(error, HTTPException):  # werkzeug's own refusals: a wrong path or method, a body over the limit
        status = error.code or 500
        code = _CODE_BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
        kept = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
        return BelfryError(code, error.description or "", headers=kept)
    _log.error("A view failed%s", request_ids.told(environ), exc_info=error)
    return BelfryError("internal_error")
