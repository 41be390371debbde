"""The metrics of a deployment, in Prometheus' terms. docs/metrics.md lists them; a test keeps it equal to this file.

With several workers, prometheus_client keeps the numbers of each worker in a file of its own and adds them up when they
are read; the gunicorn configuration names the folder. Such a count is one write to mapped memory. Events of a message,
stream or round trip are counted in plain memory (`BufferedCounts`, `BufferedTimes`, `TALLY`). `take` adds it to
Prometheus' numbers every few seconds.

Every family is there from the start with all labels that are known in advance, since an alert on a family that is
absent never fires. Labels have few values: none holds a user, a topic or anything else that a client chose.
"""

from __future__ import annotations

import collections
import logging
import os
import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from .core.errors import CATALOGUE
from .core.insight.figures import BUCKETS, FIRST_MS, PER_DOUBLING, Tally
from .core.store_faults import CODES
from .core.wire.frames import Goodbye

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
# Upper bounds in seconds: a quarter of a millisecond, doubled until a minute. They are every fourth bound of `Tally`.
BOUNDS: Final = tuple([FIRST_MS * 2**doubling / 1_000 for doubling in range((BUCKETS - 2) // PER_DOUBLING + 2)])
# What ends a stream besides a goodbye, see `Subscriber.close`.
ENDS: Final = ("aged", "away", "error", "finished", "gone", "stalled", "stopped")


class BufferedCounts(collections.Counter[tuple[str, ...]]):
    """Counts in plain memory, by the values of the labels. The `known` values exist from the start."""

    def __init__(self, family: Counter, known: Iterable[tuple[str, ...]] = ((),)) -> None:
        super().__init__()
        self._family = family
        for labels in known:
            self._add(labels, 0)

    def hand_on(self) -> None:
        """Add the counts to Prometheus' numbers, and begin at 0 again."""
        for labels, count in self.items():
            self._add(labels, count)
        self.clear()

    def _add(self, labels: tuple[str, ...], count: float) -> None:
        (self._family.labels(*labels) if labels else self._family).inc(count)


class TimesFamily(Histogram):
    """A histogram that takes the counts of its buckets at once."""

    def add(self, counts: Mapping[int, int], seconds: float) -> None:
        """Add the counts by the number of the bucket, and the sum of what was observed."""
        for bucket, count in counts.items():
            self._buckets[bucket].inc(count)
        self._sum.inc(seconds)


class BufferedTimes:
    """Durations in plain memory. To add one costs a search among 20 bounds and two additions."""

    __slots__ = ("_counts", "_family", "_seconds")

    def __init__(self, family: TimesFamily) -> None:
        self._family = family
        self._counts: collections.Counter[int] = collections.Counter()
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Observe one."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def hand_on(self) -> None:
        """Add the counts to Prometheus' numbers, and begin at 0 again."""
        counts, self._counts = self._counts, collections.Counter()
        seconds, self._seconds = self._seconds, 0.0
        self._family.add(counts, seconds)


# Messages

MESSAGES = Counter("belfry_messages", "Messages published")
DELIVERIES = Counter("belfry_deliveries", "Messages written to streams, one for each stream")
DELIVERY_SECONDS = TimesFamily(
    "belfry_delivery_seconds",
    "Time from publishing a message to its write to the last live stream of a worker",
    buckets=BOUNDS,
)

# Streams

STREAMS = Gauge("belfry_streams", "Open streams", multiprocess_mode="livesum")
CONNECTS = Counter(
    "belfry_connects", "Streams that began, by what they read and whether they came with a cursor", ["kind", "start"]
)
STREAMS_ENDED = Counter("belfry_streams_ended", "Streams that ended, by reason", ["reason"])
RESETS = Counter(
    "belfry_resets",
    "Streams that were told that history was lost: at connecting, since entries were trimmed, or since the history is "
    "another one",
    ["cause"],
)
CATCH_UPS = Counter(
    "belfry_catch_ups",
    "Streams that began to read from the store: after connecting, a gap, a full socket, or a comparison with the store",
    ["cause"],
)
SLOW_READERS = Counter("belfry_slow_readers", "Times that a stream's socket was full")
SLOW_STREAMS = Gauge("belfry_slow_streams", "Streams whose socket is full now", multiprocess_mode="livesum")
OUTBOX_BYTES = Gauge("belfry_outbox_bytes", "Bytes that wait in memory for slow streams", multiprocess_mode="livesum")

# Requests

REQUESTS = Counter("belfry_requests", "Answered requests, by route and status", ["route", "status"])
REFUSALS = Counter("belfry_refusals", "Requests and lines of batches that were refused, by code of the error", ["code"])
ABANDONED = Counter("belfry_abandoned_requests", "Requests for a stream whose client left before its turn came")
SIGN_INS = Counter("belfry_sign_ins", "Sign-ins by outcome", ["outcome"])
FAILURES = Counter("belfry_failures", "Exceptions that nobody foresaw, by the part of Belfry that lives on", ["part"])

# Completions

COMPLETIONS = Counter("belfry_completions", "Completions that began: runs, and those answered directly", ["kind"])
RUNS = Gauge("belfry_runs", "Runs under way", multiprocess_mode="livesum")
RUNS_ENDED = Counter("belfry_runs_ended", "Runs that ended, by status", ["status"])
TOKENS = Counter("belfry_tokens", "Tokens of completions that ended, as they count against a user's limit")

# Web Push

PUSHES = Counter(
    "belfry_pushes",
    "Pushes by what became of them: for a device `sent`, `gone` (its subscription ended), `refused`, `retried`, "
    "`waiting` (its push service is busy) or `given_up`; for a user `handled` (the message was read, or is gone), "
    "`connected`, `reused` (the publish was refused: its id has other content) or `failed`",
    ["outcome"],
)

# The store

ROUND_TRIPS = Counter("belfry_redis_round_trips", "Writes to Redis, each with all commands that were ready")
ROUND_TRIP_SECONDS = TimesFamily(
    "belfry_redis_round_trip_seconds", "Time from such a write of pipelined commands to its last reply", buckets=BOUNDS
)
RECONNECTS = Counter("belfry_redis_reconnects", "Connections to Redis that were lost and made again", ["connection"])
STORE_AWAY = Gauge(
    "belfry_store_away",
    "Workers to which the store is silent, or that don't hear it",
    multiprocess_mode="livesum",
)
STORE_OUTAGES = Counter("belfry_store_outages", "Times that a worker noticed the store to be away")
STORE_AWAY_SECONDS = Counter("belfry_store_away_seconds", "Length of those times, counted when each is over")
STORE_FAULTS = Gauge(
    "belfry_store_faults",
    "Workers that see this fault in how the store is configured",
    ["fault"],
    multiprocess_mode="livesum",
)
STORE_INFO = Gauge(
    "belfry_store_info",
    "1 for the server that Redis says it is",
    ["engine", "version", "maxmemory_policy", "appendonly"],
    multiprocess_mode="livemax",
)

# The process

LOOP_LAG_SECONDS = TimesFamily(
    "belfry_loop_lag_seconds", "How late a worker's event loop woke up, tried once a second", buckets=BOUNDS
)
WORKERS = Gauge("belfry_workers", "Workers that serve", multiprocess_mode="livesum")
BUILD_INFO = Gauge(
    "belfry_build_info", "1 for the version that runs", ["version", "python"], multiprocess_mode="livemax"
)

for _outcome in (
    "sent",
    "gone",
    "refused",
    "retried",
    "waiting",
    "given_up",
    "handled",
    "connected",
    "failed",
    "reused",
):
    PUSHES.labels(_outcome)

# What happens often is counted in plain memory. Each of these adds to a family above.
TALLY = Tally()
CONNECTED = BufferedCounts(CONNECTS, [(kind, start) for kind in ("feed", "run") for start in ("new", "resumed")])
RESET = BufferedCounts(RESETS, [("connect",), ("trimmed",), ("history",)])
CAUGHT_UP = BufferedCounts(CATCH_UPS, [("connect",), ("gap",), ("slow",), ("comparison",)])
SLOWED = BufferedCounts(SLOW_READERS)
ANSWERED = BufferedCounts(REQUESTS, [("/publish", "201"), ("/stream", "200")])
TRIPS = BufferedCounts(ROUND_TRIPS)
TRIP_TIMES = BufferedTimes(ROUND_TRIP_SECONDS)
LAG = BufferedTimes(LOOP_LAG_SECONDS)
_PLAIN: Final[tuple[BufferedCounts | BufferedTimes, ...]] = (
    CONNECTED,
    RESET,
    CAUGHT_UP,
    SLOWED,
    ANSWERED,
    TRIPS,
    TRIP_TIMES,
    LAG,
)


def _show_from_the_start() -> None:
    """Create the known label values of each family. A family without any value would be absent."""
    known: dict[Counter | Gauge, Iterable[str]] = {
        STREAMS_ENDED: [*ENDS, *[reason.value for reason in Goodbye]],
        REFUSALS: CATALOGUE,
        SIGN_INS: ("accepted", "refused"),
        FAILURES: ("views",),
        COMPLETIONS: ("run", "direct"),
        RUNS_ENDED: ("done", "stopped", "failed"),
        RECONNECTS: ("commands", "subscriber"),
        STORE_FAULTS: CODES,
    }
    for family, values in known.items():
        for value in values:
            family.labels(value)
    STORE_INFO.labels("", "", "", "").set(0)


_show_from_the_start()


def refused(code: str, *, of_check: bool = False) -> None:
    """Count one refusal; `code` is one of the catalogue of errors, so the label can't grow without bound.

    `of_check`: it answered a health check, which is no request of a user. The dashboard does not count it.
    """
    REFUSALS.labels(code).inc()
    if of_check:
        return
    if CATALOGUE[code][0] >= 500:
        TALLY.errors += 1
    else:
        TALLY.refusals += 1


class FailureCount(logging.Handler):
    """A log handler that counts lines with a traceback, which only bugs have. The line is logged as any other."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            FAILURES.labels(record.name.removeprefix("belfry.")).inc()


_FAILURE_COUNT = FailureCount(logging.ERROR)


def begin(version: str) -> None:
    """Publish the version of Belfry, and begin to count failures. A second call has no effect."""
    BUILD_INFO.labels(version, platform.python_version()).set(1)
    logging.getLogger("belfry").addHandler(_FAILURE_COUNT)


def take() -> dict[str, int]:
    """Add all plain counts to Prometheus' numbers. Returns the tally since the last call, by name."""
    seconds, TALLY.seconds = TALLY.seconds, 0.0
    counted = TALLY.take()
    MESSAGES.inc(counted.get("messages", 0))
    DELIVERIES.inc(counted.get("deliveries", 0))
    DELIVERY_SECONDS.add(_by_bound(counted), max(0.0, seconds))
    for plain in _PLAIN:
        plain.hand_on()
    return counted


def _by_bound(counted: Mapping[str, int]) -> collections.Counter[int]:
    """The tally's latencies, in the buckets of `BOUNDS`."""
    counts: collections.Counter[int] = collections.Counter()
    for name, count in counted.items():
        if name[1:].isdigit():
            bucket = int(name[1:])
            counts[len(BOUNDS) if bucket == BUCKETS - 1 else -(-bucket // PER_DOUBLING)] += count
    return counts


def exposition() -> bytes:
    """All numbers of all workers as text."""
    for plain in _PLAIN:
        plain.hand_on()
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client annotates most, not this
    return generate_latest(registry)
