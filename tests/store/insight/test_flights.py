"""The flight recorder keeps the last events of each user, newest first."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from app.core.settings import Settings
from app.store.insight.directory import FORGOTTEN_SECONDS
from app.store.insight.flights import EVENTS_KEPT, KEEP_SECONDS, FlightStore, written
from app.store.keys import Keys
from app.transport.connection import Connection


def test_each_user_has_events_of_its_own_newest_first(connection: Connection, settings: Settings) -> None:
    flights = FlightStore(connection, settings)
    flights.write([("alice", written({"n": 1})), ("bob", written({"n": 2})), ("alice", written({"n": 3}))])
    assert flights.of("alice") == [{"n": 3}, {"n": 1}]
    assert flights.of("bob") == [{"n": 2}]
    assert flights.of("carol") == []


def test_the_recorder_is_bounded_in_length_and_time(
    client: redis.Redis, connection: Connection, settings: Settings
) -> None:
    flights, key = FlightStore(connection, settings), Keys(settings.redis_prefix).flights("alice")
    flights.write([("alice", written({"n": number})) for number in range(5 * EVENTS_KEPT)])
    assert len(flights.of("alice")) == EVENTS_KEPT
    assert client.llen(key) == EVENTS_KEPT
    assert 0 < client.ttl(key) <= KEEP_SECONDS


def test_events_are_kept_short_and_read_whole(connection: Connection, settings: Settings) -> None:
    places = {"user:alice": "k3f9q2.5", "everyone": "b71x0a.7"}
    began = {"time": "2026", "what": "connected", "connection": "c1", "offset": 5, "places": places, "lost": False}
    events = [
        began,
        {**began, "what": "resumed", "lost": True},
        {"time": "2026", "what": "closed", "connection": "c1", "offset": 4, "places": places, "reason": "hung_up"},
        {"time": "2026", "what": "read", "ids": ["a"], "count": 1},
        {**began, "places": {}, "offset": 0},
    ]
    flights = FlightStore(connection, settings)
    flights.write([("alice", written(event)) for event in events])
    assert flights.of("alice") == events[::-1]
    assert len(written(began)) < 0.75 * len(json.dumps(began, separators=(",", ":")))


@pytest.mark.parametrize("client", ["server"], indirect=True)
def test_a_user_who_was_connected_once_takes_little_room(
    client: redis.Redis, connection: Connection, settings: Settings
) -> None:
    places = {"user:alice": "k3f9q2.5", "everyone": "b71x0a.7"}
    one = {"time": "2026-11-30T02:40:00.123Z", "connection": "c" * 22, "offset": 5, "places": places}
    events = [{**one, "what": "connected", "lost": False}, {**one, "what": "closed", "reason": "hung_up"}]
    FlightStore(connection, settings).write([("alice", written(event)) for event in events])
    taken: Any = client.memory_usage(Keys(settings.redis_prefix).flights("alice"), samples=0)
    assert taken <= 450


def test_a_forgotten_user_has_none_also_of_those_that_an_earlier_version_kept(
    client: redis.Redis, connection: Connection, settings: Settings
) -> None:
    flights, former = FlightStore(connection, settings), Keys(settings.redis_prefix).former_flights("alice")
    client.xadd(former, {"e": "{}"})
    assert flights.of("alice") == []
    flights.write([("alice", written({"n": 1}))])
    flights.forget("alice")
    assert not client.exists(former)
    assert flights.of("alice") == []


def test_what_is_written_late_of_a_forgotten_user_is_not_kept(
    client: redis.Redis, connection: Connection, settings: Settings
) -> None:
    flights, keys = FlightStore(connection, settings), Keys(settings.redis_prefix)
    flights.forget("alice")
    flights.write([("alice", written({"n": 1})), ("bob", written({"n": 2}))])
    assert (flights.of("alice"), flights.of("bob")) == ([], [{"n": 2}])
    assert 0 < client.ttl(keys.flights_forgotten("alice")) <= FORGOTTEN_SECONDS
