"""`/health/live`: this process answers. `/health/ready`: it can also reach the store, so send it traffic."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify


def blueprint(*checks: Callable[[], None]) -> Blueprint:
    """Each of `checks` raises `BelfryError` `store_unavailable` when the store can't be used."""
    views = Blueprint("health", __name__, url_prefix="/health")

    @views.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @views.get("/ready")
    def ready() -> Response:
        for check in checks:
            check()
        return jsonify(status="ready")

    return views
