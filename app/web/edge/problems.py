"""Every refusal as `application/problem+json` (RFC 9457), whoever raised it: us, werkzeug or a bug."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app import metrics
from app.core.errors import BelfryError
from app.server.parking import FAILURE

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
    """Answer every exception of `app`'s views, of its routing, and of what lies before it, with a problem."""
    app.before_request(_raise_failure)
    app.register_error_handler(BelfryError, problem_response)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _bug)


def _raise_failure() -> None:
    """Flask's own handling of errors begins here with what was met before Flask."""
    failure = request.environ.pop(FAILURE, None)
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # which its own traceback would hold, and with it all that the request had opened


def problem_response(error: BelfryError) -> Response:
    """The answer that tells a client about `error`, which is counted."""
    return refusal(error, json.dumps(error.problem()), "application/problem+json")


def refusal(error: BelfryError, text: str, content_type: str) -> Response:
    """An answer to `error`, which is counted, in whatever form its client understands."""
    metrics.refused(error.code)
    kind = LastResponse if error.code in LAST else Response
    return kind(text, error.status, error.headers, content_type=content_type)


class LastResponse(Response):
    """After it no request can follow on the connection: nobody knows where it would begin (RFC 9110, 15.5.9)."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As any response; gunicorn, whose own this header is, is told to say `Connection: close`."""
        server: Any = getattr(start_response, "__self__", None)
        if hasattr(server, "force_close"):
            server.force_close()
        return super().__call__(environ, start_response)


def _http_exception(error: HTTPException) -> Response:
    """Werkzeug's own refusals: a wrong path or method, a body over the limit. Flask lets its redirects pass us by."""
    status = error.code or 500
    code = _CODE_BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
    kept = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return problem_response(BelfryError(code, error.description or "", headers=kept))


def _bug(error: Exception) -> Response:
    _log.error("A view failed", exc_info=error)
    return problem_response(BelfryError("internal_error"))
