"""`/health/live`: this process answers. `/health/ready`: it can also reach the store, so send it traffic."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify


def blueprint(ping: Callable[[], None]) -> Blueprint:
    """`ping` returns when the store answers, and raises `BelfryError` `store_unavailable` when it doesn't."""
    views = Blueprint("health", __name__, url_prefix="/health")

    @views.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @views.get("/ready")
    def ready() -> Response:
        ping()
        return jsonify(status="ready")

    return views
