"""Nobody is silent for longer than the interval, nobody outlives its time, and crowds part."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from app.core.identity.tokens import Claims
from app.live.streams.heartbeat import LONGEST_TICK_SECONDS, TimingWheel
from app.live.streams.subscriber import OpenLog, Subscriber
from tests.live.model import Client, ModelSink

NOW = 1_000.0


class Nobody:
    """Owns subscribers that are only looked at."""

    tick = 0

    def blocked(self, subscriber: Subscriber) -> None: ...

    def progressed(self, subscriber: Subscriber) -> None: ...

    def drained(self, subscriber: Subscriber) -> None: ...

    def outdated(self, subscriber: Subscriber) -> None: ...

    def lost(self, subscriber: Subscriber) -> None: ...

    def located(self, subscriber: Subscriber, log: OpenLog) -> None: ...

    def dismissed(self, subscriber: Subscriber, log: OpenLog, wish: bytes) -> None: ...

    def shared(self, subscriber: Subscriber, log: OpenLog, told: bytes) -> None: ...

    def closed(self, subscriber: Subscriber, reason: str) -> None: ...


def subscriber(expires_at: float = math.inf) -> Subscriber:
    logs: tuple[OpenLog, ...] = ()
    claims = Claims("alice", frozenset(), (), None, expires_at, "")
    return Subscriber(Nobody(), claims, logs, (), ModelSink(Client([]), 0))


def time_at(wheel: TimingWheel) -> float:
    return NOW + wheel.tick * wheel.tick_seconds


@pytest.mark.parametrize("interval", [0.2, 1.0, 15.0, 120.0])
def test_silence_never_lasts_longer_than_the_interval(interval: float) -> None:
    wheel, one = TimingWheel(interval), subscriber()
    wheel.add(one, NOW)
    one.silent_since = last = wheel.tick  # its first frames were just written
    beats = 0
    while beats < 5:
        for due in wheel.turn():
            if wheel.silent(due):
                assert (wheel.tick - last) * wheel.tick_seconds <= interval * 1.001
                due.silent_since = last = wheel.tick
                beats += 1
            wheel.again(due, NOW)
        assert (wheel.tick - last) * wheel.tick_seconds <= interval * 1.001


def test_who_was_written_to_is_not_sent_a_heartbeat() -> None:
    wheel, one = TimingWheel(15.0), subscriber()
    wheel.add(one, NOW)
    for _ in range(500):
        one.silent_since = wheel.tick
        for due in wheel.turn():
            assert not wheel.silent(due)
            wheel.again(due, NOW)


def test_a_thousand_who_came_at_once_are_spread_over_the_interval() -> None:
    wheel = TimingWheel(15.0)
    for _ in range(1_000):
        wheel.add(subscriber(), NOW)
    looks = Counter({tick: len(wheel.turn()) for tick in range(60)})
    assert sum(looks.values()) == 1_000
    assert max(looks.values()) < 80


def beat(wheel: TimingWheel) -> int:
    """One tick; answers how many got a heartbeat."""
    due = wheel.turn()
    silent = [one for one in due if wheel.silent(one)]
    for one in silent:
        one.silent_since = wheel.tick
    for one in due:
        wheel.again(one, NOW)
    return len(silent)


def test_who_is_silent_gets_one_heartbeat_in_an_interval_and_no_more() -> None:
    wheel = TimingWheel(15.0)
    for _ in range(1_000):
        wheel.add(subscriber(), NOW)
    for _ in range(50):
        beat(wheel)
    assert 20_000 <= sum(beat(wheel) for _ in range(20 * 50)) < 20_200


def test_a_crowd_that_a_message_to_everyone_lined_up_parts_within_a_few_intervals() -> None:
    wheel, crowd = TimingWheel(15.0), [subscriber() for _ in range(1_000)]
    for one in crowd:
        wheel.add(one, NOW)
    for one in crowd:
        one.silent_since = wheel.tick
    beats = [beat(wheel) for _ in range(6 * 50)]
    assert sum(beats) > 5_000
    assert max(beats) < 200  # 1,000 at once else, and 1,000 / 50 at best
    assert max(beats[-50:]) < 80


@pytest.mark.parametrize(("interval", "life"), [(15.0, 3.2), (15.0, 40.0), (120.0, 7.0), (0.5, 2.0)])
def test_a_stream_is_looked_at_as_soon_as_its_time_is_over(interval: float, life: float) -> None:
    wheel, one = TimingWheel(interval), subscriber(expires_at=NOW + life)
    wheel.add(one, NOW)
    while time_at(wheel) < NOW + life:
        for due in wheel.turn():
            due.silent_since = wheel.tick
            wheel.again(due, time_at(wheel))
    late = 0
    while one not in wheel.turn():
        late += 1
    assert late * wheel.tick_seconds <= LONGEST_TICK_SECONDS


def test_who_was_removed_is_not_looked_at() -> None:
    wheel, one = TimingWheel(1.0), subscriber()
    wheel.add(one, NOW)
    wheel.remove(one)
    assert not [due for _ in range(100) for due in wheel.turn()]


def test_who_leaves_a_crowd_takes_nobody_along() -> None:
    wheel, crowd = TimingWheel(1.0), [subscriber() for _ in range(500)]
    for one in crowd:
        wheel.add(one, NOW)
    for one in crowd[::3]:
        wheel.remove(one)
        wheel.remove(one)  # again has no effect
    found = [due for _ in range(100) for due in wheel.turn()]
    assert len(found) == len(set(found))
    assert set(found) == set(crowd) - set(crowd[::3])


def ages(life_seconds: float) -> list[float]:
    """At what age each of a crowd that came at once is sent on, within twice the longest life."""
    wheel, crowd = TimingWheel(15.0, life_seconds), [subscriber() for _ in range(500)]
    for one in crowd:
        wheel.add(one, NOW)
    found = []
    for _ in range(round(2 * max(life_seconds, 60.0) / wheel.tick_seconds)):
        for due in wheel.turn():
            if wheel.aged(due):
                found.append(wheel.tick * wheel.tick_seconds)
            else:
                wheel.again(due, NOW)
    return found


@pytest.mark.parametrize("life", [10.0, 3_600.0])
def test_a_crowd_is_sent_on_bit_by_bit_in_the_last_fifth_of_its_life(life: float) -> None:
    found = ages(life)
    assert len(found) == 500
    assert 0.8 * life - LONGEST_TICK_SECONDS <= min(found) <= 0.84 * life
    assert 0.96 * life <= max(found) <= life
    assert max(Counter(int(20 * age / life) for age in found).values()) < 500 / 2


def test_without_a_limit_nobody_is_ever_sent_on() -> None:
    assert not ages(0)
