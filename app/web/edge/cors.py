"""CORS (Fetch standard, section 3.2): which other origins' pages may call us with credentials.

An allowlist of exact origins; nothing is reflected, and without the setting no header is ever sent.
"""

from __future__ import annotations

import re

from flask import Flask, Request, Response, request

from app.core.settings import Settings

METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = "authorization, cache-control, content-type, idempotency-key, last-event-id"
# Headers that libraries add in pages by themselves: htmx, tracing scripts (W3C Trace Context and Baggage, Sentry, B3,
# Datadog), openai-node. A name counts only where an allowed origin asks for it; none of them means anything here.
_LIBRARY_HEADER = re.compile(
    r"hx-[a-z-]{1,40}|traceparent|tracestate|baggage|sentry-trace|b3|x-b3-[a-z]{1,20}|x-datadog-[a-z-]{1,40}"
    r"|x-stainless-[a-z-]{1,40}|openai-[a-z]{1,20}|x-requested-with"
)
EXPOSED_HEADERS = "ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, www-authenticate"
PREFLIGHT_SECONDS = 600  # Chromium keeps it for two hours at most; shorter, so that a change of the setting arrives


def install(app: Flask, settings: Settings) -> None:
    """Answer preflights, and mark the answers that an allowed origin may read."""
    allowed = frozenset(settings.allowed_origins)
    if not allowed:
        return

    @app.before_request
    def preflight() -> Response | None:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        answer = Response(status=204)
        if request.headers.get("Origin") in allowed:
            answer.headers["Access-Control-Allow-Methods"] = METHODS
            answer.headers["Access-Control-Allow-Headers"] = _allowed_headers(request)
            answer.vary.add("Access-Control-Request-Headers")
            answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return answer

    @app.after_request
    def mark(answer: Response) -> Response:
        answer.vary.add("Origin")  # also without one: a cache must not give this answer to somebody who has one
        origin = request.headers.get("Origin", "")
        if origin in allowed:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Credentials"] = "true"
            answer.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return answer


def _allowed_headers(asked: Request) -> str:
    """`REQUEST_HEADERS`, and those of the headers that a preflight asks for which libraries add."""
    wanted = asked.headers.get("Access-Control-Request-Headers", "").lower().split(",")
    added = dict.fromkeys(name.strip() for name in wanted if _LIBRARY_HEADER.fullmatch(name.strip()))
    return ", ".join([REQUEST_HEADERS, *added])
