"""A worker reports once in every slot, and what it could not report is not lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app import metrics
from app.core.errors import BelfryError
from app.live.insight.reporter import Reporter

SECONDS = 5


class Streams:
    slow = 1

    def __len__(self) -> int:
        return 7


class Store:
    """Takes figures while it is up, and tells its time."""

    def __init__(self) -> None:
        self.up = True
        self.taken: list[Mapping[str, int]] = []

    def add(self, counted: Mapping[str, int]) -> float:
        if not self.up:
            raise BelfryError("store_unavailable")
        self.taken.append(counted)
        return 1_000.0


def reporter(store: Store) -> Reporter:
    anything: Any = Streams()
    kept: Any = store
    metrics.take()
    return Reporter(kept, anything, SECONDS, lambda: 2_000.0)


def test_it_tells_what_was_counted_and_what_there_is_now() -> None:
    store = Store()
    metrics_of_this = reporter(store)
    metrics.TALLY.messages += 2
    assert metrics_of_this.report() == 1_000.0
    assert store.taken == [{"messages": 2, "workers": 1, "connections": 7, "slow": 1}]


def test_what_could_not_be_reported_is_reported_later() -> None:
    store = Store()
    store.up = False
    this = reporter(store)
    metrics.TALLY.messages += 2
    assert this.report() == 2_000.0, "its own clock"
    metrics.TALLY.messages += 1
    this.report()
    store.up = True
    this.report()
    this.report()
    assert [taken.get("messages", 0) for taken in store.taken] == [3, 0]
    assert [taken["connections"] for taken in store.taken] == [7, 7], "what there is now is not added up"


def test_what_was_counted_last_is_reported_when_it_stops() -> None:
    store = Store()
    this = reporter(store)
    this.start()
    metrics.TALLY.messages += 2
    this.stop()
    assert [taken["messages"] for taken in store.taken] == [2]


@pytest.mark.parametrize("now", [100.0, 101.3, 102.5, 103.9, 104.999])
def test_each_report_lies_in_the_middle_of_the_next_slot(now: float) -> None:
    this = reporter(Store())
    this._now = now
    then = now + this._until_next()
    assert then // SECONDS == now // SECONDS + 1
    assert 0.4 * SECONDS <= then % SECONDS <= 0.6 * SECONDS
