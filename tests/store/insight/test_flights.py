"""The flight recorder keeps the last events of each user, newest first."""

from __future__ import annotations

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
    assert client.xlen(key) < 2 * EVENTS_KEPT
    assert 0 < client.ttl(key) <= KEEP_SECONDS


def test_a_forgotten_user_has_none(connection: Connection, settings: Settings) -> None:
    flights = FlightStore(connection, settings)
    flights.write([("alice", written({"n": 1}))])
    flights.forget("alice")
    assert flights.of("alice") == []


def test_what_is_written_late_of_a_forgotten_user_is_not_kept(
    client: redis.Redis, connection: Connection, settings: Settings
) -> None:
    flights, keys = FlightStore(connection, settings), Keys(settings.redis_prefix)
    flights.forget("alice")
    flights.write([("alice", written({"n": 1})), ("bob", written({"n": 2}))])
    assert (flights.of("alice"), flights.of("bob")) == ([], [{"n": 2}])
    assert 0 < client.ttl(keys.flights_forgotten("alice")) <= FORGOTTEN_SECONDS
