"""What a deployment does in a few seconds, in numbers: counts, and how long deliveries took.

Times are kept as a histogram, because percentiles of several workers can't be added up and histograms can. Its buckets
grow by a fifth each, so that a percentile reads at most a fifth too high, from a quarter of a millisecond to a minute.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import exp2
from typing import Any

from ..identity.names import FIGURES_TOPIC

FIRST_MS = 0.25  # the bound of bucket 0
PER_DOUBLING = 4
BUCKETS = 73  # the last one holds whatever took longer than 65 s

# What is added up over workers. `connections` and `slow` are how many there are now, the others what came to pass.
COUNTED = ("workers", "connections", "slow", "messages", "deliveries", "errors", "refusals")


def bucket_of(seconds: float) -> int:
    """The bucket of a duration; one below zero, which clocks of two machines may make, falls into the first."""
    return bisect_left(_BOUNDS_MS, seconds * 1_000)


def bound_ms(bucket: int) -> float:
    """The longest duration of a bucket, in milliseconds."""
    return FIRST_MS * exp2(bucket / PER_DOUBLING)


_BOUNDS_MS = [bound_ms(bucket) for bucket in range(BUCKETS - 1)]


def percentile_ms(histogram: Mapping[int, int], part: float) -> float | None:
    """The duration that `part` of all were not longer than, as the bound of its bucket; None where there were none."""
    left = part * sum(histogram.values())
    for bucket in sorted(histogram):
        left -= histogram[bucket]
        if left <= 0:
            return round(bound_ms(bucket), 2)
    return None


class Tally:
    """What one process did since it was last asked: plain numbers, so that counting costs next to nothing."""

    __slots__ = ("deliveries", "errors", "latencies", "messages", "refusals", "seconds")

    def __init__(self) -> None:
        self.messages = 0
        self.deliveries = 0
        self.errors = 0
        self.refusals = 0
        self.latencies = [0] * BUCKETS
        self.seconds = 0.0  # the sum of the latencies; whoever reads it sets it back

    def delivered(self, count: int, seconds: float) -> None:
        """Count a message that was written to `count` readers, the last of them `seconds` after it was published."""
        self.deliveries += count
        self.latencies[bucket_of(seconds)] += 1
        self.seconds += seconds

    def take(self) -> dict[str, int]:
        """The numbers by name, those that are not 0; it counts anew from here. `l<n>` is bucket n of the histogram."""
        counted = {name: getattr(self, name) for name in ("messages", "deliveries", "errors", "refusals")}
        counted |= {f"l{bucket}": count for bucket, count in enumerate(self.latencies)}
        self.messages = self.deliveries = self.errors = self.refusals = 0
        self.latencies = [0] * BUCKETS
        return {name: count for name, count in counted.items() if count}


def point(time: int, seconds: int, sums: Mapping[str, int]) -> dict[str, Any]:
    """What all workers together did in the `seconds` from the Unix time `time`; it has an id, as messages have."""
    histogram = {int(name[1:]): count for name, count in sums.items() if name[1:].isdigit()}
    return {
        "id": f"{FIGURES_TOPIC}:{time}",
        "time": time,
        "seconds": seconds,
        **{name: sums.get(name, 0) for name in COUNTED},
        "p50": percentile_ms(histogram, 0.5),
        "p99": percentile_ms(histogram, 0.99),
    }
