"""Counters of a deployment, in Prometheus's terms.

With several workers prometheus_client keeps each one's numbers in a file of its own and adds them up when asked;
gunicorn.conf.py names the folder. A count is one write to mapped memory.
"""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

REFUSALS = Counter("belfry_refusals", "Requests and lines of batches that were refused, by reason", ["code"])
STREAMS = Gauge("belfry_streams", "Open streams", multiprocess_mode="livesum")
STREAMS_ENDED = Counter("belfry_streams_ended", "Streams that ended, by reason", ["reason"])
STORE_AWAY = Gauge(
    "belfry_store_away",
    "Workers to which the store is silent, or that don't hear it",
    multiprocess_mode="livesum",
)
STORE_OUTAGES = Counter("belfry_store_outages", "Times that a worker noticed the store to be away")
SIGN_INS = Counter("belfry_sign_ins", "Sign-ins by outcome", ["outcome"])


def refused(code: str) -> None:
    """Count one refusal; `code` is one of the catalogue of errors, so the label can't grow without bound."""
    REFUSALS.labels(code).inc()


def exposition() -> bytes:
    """All numbers of all workers as text."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
