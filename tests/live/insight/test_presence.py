"""What a worker tells of its connections: all of them, in portions, and again what could not be told."""

from __future__ import annotations

import time
from collections.abc import Sequence

import fakeredis
import pytest

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.log.cursor import Position
from app.core.settings import Settings
from app.live.insight.presence import USERS_PER_REPORT, Presence, number_of_one
from app.live.streams.subscriber import ClientInfo, OpenLog, Subscriber
from app.store.insight import directory
from app.store.insight.presence import PresenceStore
from app.transport.connection import Command, Connection, Reply
from tests.live.model import Client as ModelClient
from tests.live.model import ModelSink
from tests.live.streams.test_heartbeat import Nobody

START = (Position("e", 0),)
CROWD = 2 * USERS_PER_REPORT + 1


class Store:
    """Redis, which can fail."""

    def __init__(self) -> None:
        self.connection = Connection(fakeredis.FakeRedis(), directory.SCRIPTS)
        self.largest = 0
        self.fails_in = 0  # round trips; 0: not at all

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        self.fails_in -= 1
        if not self.fails_in:
            raise BelfryError("store_unavailable")
        self.largest = max([self.largest, *[(len(command) - 2) // 2 for command in commands if command[0] == "HSET"]])
        return self.connection.run(commands)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def told(store: Store) -> PresenceStore:
    return PresenceStore(store, Settings(redis_url="redis://unused.invalid"))


@pytest.fixture
def presence(told: PresenceStore) -> Presence:
    presence = Presence(told, 60, time.time)
    for number in range(CROWD):
        connect(presence, f"u{number}")
    return presence


def connect(presence: Presence, user: str) -> Subscriber:
    claims = Claims(user, frozenset(), (), None, time.time() + 600, "token")
    log = OpenLog(f"user:{user}")
    subscriber = Subscriber(Nobody(), claims, (log,), START, ModelSink(ModelClient([]), 0))
    log.add(subscriber)
    presence.connected(subscriber, ClientInfo("127.0.0.1", "test"), number_of_one(), 0)
    return subscriber


def test_a_crowd_is_told_in_portions(presence: Presence, store: Store, told: PresenceStore) -> None:
    presence._tell()
    assert len(told.everyone(CROWD)) == CROWD
    assert store.largest == USERS_PER_REPORT


def test_what_could_not_be_told_is_told_again(presence: Presence, store: Store, told: PresenceStore) -> None:
    store.fails_in = 2
    presence._tell()
    store.fails_in = 0
    assert len(told.everyone(CROWD)) == USERS_PER_REPORT
    presence._tell()
    assert len(told.everyone(CROWD)) == CROWD


def test_who_comes_twice_stays_until_both_have_gone(presence: Presence, told: PresenceStore) -> None:
    first = connect(presence, "alice")
    (log,) = first.logs
    second = Subscriber(Nobody(), first.claims, (log,), START, ModelSink(ModelClient([]), 0))
    log.add(second)
    presence.connected(second, ClientInfo("127.0.0.1", "test"), number_of_one(), 0)
    for leaving, left in ((first, 1), (second, 0)):
        log.remove(leaving)
        presence.disconnected(leaving)
        presence._tell()
        assert len(told.connections(["alice"])[0]) == left
