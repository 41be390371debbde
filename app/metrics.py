"""Counters of a deployment, in Prometheus's terms.

With several workers prometheus_client keeps each one's numbers in a file of its own and adds them up when asked;
gunicorn.conf.py names the folder. A count is one write to mapped memory.
"""

from __future__ import annotations

import logging
import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from .core.errors import CATALOGUE
from .core.insight.figures import Tally

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

REFUSALS = Counter("belfry_refusals", "Requests and lines of batches that were refused, by reason", ["code"])
ABANDONED = Counter("belfry_abandoned_requests", "Requests for a stream whose client left before its turn came")
STREAMS = Gauge("belfry_streams", "Open streams", multiprocess_mode="livesum")
MESSAGES = Counter("belfry_messages", "Messages published")
DELIVERIES = Counter("belfry_deliveries", "Messages written to streams, one for each stream")
STREAMS_ENDED = Counter("belfry_streams_ended", "Streams that ended, by reason", ["reason"])
STORE_AWAY = Gauge(
    "belfry_store_away",
    "Workers to which the store is silent, or that don't hear it",
    multiprocess_mode="livesum",
)
STORE_FAULTS = Gauge(
    "belfry_store_faults",
    "Workers that see this fault in how the store is configured",
    ["fault"],
    multiprocess_mode="livesum",
)
STORE_OUTAGES = Counter("belfry_store_outages", "Times that a worker noticed the store to be away")
SIGN_INS = Counter("belfry_sign_ins", "Sign-ins by outcome", ["outcome"])
FAILURES = Counter("belfry_failures", "Exceptions that nobody foresaw, by the part of Belfry that lives on", ["part"])


# What is counted per message is counted here, and handed on every few seconds: a write to mapped memory takes longer
# than all else about counting.
TALLY = Tally()


def refused(code: str) -> None:
    """Count one refusal; `code` is one of the catalogue of errors, so the label can't grow without bound."""
    REFUSALS.labels(code).inc()
    if CATALOGUE[code][0] >= 500:
        TALLY.errors += 1
    else:
        TALLY.refusals += 1


class FailureCount(logging.Handler):
    """Counts what is logged with a traceback: nothing foreseen is. Below it the line goes on as any other."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            FAILURES.labels(record.name.removeprefix("belfry.")).inc()


_FAILURE_COUNT = FailureCount(logging.ERROR)


def count_failures() -> None:
    """From now on, and once however often this is called."""
    logging.getLogger("belfry").addHandler(_FAILURE_COUNT)


def take() -> dict[str, int]:
    """What was tallied since the last call, by name; Prometheus knows it from now on."""
    counted = TALLY.take()
    MESSAGES.inc(counted.get("messages", 0))
    DELIVERIES.inc(counted.get("deliveries", 0))
    return counted


def exposition() -> bytes:
    """All numbers of all workers as text."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client annotates most, not this
    return generate_latest(registry)
