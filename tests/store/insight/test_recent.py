"""The latest messages, newest first, in a list that never grows long."""

from __future__ import annotations

import json
from collections.abc import Sequence

import redis

from app.core.message import parse
from app.core.settings import Settings
from app.store.insight.recent import MESSAGES_KEPT, MESSAGES_PER_WRITE, RECIPIENTS_SHOWN, TEXT_MAX, RecentStore
from app.store.keys import Keys
from app.store.logs.log import LogStore
from app.store.logs.publisher import Published, Publisher
from app.store.logs.recipients import Recipients
from app.transport.connection import Command, Connection, Reply


def published(connection: Connection, settings: Settings, **fields: object) -> Published:
    store = LogStore(connection, settings)
    message = parse(json.dumps(fields).encode(), now=0.0, new_id="", max_recipients=100)
    (outcome,) = Publisher(store, Recipients(store, connection, settings)).publish([message])
    return outcome


def test_a_message_is_summed_up(connection: Connection, settings: Settings) -> None:
    recent = RecentStore(connection, settings)
    users = [f"u{number}" for number in range(20)]
    recent.write([("shop", published(connection, settings, id="m", to=users, title="x" * 999, level="error"))])
    assert recent.newest(5) == [
        {
            "id": "m",
            "time": "1970-01-01T00:00:00.000Z",
            "event": "message",
            "level": "error",
            "title": "x" * TEXT_MAX,
            "body": "",
            "by": "shop",
            "recipients": 20,
            "to": users[:RECIPIENTS_SHOWN],
            "reached": 0,
            "stored": 20,
            "duplicates": 0,
        }
    ]


def test_the_list_is_bounded(client: redis.Redis, connection: Connection, settings: Settings) -> None:
    recent = RecentStore(connection, settings)
    first, last = (published(connection, settings, id=each, to="a") for each in ("first", "last"))
    for _ in range(3):
        recent.write([("shop", first)] * MESSAGES_KEPT)
    recent.write([("shop", last)])
    assert [each["id"] for each in recent.newest(2)] == ["last", "first"]
    assert client.xlen(Keys(settings.redis_prefix).recent) <= 2 * MESSAGES_KEPT


def test_a_busy_second_is_written_in_portions_of_one_command_each(connection: Connection, settings: Settings) -> None:
    """Other greenlets of the worker run between two portions. One command costs the worker as much as one message."""
    portions: list[list[int]] = []

    class Counting:
        def run(self, commands: Sequence[Command]) -> list[Reply]:
            replies = connection.run(commands)
            portions.append(replies)
            return replies

    store = RecentStore(Counting(), settings)
    one, last = (published(connection, settings, id=each, to="a") for each in ("m", "last"))
    store.write([*[("shop", one)] * (2 * MESSAGES_PER_WRITE), ("shop", last)])
    assert portions == [[MESSAGES_PER_WRITE], [MESSAGES_PER_WRITE], [1]]
    assert [each["id"] for each in RecentStore(connection, settings).newest(2)] == ["last", "m"]


def test_nothing_to_write_is_nothing(connection: Connection, settings: Settings) -> None:
    RecentStore(connection, settings).write([])
    assert RecentStore(connection, settings).newest(5) == []


def test_a_forgotten_user_is_in_it_no_more(connection: Connection, settings: Settings) -> None:
    recent = RecentStore(connection, settings)
    for id_, to in (("one", "alice"), ("two", ["alice", "bob"]), ("three", "bob")):
        recent.write([("shop", published(connection, settings, id=id_, to=to, title=id_))])
    recent.forget("alice")
    assert [(each["id"], each["to"]) for each in recent.newest(9)] == [("three", ["bob"]), ("two", ["bob"])]
    recent.write([("shop", published(connection, settings, id="four", to="bob"))])
    assert [each["id"] for each in recent.newest(9)] == ["four", "three", "two"]
