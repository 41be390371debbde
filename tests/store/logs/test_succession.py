"""On a cluster, a log whose slot moved goes on; one whose server was replaced by a failover tells of a loss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from app.core.errors import BelfryError
from app.core.log.cursor import Position
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.keys import Keys
from app.store.logs.log import SCRIPTS, LogStore
from app.store.logs.succession import NOTE, Succession
from app.transport.connection import Command, Connection
from tests.servers import RedisServer

ALICE = "user:alice"
A, B, C, X = ("a" * 16, "b" * 16, "c" * 16, "e" * 16)


class Server:
    """What one shard's server says of its replication."""

    def __init__(self, id_: str, former: str = "0" * 16) -> None:
        self.id, self.former = id_, former

    def run(self, commands: Sequence[Command]) -> list[Any]:
        assert commands[0] == ("INFO", "replication")
        return [{"master_replid": self.id * 3, "master_replid2": self.former * 3}, *[1 for _ in commands[1:]]]


@pytest.fixture
def shared(client: redis.Redis) -> Connection:
    return Connection(client, [*SCRIPTS, NOTE])


def succession(shared: Any) -> Succession:
    return Succession(shared, Keys("belfry"), 3_600)


def replaced(found: Succession) -> set[str]:
    return set(found.known.split()[1:])


def test_servers_that_took_over_from_none_replaced_none(shared: Connection) -> None:
    found = succession(shared)
    assert found.of("one", Server(A)).look()
    assert found.of("two", Server(X)).look()
    assert found.known == "replaced"
    assert not found.is_outdated(A.encode())
    assert found.is_outdated(B.encode())


def test_a_server_that_took_over_replaced_the_one_before(shared: Connection) -> None:
    found, server = succession(shared), Server(A)
    look = found.of("one", server).look
    look()
    assert not look()
    server.id, server.former = B, A
    assert look()
    assert replaced(found) == {A}


def test_a_worker_that_missed_a_failover_knows_of_both(shared: Connection) -> None:
    found, server = succession(shared), Server(A)
    look = found.of("one", server).look
    look()
    server.id, server.former = C, B
    assert look()
    assert replaced(found) >= {A, B}


def test_a_worker_that_starts_later_learns_of_failovers_that_nobody_saw(shared: Connection) -> None:
    succession(shared).of("one", Server(A)).look()
    other = succession(shared)
    other.of("two", Server(X)).look()
    other.of("one", Server(C, B)).look()
    assert replaced(other) == {A, B}, "and not the other shard's"
    late = succession(shared)
    late.of("one", Server(C, B)).look()
    assert replaced(late) == {A, B}


def test_what_cannot_be_remembered_is_known_here_and_remembered_later(shared: Connection) -> None:
    class Away:
        is_away = True

        def run(self, commands: Sequence[Command]) -> list[Any]:
            if self.is_away:
                raise BelfryError("store_unavailable")
            return shared.run(commands)

    away = Away()
    found = succession(away)
    look = found.of("one", Server(B, A)).look
    look()
    assert replaced(found) == {A}
    away.is_away = False
    look()
    later = succession(shared)
    later.of("two", Server(X)).look()
    assert replaced(later) == {A}


class TestALog:
    """Its meta names the server on which it was used last; the real one has another id."""

    @pytest.fixture
    def store(self, redis_client: redis.Redis, redis_server: RedisServer) -> LogStore:
        assert redis_client.dbsize() == 0
        connection = Connection.open(Settings(redis_url=redis_server.url), [*SCRIPTS, NOTE])
        return LogStore(connection, Settings(), lineage=succession(connection))

    def begin(self, store: LogStore, client: redis.Redis, server: str) -> Position:
        (appended,) = store.append([(ALICE, sent("m"))])
        client.hset(store.keys.meta(ALICE), "lineage", server)
        return appended.position

    def test_whose_slot_moved_goes_on_from_every_position(self, store: LogStore, redis_client: redis.Redis) -> None:
        before = self.begin(store, redis_client, A)
        (page,) = store.read([(ALICE, (before,))])
        assert page.after == 1
        assert page.epoch != before.epoch

    def test_whose_server_was_replaced_begins_a_history_that_no_position_leads_to(
        self, store: LogStore, redis_client: redis.Redis
    ) -> None:
        before = self.begin(store, redis_client, A)
        store.lineage.of("one", Server(B, A)).look()
        (page,) = store.read([(ALICE, (before,))])
        assert page.after is None
        (again,) = store.read([(ALICE, (page.tail,))])
        assert again.after == 1, "told once"

    def test_that_does_not_exist_has_one_beginning_and_a_read_does_not_create_it(
        self, store: LogStore, redis_client: redis.Redis
    ) -> None:
        (begin,) = store.read([(ALICE, ())])
        (tail,) = store.tails([ALICE])
        assert tail is not None
        assert tail.position == begin.tail
        assert redis_client.dbsize() == 0
        store.append([(ALICE, sent("m"))])
        (page,) = store.read([(ALICE, (begin.tail,))])
        assert [entry.offset for entry in page.entries] == [1]


def sent(message_id: str) -> Message:
    return parse(b'{"to":"alice"}', now=time.time(), new_id=message_id, max_recipients=1)
