"""What workers say of their connections lasts as long as their lease."""

from __future__ import annotations

import pytest
import redis

from app.core.settings import Settings
from app.store.insight.presence import PresenceStore
from app.store.keys import Keys
from app.transport.connection import Connection

NOW = 1_000.0


@pytest.fixture
def presence(connection: Connection, settings: Settings) -> PresenceStore:
    return PresenceStore(connection, settings)


def test_the_connections_of_all_workers_are_listed_together(presence: PresenceStore) -> None:
    presence.renew("w1", {"alice": [{"id": "1"}], "bob": [{"id": "2"}]}, NOW)
    presence.renew("w2", {"alice": [{"id": "3"}]}, NOW)
    assert presence.connections(["alice", "carol"]) == [[{"id": "1"}, {"id": "3"}], []]
    assert presence.everyone(10) == {"alice": [{"id": "1"}, {"id": "3"}], "bob": [{"id": "2"}]}


def test_who_has_left_is_listed_no_more(presence: PresenceStore) -> None:
    presence.renew("w1", {"alice": [{"id": "1"}], "bob": [{"id": "2"}]}, NOW)
    presence.renew("w1", {"alice": []}, NOW)
    assert presence.everyone(10) == {"bob": [{"id": "2"}]}
    presence.end("w1")
    assert presence.everyone(10) == {}


def test_a_lease_ends_by_itself(client: redis.Redis, presence: PresenceStore, settings: Settings) -> None:
    presence.renew("w1", {"alice": [{"id": "1"}]}, NOW)
    keys = Keys(settings.redis_prefix)
    assert 0 < client.ttl(keys.presence_of("w1")) <= settings.lease_seconds
    presence.renew("w2", {}, NOW + settings.lease_seconds + 1)
    assert client.zrange(keys.workers, 0, -1) == [b"w2"]


def test_a_worker_whose_part_was_lost_is_told_so(client: redis.Redis, presence: PresenceStore) -> None:
    presence.renew("w1", {"alice": [{"id": "1"}]}, NOW)
    assert presence.renew("w1", {}, NOW)
    client.flushall()
    assert not presence.renew("w1", {}, NOW)


def test_nobody_connected_is_an_empty_answer(presence: PresenceStore) -> None:
    assert presence.connections(["alice"]) == [[]]
    assert presence.everyone(10) == {}
    assert presence.online(["alice", "bob"]) == [False, False]
