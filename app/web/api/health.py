"""The endpoints for monitoring: `/health/live`, `/health/ready` and `/metrics`.

- `/health/live` answers as long as this process can answer.
- `/health/ready` answers 200 if a balancer may send traffic here: this worker reaches the store and is not stopping.
  `warnings` name faults of the store, for example that it may lose messages. With some faults, the answer is a
  refusal.
- `/metrics` has the numbers of all workers for Prometheus. They are counts only, and a proxy should not publish them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Blueprint, Response, jsonify

from ... import metrics
from ...core.store_faults import Fault


def blueprint(check: Callable[[], None], faults: Callable[[], Sequence[Fault]]) -> Blueprint:
    """Return the views of `/health` and `/metrics`.

    `check` raises `BelfryError` if this worker must get no traffic, for example `store_unavailable`. `faults` returns
    the known faults of the store.
    """
    views = Blueprint("health", __name__)

    @views.get("/health/live")
    def live() -> Response:
        return jsonify(status="live")

    @views.get("/health/ready")
    def ready() -> Response:
        check()
        warnings = [{"code": fault.code, "detail": fault.text} for fault in faults()]
        return jsonify(status="ready", warnings=warnings) if warnings else jsonify(status="ready")

    @views.get("/metrics")
    def show() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    return views
