"""CORS (Fetch standard, section 3.2): which other origins' pages may call Belfry with credentials.

There is an allowlist of exact origins. Origins are never reflected. Without the setting, no CORS header is ever sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Response

from ...server.sockets import Fields

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = "authorization, cache-control, content-type, idempotency-key, last-event-id"
# Headers that libraries add to requests of pages by themselves: htmx and its relatives, tracing and monitoring (W3C
# Trace Context and Baggage, Sentry, B3, Datadog, New Relic, Elastic, Jaeger, OpenTracing, Application Insights, AWS
# X-Ray, Google, Dynatrace, AppDynamics, Instana, SkyWalking, Honeycomb, Grafana Faro, session recorders), guards
# against forged requests, openai-node and Azure's and OpenRouter's examples. Such a header is allowed only for an
# allowed origin. Belfry gives none of them a meaning, except `api-key`. Names with a meaning for proxies
# (`x-forwarded-for`, `x-real-ip`, `x-remote-user`) match no pattern.
_LIBRARY_HEADER = re.compile(
    r"hx-[a-z-]{1,40}|traceparent|tracestate|baggage|sentry-trace|b3|x-b3-[a-z]{1,20}|x-datadog-[a-z-]{1,40}"
    r"|newrelic|x-newrelic-[a-z]{1,20}|elastic-apm-traceparent|uber-trace-id|uberctx-[a-z-]{1,40}|request-id"
    r"|request-context|x-amzn-trace-id|x-cloud-trace-context|x-dynatrace|x-dtpc|x-dtreferer|x-instana-[a-z]{1,20}|sw8"
    r"|sw8-[a-z-]{1,20}|x-honeycomb-trace|x-faro-session-id|x-request-id|x-correlation-id|x-trace-id|x-csrf-token"
    r"|x-xsrf-token|x-stainless-[a-z-]{1,40}|openai-[a-z]{1,20}|x-requested-with|api-key|http-referer|x-title"
    r"|adrum[_a-z0-9]{0,10}"
    r"|(?:[a-z0-9]{1,20}-){0,4}[a-z0-9]{0,20}(?:trace|tracing|tracer|span|baggage|sampled|correlation|telemetry)"
    r"[a-z0-9]{0,20}(?:-[a-z0-9]{1,20}){0,4}|(?:[a-z0-9]{1,20}-){1,4}(?:request|session|transaction)-?(?:id|token|url)"
    r"|x-(?:ms|ot|amz|amzn|goog|rum|posthog|highlight|sentry|rollbar|bugsnag|openreplay|logrocket|splunk|signalfx"
    r"|vercel|datadome|inertia|up|alpine)-[a-z-]{1,40}|turbo-[a-z]{1,20}|datastar-[a-z]{1,20}|x-inertia|x-pjax"
)
EXPOSED_HEADERS = (
    "ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, retry-after-ms, x-should-retry, "
    "www-authenticate, x-request-id"
)
# Chromium keeps the answer for at most two hours. This is shorter, so that a change of the setting takes effect.
PREFLIGHT_SECONDS = 600


class Cors:
    """The rights of pages of `origins`. Without origins, no CORS header is sent."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, environ: WSGIEnvironment) -> Response | None:
        """Return the answer to a preflight request, or None for any other request.

        The caller must still call `mark`.
        """
        wanted = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        if not (self._origins and wanted and environ["REQUEST_METHOD"] == "OPTIONS"):
            return None
        answer = Response(status=204)
        if environ.get("HTTP_ORIGIN") in self._origins:
            answer.headers["Access-Control-Allow-Methods"] = METHODS
            answer.headers["Access-Control-Allow-Headers"] = _allowed_headers(environ)
            answer.vary.add("Access-Control-Request-Headers")
            answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return answer

    def mark(self, answer: Response, environ: WSGIEnvironment) -> None:
        """Add the header fields that let a page of an allowed origin read the answer."""
        for name, value in self.fields(environ):
            if name == "Vary":
                answer.vary.add(value)
            else:
                answer.headers[name] = value

    def fields(self, environ: WSGIEnvironment) -> Fields:
        """Return the CORS header fields of an answer."""
        if not self._origins:
            return []
        # Also without an origin: a cache must not give this answer to a page of another origin.
        found = [("Vary", "Origin")]
        origin = environ.get("HTTP_ORIGIN", "")
        if origin in self._origins:
            found += [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
            ]
        return found


def _allowed_headers(environ: WSGIEnvironment) -> str:
    """Return `REQUEST_HEADERS`, and those headers of the preflight request that libraries add."""
    wanted = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").lower().split(",")
    added = dict.fromkeys(name.strip() for name in wanted if _LIBRARY_HEADER.fullmatch(name.strip()))
    return ", ".join([REQUEST_HEADERS, *added])
