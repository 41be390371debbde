"""Sessions in the store: found by their cookie, listed by user, ended for good, gone with their time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import redis

from app.core.revocation import Kind
from app.core.settings import Settings
from app.core.tokens import Claims
from app.store.connection import Command, Connection, Reply
from app.store.revocations import Place, Revocations
from app.store.sessions import FRESH_SECONDS, Sessions

NOW = time.time()


def claims(user: str = "alice", seconds: float = 600) -> Claims:
    return Claims(user, frozenset({"feed"}), ("news",), None, NOW + seconds, "t1", issued_at=NOW)


class Counting:
    """Counts the round trips of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.round_trips = 0

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        self.round_trips += 1
        return self._connection.run(commands)


@pytest.fixture
def counted(connection: Connection) -> Counting:
    return Counting(connection)


@pytest.fixture
def sessions(counted: Counting, settings: Settings) -> Sessions:
    return Sessions(counted, settings)


def test_a_cookie_leads_to_the_claims_and_names_the_session(sessions: Sessions) -> None:
    found = sessions.find(sessions.start(claims(), NOW), NOW)
    assert found is not None
    assert (found.user, found.topics, found.token_id) == ("alice", ("news",), "t1")
    assert found.scopes == {"feed"}
    assert found.session


def test_a_burst_of_requests_costs_one_round_trip_a_second(sessions: Sessions, counted: Counting) -> None:
    value = sessions.start(claims(), NOW)
    counted.round_trips = 0
    for step in range(10):
        sessions.find(value, NOW + step * FRESH_SECONDS / 10)
    assert counted.round_trips == 1
    sessions.find(value, NOW + FRESH_SECONDS)
    assert counted.round_trips == 2


def test_each_operation_is_one_round_trip(sessions: Sessions, counted: Counting) -> None:
    value = sessions.start(claims(), NOW)
    found = sessions.find(value, NOW)
    assert found is not None
    sessions.end("alice", found.session, NOW)
    assert counted.round_trips == 3


def test_an_ended_session_is_unknown_and_everybody_is_told(
    sessions: Sessions, connection: Connection, settings: Settings
) -> None:
    value = sessions.start(claims(), NOW)
    found = sessions.find(value, NOW)
    assert found is not None
    sessions.end("alice", found.session, NOW)
    assert sessions.find(value, NOW) is None
    (told,), _, _ = Revocations(connection, settings).after(Place())
    assert (told.kind, told.name) == (Kind.SESSION, found.session)


def test_a_worker_believes_for_a_second_only_what_another_has_ended(
    sessions: Sessions, connection: Connection, settings: Settings
) -> None:
    value = sessions.start(claims(), NOW)
    found = sessions.find(value, NOW)
    assert found is not None
    Sessions(connection, settings).end("alice", found.session, NOW)
    assert sessions.find(value, NOW + FRESH_SECONDS) is None


def test_a_user_s_sessions_are_listed_until_they_end(sessions: Sessions) -> None:
    for seconds in (300, 100, 200):
        sessions.start(claims(seconds=seconds), NOW)
    sessions.start(claims("bob"), NOW)
    assert [round(session.expires_at - NOW) for session in sessions.of_user("alice", NOW)] == [100, 200, 300]
    assert len(sessions.of_user("alice", NOW + 150)) == 2


def test_all_sessions_of_a_user_end_together(sessions: Sessions) -> None:
    values = [sessions.start(claims(), NOW) for _ in range(3)]
    other = sessions.start(claims("bob"), NOW)
    assert sessions.end_all("alice", NOW) == 3
    assert [sessions.find(value, NOW) for value in values] == [None] * 3
    assert sessions.of_user("alice", NOW) == []
    assert sessions.find(other, NOW) is not None


def test_nothing_of_a_session_outlives_it(sessions: Sessions, client: redis.Redis, settings: Settings) -> None:
    sessions.start(claims(seconds=90), NOW)
    lives = {key: client.ttl(key) for key in client.keys("*")}
    assert len(lives) == 2
    assert all(0 < seconds <= settings.session_seconds for seconds in lives.values())
    assert min(lives.values()) <= 91


def test_the_store_holds_nothing_that_can_be_used_as_a_cookie(sessions: Sessions, client: redis.Redis) -> None:
    value = sessions.start(claims(), NOW)
    (session,) = sessions.of_user("alice", NOW)
    assert sessions.find(session.name, NOW) is None
    assert not client.keys(f"*{value}*")
