"""Users are found by the beginning of their ids, and whoever was seen longest ago is forgotten first."""

from __future__ import annotations

import pytest
import redis

from app.core.settings import Settings
from app.store.insight.directory import Directory, KnownUser
from app.store.insight.presence import PresenceStore
from app.store.keys import Keys
from app.transport.connection import Connection

NOW = 1_800_000_000.0
MOST = 100


@pytest.fixture
def settings() -> Settings:
    return Settings(redis_url="redis://unused.invalid", known_users=MOST, history_seconds=3_600)


@pytest.fixture
def directory(connection: Connection, settings: Settings) -> Directory:
    return Directory(connection, settings)


def see(directory: Directory, *users: str, at: float = NOW) -> None:
    directory.write([KnownUser(user, at) for user in users])


def names(directory: Directory, prefix: str, limit: int = 10) -> list[str]:
    return [found.user for found in directory.search(prefix, limit)]


def visitors(directory: Directory) -> dict[str, bool]:
    return {user: visited for user, _, visited in directory.search("", 10)}


def test_users_are_found_by_the_beginning_of_their_ids(directory: Directory) -> None:
    see(directory, "bob", "alina", "alice", "ålice", "al", "alice", "Alice")
    assert names(directory, "al") == ["al", "alice", "alina"]
    assert names(directory, "ali", limit=1) == ["alice"]
    assert names(directory, "å") == ["ålice"]
    assert names(directory, "bobby") == []
    assert len(names(directory, "")) == directory.count() == 6


def test_nobody_is_known_at_first(directory: Directory) -> None:
    assert names(directory, "") == []
    assert directory.newest(3) == []
    directory.write([])
    assert directory.count() == 0


def test_when_they_were_seen_is_told(directory: Directory) -> None:
    see(directory, "alice", at=NOW)
    see(directory, "bob", at=NOW + 9)
    see(directory, "alice", at=NOW + 5)
    assert directory.search("a", 1) == [KnownUser("alice", NOW + 5)]
    assert directory.newest(10) == ["bob", "alice"]
    assert directory.newest(1) == ["bob"]


def test_of_too_many_those_are_forgotten_who_were_seen_longest_ago(directory: Directory) -> None:
    for number in range(MOST):
        see(directory, f"old-{number:03}", at=NOW + number)
    see(directory, "new-1", "new-2", at=NOW + MOST)
    assert directory.count() == MOST
    assert names(directory, "old-", 3) == ["old-002", "old-003", "old-004"]
    assert names(directory, "new-") == ["new-1", "new-2"]


def test_who_was_not_seen_for_as_long_as_a_feed_is_kept_is_forgotten(directory: Directory) -> None:
    see(directory, "alice", at=NOW)
    see(directory, "bob", at=NOW + 3_601)
    assert names(directory, "") == ["bob"]


def test_nothing_outlives_the_feeds(directory: Directory, client: redis.Redis, settings: Settings) -> None:
    see(directory, "alice")
    keys = Keys(settings.redis_prefix)
    assert 0 < client.ttl(keys.user_names) <= 3_600
    assert 0 < client.ttl(keys.users_seen) <= 3_600


def test_a_user_can_be_forgotten(directory: Directory) -> None:
    see(directory, "alice", "bob")
    directory.forget("alice")
    assert (names(directory, ""), directory.newest(2)) == (["bob"], ["bob"])


def test_what_is_told_late_of_a_forgotten_user_is_not_taken_in(
    directory: Directory, client: redis.Redis, settings: Settings
) -> None:
    see(directory, "alice", "bob")
    directory.forget("alice")
    see(directory, "alice", "carol")
    assert names(directory, "") == ["bob", "carol"]
    client.delete(Keys(settings.redis_prefix).user_forgotten("alice"))  # it ends by itself
    see(directory, "alice")
    assert names(directory, "") == ["alice", "bob", "carol"]


def test_a_user_who_only_received_messages_has_not_visited(directory: Directory) -> None:
    """However many messages go to a misspelt id, nobody was there."""
    for at in (NOW, NOW + 1):
        directory.write([KnownUser("alcie", at, visited=False), KnownUser("alice", at)])
    assert visitors(directory) == {"alcie": False, "alice": True}


def test_a_visitor_stays_one_whatever_comes_afterwards(directory: Directory) -> None:
    directory.write([KnownUser("alice", NOW, visited=False)])
    directory.write([KnownUser("alice", NOW + 1)])
    directory.write([KnownUser("alice", NOW + 2, visited=False)])
    assert directory.search("", 9) == [KnownUser("alice", NOW + 2, visited=True)]


def test_what_is_known_of_visits_goes_with_the_user(
    directory: Directory, client: redis.Redis, settings: Settings
) -> None:
    keys = Keys(settings.redis_prefix)
    directory.write([KnownUser(user, NOW, visited=False) for user in ("alcie", "bbo")])
    assert 0 < client.ttl(keys.users_awaited) <= 3_600
    directory.forget("alcie")
    see(directory, "carol", at=NOW + 3_601)  # bbo was not seen for as long as a feed is kept
    assert not client.exists(keys.users_awaited)


def test_whoever_connects_is_known_and_not_whoever_left(
    directory: Directory, connection: Connection, settings: Settings
) -> None:
    PresenceStore(connection, settings).renew("w1", {"alice": [{"id": "1"}], "bob": []}, NOW)
    assert directory.search("", 9) == [KnownUser("alice", NOW)]
