"""The figures of the dashboard for a few seconds: counts, and how long deliveries took.

Durations are kept as a histogram, because histograms of several workers can be added up and percentiles cannot. Each
bucket is a fifth wider than the previous one, from a quarter of a millisecond to a minute. So a percentile is at most a
fifth too high.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import exp2
from typing import Any

from ..identity.names import FIGURES_TOPIC

FIRST_MS = 0.25  # the upper bound of bucket 0
PER_DOUBLING = 4
BUCKETS = 73  # the last bucket counts all durations above 65 s

# Figures that are added up over workers. `connections` and `slow` count what exists now, the others count events.
COUNTED = ("workers", "connections", "slow", "messages", "deliveries", "errors", "refusals")


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration.

    A negative duration, from two machines whose clocks differ, goes into the first bucket.
    """
    return bisect_left(_BOUNDS_MS, seconds * 1_000)


def bound_ms(bucket: int) -> float:
    """Return the longest duration of a bucket, in milliseconds."""
    return FIRST_MS * exp2(bucket / PER_DOUBLING)


_BOUNDS_MS = [bound_ms(bucket) for bucket in range(BUCKETS - 1)]


def percentile_ms(histogram: Mapping[int, int], part: float) -> float | None:
    """Return a percentile in ms, rounded up to the bucket: the share `part` (0 to 1) of all durations is not longer."""
    left = part * sum(histogram.values())
    for bucket in sorted(histogram):
        left -= histogram[bucket]
        if left <= 0:
            return round(bound_ms(bucket), 2)
    return None


class Tally:
    """Counts of one process since the last `take`. They are plain numbers, so counting costs almost nothing."""

    __slots__ = ("deliveries", "errors", "latencies", "messages", "refusals", "seconds")

    def __init__(self) -> None:
        self.messages = 0
        self.deliveries = 0
        self.errors = 0
        self.refusals = 0
        self.latencies = [0] * BUCKETS
        self.seconds = 0.0  # the sum of the latencies; the reader of this value sets it to 0

    def delivered(self, count: int, seconds: float) -> None:
        """Count a message that was written to `count` readers. The last one got it `seconds` after its publication."""
        self.deliveries += count
        self.latencies[bucket_of(seconds)] += 1
        self.seconds += seconds

    def take(self) -> dict[str, int]:
        """Return the counts that are not 0, by name, and set all to 0. `l<n>` is bucket n of the histogram."""
        counted = {name: getattr(self, name) for name in ("messages", "deliveries", "errors", "refusals")}
        counted |= {f"l{bucket}": count for bucket, count in enumerate(self.latencies)}
        self.messages = self.deliveries = self.errors = self.refusals = 0
        self.latencies = [0] * BUCKETS
        return {name: count for name, count in counted.items() if count}


def point(time: int, seconds: int, sums: Mapping[str, int]) -> dict[str, Any]:
    """Return one point of the dashboard: all workers, for `seconds` from the Unix time `time`.

    It has an id like a message.
    """
    histogram = {int(name[1:]): count for name, count in sums.items() if name[1:].isdigit()}
    return {
        "id": f"{FIGURES_TOPIC}:{time}",
        "time": time,
        "seconds": seconds,
        **{name: sums.get(name, 0) for name in COUNTED},
        "p50": percentile_ms(histogram, 0.5),
        "p99": percentile_ms(histogram, 0.99),
    }
