"""Answers every refusal as `application/problem+json` (RFC 9457), whether Belfry, werkzeug or a bug caused it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flask import Flask, Request, Response, current_app, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ... import metrics
from ...core.errors import BelfryError
from . import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("belfry.views")

PATH_SHOWN = 80  # characters of a path that a refusal repeats
LAST = frozenset({"body_late", "body_broken"})
IN_QUERY: Final = "%!$&'()*+,;=:@/?-._~"  # stay as they are (RFC 3986, 3.4)
READINESS = "/health/ready"  # while a server starts or stops, each of its health checks is refused

_CODE_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def install(app: Flask) -> None:
    """Turn every exception of `app`'s views and of its routing into a problem."""
    app.register_error_handler(BelfryError, problem_response)
    app.register_error_handler(HTTPException, problem_response)
    app.register_error_handler(Exception, problem_response)


def refusal_for(error: Exception, environ: WSGIEnvironment) -> BelfryError:
    """Return the error to report to a client, and count it. A bug is logged with the ids of the request."""
    told = translated(error, environ)
    metrics.refused(told.code)
    return told


def problem_response(error: Exception) -> Response:
    """Return the answer that reports `error` to a client, and count it. Flask does not call this for its redirects."""
    told = translated(error, request.environ)
    of_check = request.path == READINESS
    if wants_page(request):
        if isinstance(error, NotFound) and (address := without_slash(request)):
            return Response(status=308, headers={"Location": address})
        page = render_template("pages/problem.html", problem=told)
        return refusal(told, page, "text/html; charset=utf-8", of_check=of_check)
    return refusal(told, json.dumps(told.problem()), "application/problem+json", of_check=of_check)


def without_slash(asked: Request) -> str:
    """Return the address without the slashes at its end if a page is there, and otherwise "".

    People type such a slash. No slash may stand at the beginning either: "//name" is the address of another host.
    """
    path = f"/{asked.path.strip('/')}"
    routes = current_app.create_url_adapter(asked)
    if asked.method == "POST" or path == asked.path or routes is None or not routes.test(path, "GET"):
        return ""
    query = quote(asked.query_string, safe=IN_QUERY)
    return f"{asked.root_path}{quote(path)}{'?' if query else ''}{query}"


def wants_page(asked: Request) -> bool:
    """Return whether the client is a person's browser, which prefers HTML. Programs accept JSON or anything."""
    if asked.method not in ("GET", "HEAD", "POST"):
        return False
    accepted = asked.accept_mimetypes
    return accepted["text/html"] > max(accepted["application/json"], accepted["application/problem+json"])


def refusal(error: BelfryError, text: str, content_type: str, *, of_check: bool = False) -> Response:
    """Return an answer with `text` for `error`, and count the error. `of_check`: see `metrics.refused`."""
    metrics.refused(error.code, of_check=of_check)
    kind = LastResponse if error.code in LAST else Response
    return kind(text, error.status, error.headers, content_type=content_type)


class LastResponse(Response):
    """An answer after which no request can follow on the connection.

    The beginning of the next request can't be found (RFC 9110, 15.5.9).
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer like any response, and make gunicorn send `Connection: close`."""
        close_after(start_response)
        return super().__call__(environ, start_response)


def close_after(start_response: StartResponse) -> None:
    """Make gunicorn send `Connection: close` with the answer that begins now. Only gunicorn can set that header."""
    server: Any = getattr(start_response, "__self__", None)
    if hasattr(server, "force_close"):
        server.force_close()


def translated(error: Exception, environ: WSGIEnvironment) -> BelfryError:
    """Return the error that a client gets for `error`. A bug is logged with the ids of the request."""
    if isinstance(error, BelfryError):
        return error
    # werkzeug's own refusals: a wrong path or method, or a body over the limit.
    if isinstance(error, HTTPException):
        status = error.code or 500
        code = _CODE_BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
        kept = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
        return BelfryError(code, _description(error, environ), headers=kept)
    _log.error("A view failed%s", request_ids.told(environ), exc_info=error)
    return BelfryError("internal_error")


def _description(error: HTTPException, environ: WSGIEnvironment) -> str:
    """Return what came and what was expected. Werkzeug's own texts for a wrong path or method name neither."""
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")[:PATH_SHOWN]
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        expected = ", ".join(sorted(error.valid_methods))
        return f"Expected {expected} for {path!r}, got {environ.get('REQUEST_METHOD', '')}."
    if isinstance(error, NotFound) and error.description == NotFound.description:
        slash = "; paths have no slash at the end" if len(path) > 1 and path.endswith("/") else ""
        return f"There is nothing at {path!r}{slash}. /openapi.json lists the paths."
    return error.description or ""
