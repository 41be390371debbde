"""Where a message went is remembered with its publishing, and forgotten with its retraction."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.logs.delivery import Delivery, deliveries
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.transport.connection import Connection


def message(**fields: Any) -> Message:
    return parse(json.dumps({"id": "m", **fields}).encode(), now=1.0, new_id="", max_recipients=500)


@pytest.fixture
def store(connection: Connection, settings: Settings) -> LogStore:
    return LogStore(connection, settings)


@pytest.fixture
def recipients(store: LogStore, connection: Connection, settings: Settings) -> Recipients:
    return Recipients(store, connection, settings)


def test_every_log_of_a_message_is_remembered_for_a_while(
    client: redis.Redis, store: LogStore, recipients: Recipients, settings: Settings
) -> None:
    users = [f"u{number}" for number in range(300)]  # more than a round trip holds
    (published,) = Publisher(store, recipients).publish([message(to=users)])
    assert len(published.outcomes) == 300
    assert recipients.of("m") == sorted(f"user:{user}" for user in users)
    assert 0 < client.ttl(store.keys.recipients("m")) <= settings.retract_seconds
    Publisher(store, recipients).publish([parse(b'{"to":"a"}', now=1.0, new_id="own", max_recipients=500)])
    assert 0 < client.ttl(store.keys.first_recipients("own")) <= settings.retract_seconds


def test_one_id_in_several_publishes_adds_up(store: LogStore, recipients: Recipients) -> None:
    publisher = Publisher(store, recipients)
    publisher.publish([message(to="a"), message(everyone=True)])
    publisher.publish([message(topic="news")])
    assert recipients.of("m") == ["everyone", "topic:news", "user:a"]


def test_an_id_that_was_made_here_can_be_used_once_more(store: LogStore, recipients: Recipients) -> None:
    publisher = Publisher(store, recipients)
    own = parse(b'{"to":["b","a"]}', now=1.0, new_id="m", max_recipients=500)
    publisher.publish([own])
    assert recipients.of("m") == ["user:a", "user:b"]
    publisher.publish([message(to=["a", "c"])])
    assert recipients.of("m") == ["user:a", "user:b", "user:c"]
    assert recipients.retract("m", recipients.of("m")) == ["user:a", "user:b", "user:c"]
    assert recipients.of("m") == []


def test_a_publish_beside_a_retraction_can_be_retracted_later(store: LogStore, recipients: Recipients) -> None:
    """The retraction knows alice; bob comes; the retraction takes alice's and forgets where it went."""
    publisher = Publisher(store, recipients)
    publisher.publish([message(to="alice")])
    names = recipients.of("m")
    publisher.publish([message(to="bob")])
    assert recipients.retract("m", names) == ["user:alice"]
    assert recipients.retract("m", recipients.of("m")) == ["user:bob"]
    assert recipients.of("m") == []


def test_a_retraction_in_the_midst_of_a_publish_forgets_only_what_it_took(
    store: LogStore, recipients: Recipients
) -> None:
    """Where it goes is written before the message, which takes several round trips to many."""
    sent = message(to=["alice", "bob"])
    store.append([("user:alice", sent)], before=list(recipients.remember([sent])))
    assert recipients.retract("m", recipients.of("m")) == ["user:alice"]
    store.append([("user:bob", sent)])
    assert recipients.retract("m", recipients.of("m")) == ["user:bob"]


def test_what_is_not_kept_is_not_remembered(store: LogStore, recipients: Recipients) -> None:
    Publisher(store, recipients).publish([message(to="a", transient=True)])
    assert recipients.of("m") == []


def test_a_retracted_message_is_in_no_log_and_where_it_was_is_unknown(store: LogStore, recipients: Recipients) -> None:
    Publisher(store, recipients).publish([message(to=["a", "b"])])
    store.retract(["user:a"], "m")
    assert recipients.retract("m", recipients.of("m")) == ["user:b"]
    assert recipients.of("m") == ["user:a"]
    assert recipients.retract("m", recipients.of("m")) == []
    assert deliveries(store, "m", ["user:b"]) == [Delivery("user:b", None, read=False, archived=False, removed=False)]
