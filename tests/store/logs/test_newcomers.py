"""A user's first visit: broadcasts from before it start as read, those from later do not, and own messages never do."""

from __future__ import annotations

import json
import time

import pytest
import redis

from app.core.log.change import Change
from app.core.log.marks import Mark
from app.core.message import parse
from app.core.settings import Settings
from app.store.keys import EVERYONE, Keys, topic_log, user_log
from app.store.logs.log import LogStore
from app.store.logs.newcomers import Newcomers
from app.store.logs.read_state import ReadState
from app.transport.connection import Connection

LOGS = (user_log("alice"), EVERYONE, topic_log("news"))


class World:
    """A store with the setting on; `arrive` is alice's visit at a worker that has not met her."""

    def __init__(self, client: redis.Redis, connection: Connection, settings: Settings) -> None:
        self.client, self.connection = client, connection
        self.settings = settings.model_copy(update={"new_users_start_read": True})
        self.store = LogStore(connection, self.settings)
        self.read_state = ReadState(self.store, connection, self.settings)
        self.keys = Keys(self.settings.redis_prefix)

    def publish(self, name: str, message_id: str) -> None:
        body = json.dumps({"to": "alice", "id": message_id}).encode()
        self.store.append([(name, parse(body, now=time.time(), new_id="own", max_recipients=10))])

    def arrive(self) -> Newcomers:
        newcomers = Newcomers(self.read_state, self.connection, self.settings)
        newcomers.welcome("alice", LOGS)
        return newcomers

    def unread(self) -> int:
        pages = self.store.read([(name, ()) for name in LOGS], "alice")
        return sum(page.unread(page.top) for page in pages)


@pytest.fixture
def world(client: redis.Redis, connection: Connection, settings: Settings) -> World:
    return World(client, connection, settings)


def test_broadcasts_from_before_the_first_visit_are_read_and_own_messages_are_not(world: World) -> None:
    for name in LOGS:
        world.publish(name, "before")
    world.arrive()
    assert world.unread() == 1


def test_broadcasts_from_after_the_first_visit_stay_unread_at_the_next(world: World) -> None:
    world.publish(EVERYONE, "before")
    newcomers = world.arrive()
    world.publish(EVERYONE, "after")
    newcomers.welcome("alice", LOGS)  # the same worker
    world.arrive()  # another one
    assert world.unread() == 1


def test_a_first_visit_when_there_is_no_broadcast_counts(world: World) -> None:
    world.arrive()
    world.publish(EVERYONE, "after")
    world.arrive()
    assert world.unread() == 1
    assert not world.client.exists(world.keys.log(LOGS[0])), "a read made a log"


def test_a_user_with_marks_was_here_before_the_setting_was_turned_on(world: World) -> None:
    world.publish(LOGS[0], "own")
    world.publish(EVERYONE, "before")
    world.read_state.change("alice", LOGS, Change(Mark.READ, on=True, ids=("own",)))
    world.arrive()
    assert world.unread() == 1


def test_a_visit_is_remembered_longer_than_messages_and_each_visit_prolongs_that(world: World) -> None:
    world.arrive()
    visited = world.keys.visited("alice")
    assert world.settings.history_seconds < world.client.ttl(visited) <= 2 * world.settings.history_seconds
    world.client.expire(visited, 5)
    world.arrive()
    assert world.client.ttl(visited) > world.settings.history_seconds


def test_a_worker_asks_once_about_a_user(world: World) -> None:
    newcomers = world.arrive()
    world.client.delete(world.keys.visited("alice"))
    newcomers.welcome("alice", LOGS)
    assert not world.client.exists(world.keys.visited("alice"))


def test_a_user_who_is_forgotten_is_new_again(world: World) -> None:
    world.arrive()
    world.read_state.forget("alice")
    assert not world.client.exists(world.keys.visited("alice"))


def test_without_the_setting_nothing_is_asked_or_kept(world: World, settings: Settings) -> None:
    world.publish(EVERYONE, "before")
    Newcomers(world.read_state, world.connection, settings).welcome("alice", LOGS)
    assert world.unread() == 1
    assert not world.client.exists(world.keys.visited("alice"))
