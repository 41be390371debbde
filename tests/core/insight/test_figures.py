"""Figures: what is counted is told once, and percentiles of a histogram are close to the true ones."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from app.core.insight.figures import BUCKETS, FIRST_MS, Tally, bound_ms, bucket_of, percentile_ms, point

DURATIONS = st.lists(st.floats(0, 60), min_size=1)


@given(DURATIONS, st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_never_too_low_and_at_most_a_fifth_too_high(seconds: list[float], part: float) -> None:
    told = percentile_ms(Counter(map(bucket_of, seconds)), part)
    true_ms = sorted(seconds)[ceil(part * len(seconds)) - 1] * 1_000
    assert told is not None
    assert true_ms * 0.999 - 0.01 <= told <= max(true_ms * 1.2, FIRST_MS) + 0.01


def test_no_deliveries_have_no_percentile() -> None:
    assert percentile_ms({}, 0.5) is None


def test_what_can_not_be_has_a_bucket_all_the_same() -> None:
    assert bucket_of(-3.0) == 0, "a clock behind the publisher's"
    assert bucket_of(1e6) == BUCKETS - 1
    assert bound_ms(BUCKETS - 1) > 60_000


def test_a_tally_tells_everything_once() -> None:
    tally = Tally()
    tally.messages += 2
    tally.delivered(3, 0.0001)
    assert tally.take() == {"messages": 2, "deliveries": 3, "l0": 1}
    assert tally.take() == {}


def test_a_point_has_every_number() -> None:
    sums = {"workers": 2, "messages": 10, "l0": 98, "l4": 2}
    made = point(1_800_000_000, 5, sums)
    assert made["time"] == 1_800_000_000
    assert (made["workers"], made["messages"], made["errors"]) == (2, 10, 0)
    assert (made["p50"], made["p99"]) == (0.25, 0.5)
