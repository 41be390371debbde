"""One line for each closed stream; of thousands at once, the first ones and a count by reason."""

from __future__ import annotations

from typing import Any

import pytest

from app.live.streams.closings import LINES_PER_SECOND, Closings


class Closed:
    user = "alice"
    since = 1_000.0
    messages = 3
    bytes = 456


def closings(now: list[float], *, enabled: bool = True) -> Closings:
    return Closings(lambda: now[0], enabled=enabled)


def note(closing: Closings, reason: str = "gone") -> None:
    subscriber: Any = Closed()
    closing.note(subscriber, reason)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "belfry.closed")
    return caplog


def test_a_line_says_whose_stream_closed_why_and_what_it_carried(log: pytest.LogCaptureFixture) -> None:
    note(closings([1_012.34]))
    assert log.messages == ["stream closed: user=alice reason=gone seconds=12.3 messages=3 bytes=456"]
    assert vars(log.records[0])["fields"]["bytes"] == 456


def test_of_many_in_a_second_the_first_are_written_and_the_others_counted(log: pytest.LogCaptureFixture) -> None:
    now = [1_012.0]
    closing = closings(now)
    for number in range(LINES_PER_SECOND + 30):
        note(closing, "gone" if number % 2 else "shutdown")
    assert len(log.messages) == LINES_PER_SECOND
    now[0] += 1
    note(closing)
    assert log.messages[-2] == "further streams closed: closed=30 shutdown=15 gone=15"
    assert log.messages[-1].startswith("stream closed: user=alice")
    closing.flush()
    assert len(log.messages) == LINES_PER_SECOND + 2, "told once"


def test_it_can_be_switched_off(log: pytest.LogCaptureFixture) -> None:
    closing = closings([1_012.0], enabled=False)
    note(closing)
    closing.flush()
    assert log.messages == []
