"""`/health/live`: this process answers. `/health/ready`: send it traffic, it reaches the store and does not stop.

A store that is there and not fit to keep messages is told as `warnings`; some of that refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Blueprint, Response, jsonify

from ...core.store_faults import Fault


def blueprint(check: Callable[[], None], faults: Callable[[], Sequence[Fault]]) -> Blueprint:
    """`check` raises `BelfryError`, such as `store_unavailable`, against traffic; `faults` are the store's."""
    views = Blueprint("health", __name__, url_prefix="/health")

    @views.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @views.get("/ready")
    def ready() -> Response:
        check()
        warnings = [{"code": fault.code, "detail": fault.text} for fault in faults()]
        return jsonify(status="ready", warnings=warnings) if warnings else jsonify(status="ready")

    return views
