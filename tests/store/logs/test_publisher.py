"""Publishing many messages to many recipients, told apart again in the answers."""

from __future__ import annotations

import json

from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.logs.log import LogStore, Status
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.transport.connection import Connection


def message(to: list[str], message_id: str, title: str) -> Message:
    body = json.dumps({"to": to, "id": message_id, "title": title}).encode()
    return parse(body, now=1.0, new_id="", max_recipients=10)


def publisher_on(connection: Connection, settings: Settings) -> Publisher:
    store = LogStore(connection, settings)
    return Publisher(store, Recipients(store, connection, settings))


def test_each_message_gets_an_outcome_per_recipient_in_order(connection: Connection, settings: Settings) -> None:
    publisher = publisher_on(connection, settings)
    first, second = publisher.publish([message(["a", "b"], "m1", "x"), message(["b"], "m2", "y")])
    assert [outcome.position.offset for outcome in first.outcomes] == [1, 1]
    assert [outcome.position.offset for outcome in second.outcomes] == [2]


def test_a_message_is_a_duplicate_only_when_everybody_had_it(connection: Connection, settings: Settings) -> None:
    publisher = publisher_on(connection, settings)
    publisher.publish([message(["a"], "m", "x")])
    (wider,) = publisher.publish([message(["a", "b"], "m", "x")])
    assert [outcome.status for outcome in wider.outcomes] == [Status.DUPLICATE, Status.APPENDED]
    assert not wider.duplicate
    (again,) = publisher.publish([message(["a", "b"], "m", "x")])
    assert again.duplicate


def test_one_reused_id_marks_the_message(connection: Connection, settings: Settings) -> None:
    publisher = publisher_on(connection, settings)
    publisher.publish([message(["a"], "m", "x")])
    (other,) = publisher.publish([message(["a", "b"], "m", "y")])
    assert other.reused
    assert other.outcomes[1].status is Status.APPENDED


def test_nothing_to_publish_asks_nothing(connection: Connection, settings: Settings) -> None:
    assert publisher_on(connection, settings).publish([]) == []
