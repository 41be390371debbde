"""The figures of all workers are one series, bounded by the hour."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
import redis

from app.core.settings import Settings
from app.store.insight.figures import KEPT_SECONDS, FigureStore
from app.store.keys import Keys
from app.transport.connection import Connection
from tests.waiting import wait_until

ONE = {"workers": 1, "connections": 3}


@pytest.fixture
def settings() -> Settings:
    return Settings(redis_url="redis://unused.invalid", figures_seconds=1)


@pytest.fixture
def store(connection: Connection, settings: Settings) -> FigureStore:
    return FigureStore(connection, settings)


def points(store: FigureStore) -> list[dict[str, Any]]:
    return [json.loads(text) for text in store.hour(time.time())]


def begin_slot(store: FigureStore) -> int:
    """Wait for a new second, and stand at its beginning; answers it."""
    first = int(store.add({}))

    def later() -> int:
        now = int(store.add({}))
        return now if now > first else 0

    return wait_until(later)


def add_to_one_slot(store: FigureStore, *counts: Mapping[str, int]) -> int:
    """Add all of them within one second; answers it. A machine that stands still in between is given another one."""

    def added() -> int:
        begin_slot(store)
        slots = {int(store.add(each)) for each in counts}
        return slots.pop() if len(slots) == 1 else 0

    return wait_until(added)


def test_workers_of_one_slot_make_one_point(store: FigureStore) -> None:
    slot = add_to_one_slot(store, {**ONE, "messages": 5, "l0": 5}, {**ONE, "messages": 2, "l8": 2})
    wait_until(lambda: any(point["time"] == slot for point in points(store) if not store.add({}) < slot))
    (made,) = [point for point in points(store) if point["time"] == slot]
    assert (made["workers"], made["connections"], made["messages"]) == (2, 6, 7)
    assert (made["seconds"], made["p50"], made["p99"]) == (1, 0.25, 1.0)


def test_a_slot_is_closed_once_and_announced(store: FigureStore, client: redis.Redis) -> None:
    with client.pubsub() as listener:
        listener.subscribe("belfry:{topic:belfry.figures}:live")
        slot = int(store.add(ONE))
        wait_until(lambda: int(store.add({})) > slot + 1)
        heard = [each["data"] for each in iter(lambda: listener.get_message(timeout=0.1), None) if each]
    told = [json.loads(data.split(b" ", 2)[2]) for data in heard if isinstance(data, bytes)]
    assert all(data.startswith(b"0.0 belfry.figures {") for data in heard if isinstance(data, bytes))
    assert [point["connections"] for point in told if point["time"] == slot] == [3]
    assert [point["connections"] for point in told if point["time"] != slot] == [0] * (len(told) - 1), "nothing is left"
    assert told[-1] == points(store)[-1]


def test_what_is_kept_is_bounded(store: FigureStore, client: redis.Redis, settings: Settings) -> None:
    for slot in range(KEPT_SECONDS + 500):
        store._close({"slot": slot})
    keys = Keys(settings.redis_prefix)
    assert client.xlen(keys.figures) <= KEPT_SECONDS + 100, "trimmed by whole nodes of the stream"
    assert 0 < client.ttl(keys.figures) <= KEPT_SECONDS
    store.add(ONE)
    assert 0 < client.ttl(keys.figures_now) <= KEPT_SECONDS


def test_points_before_the_hour_are_not_told(store: FigureStore) -> None:
    store._close({"slot": 1})
    assert store.hour(time.time()) != []
    assert store.hour(time.time() + KEPT_SECONDS + 2) == []


def test_what_was_added_is_not_called_missing_when_the_point_of_the_slot_before_can_not_be_kept(
    store: FigureStore, client: redis.Redis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker would add it a second time."""
    client.set(Keys(settings.redis_prefix).figures, "in the way")
    slot = int(store.add(ONE))
    wait_until(lambda: int(store.add({})) > slot)
    # The connection itself complains of a reason at most once a minute, so what it logs depends on earlier tests.
    assert [record.name for record in caplog.records if record.name != "belfry.store"] == ["belfry.figures"]
