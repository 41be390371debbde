"""What is noted is written soon, in one go, and a store that fails stops nothing."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from app.core.errors import BelfryError
from app.live import turns
from app.live.insight import recorder
from app.live.insight.recorder import Recorder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.01)


def wait_for(written: list[list[int]], count: int) -> None:
    with gevent.Timeout(60):
        while len(written) < count:
            gevent.sleep(0.001)


def test_what_is_noted_together_is_written_together() -> None:
    written: list[list[int]] = []
    notes: Recorder[int] = Recorder(lambda items: written.append(list(items)), 10)
    notes.note(1)
    notes.note(2)
    wait_for(written, 1)
    notes.note(3)
    wait_for(written, 2)
    notes.stop()
    assert written == [[1, 2], [3]]


def test_of_too_many_the_latest_are_kept() -> None:
    written: list[list[int]] = []
    notes: Recorder[int] = Recorder(lambda items: written.append(list(items)), 3)
    for number in range(10):
        notes.note(number)
    notes.stop()
    assert written == [[7, 8, 9]]


@pytest.mark.parametrize("error", [BelfryError("store_unavailable"), RuntimeError("a bug")])
def test_a_write_that_fails_is_the_last_of_its_items_only(error: Exception) -> None:
    written: list[list[int]] = []

    def write(items: Iterator[int]) -> None:
        written.append(list(items))
        if len(written) == 1:
            raise error

    notes = Recorder(write, 10)
    notes.note(1)
    wait_for(written, 1)
    notes.note(2)
    wait_for(written, 2)
    notes.stop()
    assert written[:2] == [[1], [2]]


def test_what_a_failed_write_had_not_taken_is_written_next() -> None:
    written: list[int] = []

    def write(items: Iterator[int]) -> None:
        written.append(next(items))
        if len(written) == 1:
            raise BelfryError("store_unavailable")
        written.extend(items)

    notes = Recorder(write, 10)
    for number in (1, 2, 3):
        notes.note(number)
    with gevent.Timeout(60):
        while len(written) < 3:
            gevent.sleep(0.001)
    notes.stop()
    assert written == [1, 2, 3]


def test_a_long_write_gives_requests_a_turn_between_two_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BACKGROUND_SLICE_SECONDS", 0)
    order: list[str] = []

    def request() -> None:
        order.append("a request")

    def write(items: Iterator[int]) -> None:
        for number in items:
            order.append(f"item {number}")
            gevent.spawn(request)

    notes = Recorder(write, 10)
    notes.note(1)
    notes.note(2)
    with gevent.Timeout(60):
        while len(order) < 4:
            gevent.sleep(0.001)
    notes.stop()
    assert order == ["item 1", "a request", "item 2", "a request"]
