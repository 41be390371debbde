"""`GET /metrics`: the numbers of all workers as Prometheus reads them. Counts only; the proxy keeps it inside."""

from __future__ import annotations

from flask import Blueprint, Response

from ... import metrics


def blueprint() -> Blueprint:
    """The view of `/metrics`."""
    views = Blueprint("metrics", __name__)

    @views.get("/metrics")
    def show() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    return views
