"""Token buckets: how much goes at once, how fast it comes back, and that keys don't pile up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.core.rate import Buckets


def test_a_minute_s_worth_goes_at_once_and_no_more() -> None:
    buckets = Buckets(60)
    assert [buckets.take("a", 1, 0.0).allowed for _ in range(61)] == [True] * 60 + [False]


def test_a_bucket_refills_evenly_and_never_over_its_rim() -> None:
    buckets = Buckets(60)
    buckets.take("a", 60, 0.0)
    assert not buckets.take("a", 1, 0.9).allowed
    assert buckets.take("a", 1, 1.1).allowed
    assert buckets.take("a", 1, 1_000.0).remaining == 59


def test_who_is_refused_is_told_when_it_is_worth_trying_again() -> None:
    buckets = Buckets(60)
    buckets.take("a", 60, 0.0)
    refused = buckets.take("a", 5, 0.0)
    assert (refused.allowed, refused.remaining, refused.wait_seconds) == (False, 0, 5)
    assert buckets.take("a", 5, 5.0).allowed


def test_who_is_allowed_is_told_when_the_bucket_will_be_full_again() -> None:
    assert Buckets(60).take("a", 30, 0.0) == (True, 60, 30, 30)


def test_a_refusal_costs_nothing() -> None:
    buckets = Buckets(60)
    buckets.take("a", 50, 0.0)
    assert not buckets.take("a", 20, 0.0).allowed
    assert buckets.take("a", 10, 0.0).allowed


def test_what_is_larger_than_the_bucket_takes_a_whole_one() -> None:
    buckets = Buckets(10)
    assert buckets.take("a", 1_000, 0.0).allowed
    assert not buckets.take("a", 1, 0.0).allowed


def test_keys_have_buckets_of_their_own_and_the_longest_unused_is_forgotten() -> None:
    buckets = Buckets(1, keys_max=2)
    for key in ("a", "b", "c"):
        assert buckets.take(key, 1, 0.0).allowed
    assert len(buckets) == 2
    assert not buckets.take("c", 1, 0.0).allowed


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 5)), max_size=60))
def test_in_no_minute_does_more_pass_than_two_buckets(steps: list[tuple[int, float]]) -> None:
    buckets, now, passed = Buckets(10), 0.0, []
    for cost, pause in steps:
        now += pause
        if buckets.take("a", cost, now).allowed:
            passed.append((now, min(cost, 10)))
    for start, _ in passed:
        assert sum(cost for at, cost in passed if start <= at <= start + 60) <= 20 + 1e-6


def test_a_bucket_that_is_full_again_takes_no_room() -> None:
    buckets = Buckets(60)
    for number in range(100):
        buckets.take(f"early {number}", 2, 0.0)
    assert len(buckets) == 100
    for number in range(100):
        buckets.take(f"late {number}", 2, 2.0 + number)
    assert len(buckets) == 2
