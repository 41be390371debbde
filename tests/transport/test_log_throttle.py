"""What is said thousands of times is logged a few times, with its number."""

from __future__ import annotations

import logging

import pytest

from app.transport.log_throttle import EVERY_SECONDS, OTHERS, TEXT_MAX, TEXTS_MAX, LogThrottle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def complaints(clock: Clock) -> LogThrottle:
    return LogThrottle(logging.getLogger("complaints"), clock)


def test_the_same_is_logged_once_a_minute_and_counted(
    complaints: LogThrottle, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1_000):
        complaints.note("no")
    clock.now = EVERY_SECONDS
    complaints.note("no")
    complaints.note("no")
    assert caplog.messages == ["no", "no (999 times more since this was logged last)"]


def test_ever_other_texts_are_bounded_too(
    complaints: LogThrottle, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_000):
        complaints.note(f"{number} " + "x" * 1_000)
    assert len(caplog.messages) == TEXTS_MAX + 1
    assert max(map(len, caplog.messages)) == TEXT_MAX
    assert caplog.messages[-1] == OTHERS
    clock.now = EVERY_SECONDS
    complaints.note("another")
    assert caplog.messages[-1] == "another"
