"""Sessions in the store: found by their cookie, listed by user, ended for good, gone with their time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis

from app.core.identity.revocation import Revocation, RevocationKind, Revoked
from app.core.identity.tokens import Claims
from app.core.settings import Settings
from app.store.identity.revocations import Revocations, StreamPositions
from app.store.identity.sessions import ENDED_AT_ONCE, FRESH_SECONDS, NAME_LENGTH, Sessions, Tickets
from app.store.keys import Keys
from app.transport.connection import Command, Connection, Reply


def now() -> float:
    """Redis ends what is due by its own clock, so no time of the past will do."""
    return time.time()


def claims(user: str = "alice", seconds: float = 600) -> Claims:
    return Claims(user, frozenset({"feed"}), ("news",), None, now() + seconds, "t1", issued_at=now())


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
    found = sessions.find(sessions.start(claims(), now()), now())
    assert found is not None
    assert (found.user, found.topics, found.token_id) == ("alice", ("news",), "t1")
    assert found.scopes == {"feed"}
    assert found.session


def test_a_burst_of_requests_costs_one_round_trip_a_second(sessions: Sessions, counted: Counting) -> None:
    value = sessions.start(claims(), now())
    counted.round_trips = 0
    for step in range(10):
        sessions.find(value, now() + step * FRESH_SECONDS / 10)
    assert counted.round_trips == 1
    sessions.find(value, now() + FRESH_SECONDS)
    assert counted.round_trips == 2


def test_each_operation_is_one_round_trip(sessions: Sessions, counted: Counting) -> None:
    value = sessions.start(claims(), now())
    found = sessions.find(value, now())
    assert found is not None
    sessions.end("alice", found.session, now())
    assert counted.round_trips == 3


def test_an_ended_session_is_unknown_and_everybody_is_told(
    sessions: Sessions, connection: Connection, settings: Settings
) -> None:
    value = sessions.start(claims(), now())
    found = sessions.find(value, now())
    assert found is not None
    sessions.end("alice", found.session, now())
    assert sessions.find(value, now()) is None
    (told,), _, _ = Revocations(connection, settings).after(StreamPositions())
    assert (told.kind, told.name) == (RevocationKind.SESSION, found.session)


def test_a_worker_believes_for_a_second_only_what_another_has_ended(
    sessions: Sessions, connection: Connection, settings: Settings
) -> None:
    value = sessions.start(claims(), now())
    found = sessions.find(value, now())
    assert found is not None
    Sessions(connection, settings).end("alice", found.session, now())
    assert sessions.find(value, now() + FRESH_SECONDS) is None


def test_a_user_s_sessions_are_listed_until_they_end(sessions: Sessions) -> None:
    for seconds in (300, 100, 200):
        sessions.start(claims(seconds=seconds), now())
    sessions.start(claims("bob"), now())
    assert [round(session.expires_at - now()) for session in sessions.of_user("alice", now())] == [100, 200, 300]
    assert len(sessions.of_user("alice", now() + 150)) == 2


def test_all_sessions_of_a_user_end_together(sessions: Sessions) -> None:
    values = [sessions.start(claims(), now()) for _ in range(3)]
    other = sessions.start(claims("bob"), now())
    assert sessions.end_all("alice", now()) == 3
    assert [sessions.find(value, now()) for value in values] == [None] * 3
    assert sessions.of_user("alice", now()) == []
    assert sessions.find(other, now()) is not None


@pytest.fixture
def three_at_most(connection: Connection, settings: Settings) -> Sessions:
    return Sessions(connection, settings.model_copy(update={"max_sessions_per_user": 3}))


def alive(sessions: Sessions, values: Sequence[str]) -> list[bool]:
    return [sessions.find(value, now()) is not None for value in values]


def test_the_oldest_session_ends_where_a_user_has_too_many(three_at_most: Sessions, connection: Connection) -> None:
    until = claims()
    values = [three_at_most.start(until, now() + step) for step in range(5)]
    assert alive(three_at_most, values) == [False, False, True, True, True]
    assert len(three_at_most.of_user("alice", now())) == 3
    told, _, _ = Revocations(connection, Settings()).after(StreamPositions())
    assert {(each.kind, each.name) for each in told} == {
        (RevocationKind.SESSION, hashlib.sha256(value.encode()).hexdigest()[:NAME_LENGTH]) for value in values[:2]
    }


def test_the_oldest_is_the_one_that_began_first_not_the_one_that_would_end_first(three_at_most: Sessions) -> None:
    values = [three_at_most.start(claims(seconds=life), now() + step) for step, life in enumerate((900, 60, 600, 300))]
    assert alive(three_at_most, values) == [False, True, True, True]


def test_sessions_that_have_expired_count_no_more(three_at_most: Sessions) -> None:
    lasting = three_at_most.start(claims(seconds=600), now())
    for step in range(1, 8):
        short = claims(seconds=1.5 * step)
        three_at_most.start(short, short.expires_at - 0.1)
    assert alive(three_at_most, [lasting]) == [True]


def test_sessions_of_before_their_beginnings_were_kept_end_first(
    three_at_most: Sessions, client: redis.Redis, settings: Settings
) -> None:
    former = [three_at_most.start(claims(seconds=5_000), now()) for _ in range(3)]
    client.delete(Keys(settings.redis_prefix).begun("alice"))
    later = [three_at_most.start(claims(), now()) for _ in range(2)]
    assert sum(alive(three_at_most, former)) == 1
    assert alive(three_at_most, later) == [True, True]


def test_a_user_s_sessions_are_removed_by_batches(sessions: Sessions, counted: Counting, client: redis.Redis) -> None:
    keys = Keys("belfry")
    names = {f"name-{number}": now() + 600 for number in range(ENDED_AT_ONCE * 3)}
    client.zadd(keys.sessions("alice"), names)
    client.mset({keys.session(name): "x" for name in names})
    counted.round_trips = 0
    assert sessions.end_all("alice", now()) == len(names)
    assert counted.round_trips == 1 + 3 + 1
    assert client.keys("*") == []


def test_a_session_begun_with_a_clock_that_is_ahead_is_covered_by_what_is_withdrawn_later(sessions: Sessions) -> None:
    ahead = replace(claims(), issued_at=now() + 20)
    found = sessions.find(sessions.start(ahead, now()), now())
    assert found is not None
    assert Revoked([Revocation(RevocationKind.USER, "alice", now())]).covers(found)


def test_nothing_of_a_session_outlives_it(sessions: Sessions, client: redis.Redis, settings: Settings) -> None:
    sessions.start(claims(seconds=90), now())
    lives = {key: client.ttl(key) for key in client.keys("*")}
    assert len(lives) == 3
    assert all(0 < seconds <= settings.session_seconds for seconds in lives.values())
    assert min(lives.values()) <= 91


def test_the_store_holds_nothing_that_can_be_used_as_a_cookie(sessions: Sessions, client: redis.Redis) -> None:
    value = sessions.start(claims(), now())
    (session,) = sessions.of_user("alice", now())
    assert sessions.find(session.name, now()) is None
    assert not client.keys(f"*{value}*")


def test_a_credential_of_a_fast_clock_counts_as_issued_now(
    sessions: Sessions, connection: Connection, settings: Settings
) -> None:
    moment = now()
    ahead = replace(claims(), issued_at=moment + 60)  # a later revocation would not cover it
    tickets = Tickets(connection, settings)
    held = tickets.redeem(tickets.issue(ahead, moment))
    assert held
    assert held.issued_at == moment
    found = sessions.find(sessions.start(ahead, moment), moment)
    assert found
    assert found.issued_at == moment
