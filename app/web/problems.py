"""Every refusal as `application/problem+json` (RFC 9457), whoever raised it: us, werkzeug or a bug."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app import metrics
from app.core.errors import BelfryError

_log = logging.getLogger("belfry.views")

_CODE_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def install(app: Flask) -> None:
    """Answer every exception of `app`'s views, and of its routing, with a problem."""
    app.register_error_handler(BelfryError, problem_response)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _bug)


def problem_response(error: BelfryError) -> Response:
    """The answer that tells a client about `error`, which is counted."""
    metrics.refused(error.code)
    return Response(json.dumps(error.problem()), error.status, error.headers, content_type="application/problem+json")


def _http_exception(error: HTTPException) -> Response:
    """Werkzeug's own refusals: a wrong path or method, a body over the limit. Flask lets its redirects pass us by."""
    status = error.code or 500
    code = _CODE_BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
    kept = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return problem_response(BelfryError(code, error.description or "", headers=kept))


def _bug(error: Exception) -> Response:
    _log.error("A view failed", exc_info=error)
    return problem_response(BelfryError("internal_error"))
