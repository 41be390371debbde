"""The pushes that wait: stored by the publish, claimed under a lease, and known by their ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.logs.delivery import unhandled
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.store.push.pushes import LEASE_SECONDS, DeviceLeft, Pushes, PushJob
from app.store.push.subscriptions import Subscriptions
from app.transport.connection import Connection

NOW = 1_800_000_000.0
DUE = "belfry:{pushes}:due"


@pytest.fixture
def own(settings: Settings) -> Settings:
    return settings.model_copy(update={"push_delay_seconds": 0, "max_pushes": 100})


@pytest.fixture
def pushes(connection: Connection, own: Settings) -> Pushes:
    return Pushes(connection, own, lambda: NOW)


@pytest.fixture
def logs(connection: Connection, own: Settings) -> LogStore:
    return LogStore(connection, own)


@pytest.fixture
def publisher(connection: Connection, own: Settings, logs: LogStore, pushes: Pushes) -> Publisher:
    return Publisher(logs, Recipients(logs, connection, own), pushes.add)


@pytest.fixture(autouse=True)
def _devices(connection: Connection, own: Settings) -> None:
    for user in ("alice", "bob"):
        claims = Claims(user, frozenset(), (), None, 9e9, "t")
        Subscriptions(connection, own).add(f"https://{user}", ("p", "a"), claims, NOW, 600)


def message(name: str = "m", to: object = "alice", **fields: Any) -> Message:
    text = json.dumps({"id": name, "to": to, "push": True, **fields})
    return parse(text.encode(), now=NOW, new_id="", max_recipients=500)


PUSH = f"m/{message().digest.decode()}/alice"


def claimed(pushes: Pushes, count: int = 100) -> list[PushJob]:
    return pushes.claim(count).jobs


def test_a_publish_stores_one_push_for_each_recipient_with_a_device(publisher: Publisher, pushes: Pushes) -> None:
    users = [f"u{number}" for number in range(120)]
    publisher.publish([message(to=["alice", *users, "bob"])])
    found = claimed(pushes)
    assert sorted((job.message_id, job.user, job.since_ms, job.left) for job in found) == [
        ("m", "alice", int(NOW * 1_000), None),
        ("m", "bob", int(NOW * 1_000), None),
    ]


def test_a_message_without_push_and_a_user_without_device_leave_nothing(
    publisher: Publisher, client: redis.Redis
) -> None:
    before = set(client.keys("*pushes*"))
    publisher.publish([message(push=False), message("n", to="carol")])
    assert set(client.keys("*pushes*")) == before


def test_a_repeated_publish_pushes_once_also_after_the_push_is_over(publisher: Publisher, pushes: Pushes) -> None:
    publisher.publish([message()])
    publisher.publish([message()])
    (job,) = claimed(pushes)
    pushes.finish(job)
    publisher.publish([message()])
    assert claimed(pushes) == []


def test_a_push_whose_message_was_never_appended_may_be_stored_again(
    connection: Connection, pushes: Pushes, publisher: Publisher, logs: LogStore
) -> None:
    """The worker died between the two."""
    connection.run(list(pushes.add([message()])))
    (job,) = claimed(pushes)
    assert unhandled(logs, "alice", "m", NOW) == (False, "", None)
    pushes.finish(job, appended=False)
    publisher.publish([message()])
    assert [job.message_id for job in claimed(pushes)] == ["m"]


def test_a_repeated_publish_renews_the_memory_of_its_push(
    publisher: Publisher, pushes: Pushes, client: redis.Redis
) -> None:
    publisher.publish([message()])
    (job,) = claimed(pushes)
    pushes.finish(job)
    client.expire(f"belfry:{{pushes}}:done:{PUSH}", 5)
    publisher.publish([message()])
    assert client.ttl(f"belfry:{{pushes}}:done:{PUSH}") > 60
    assert claimed(pushes) == []


def test_a_push_is_kept_if_its_publish_is_repeated_while_a_worker_gives_it_up(
    connection: Connection, own: Settings, pushes: Pushes, client: redis.Redis
) -> None:
    connection.run(list(pushes.add([message()])))
    (job,) = claimed(pushes)
    connection.run(list(Pushes(connection, own, lambda: NOW + 29).add([message()])))
    pushes.again(job, 0)
    client.zadd(DUE, {PUSH: 1}, xx=True)
    (job,) = claimed(pushes)
    assert job.since_ms == (NOW + 29) * 1_000, "the worker waits as long for the message of the repetition"
    connection.run(list(Pushes(connection, own, lambda: NOW + 58).add([message()])))
    pushes.finish(job, appended=False)
    client.zadd(DUE, {PUSH: 1}, xx=True)
    (again,) = claimed(pushes)
    assert again.since_ms == (NOW + 58) * 1_000
    assert again.id == PUSH
    pushes.finish(again, appended=False)
    client.zadd(DUE, {PUSH: 1}, xx=True)
    assert claimed(pushes) == [], "nobody has published it since"


def test_a_claimed_push_comes_back_when_its_lease_has_ended(
    publisher: Publisher, pushes: Pushes, client: redis.Redis
) -> None:
    publisher.publish([message()])
    (first,) = claimed(pushes)
    found = pushes.claim(9)
    assert found.jobs == []
    assert found.next_seconds is not None
    assert LEASE_SECONDS - 5 < found.next_seconds <= LEASE_SECONDS
    client.zadd(DUE, {PUSH: 1})
    (second,) = claimed(pushes)
    assert second.claim != first.claim
    pushes.finish(first)
    pushes.again(first, 0)
    assert claimed(pushes) == [], "the first worker no longer has it"
    client.zadd(DUE, {PUSH: 1})
    (third,) = claimed(pushes)
    pushes.finish(third)
    assert pushes.claim(9) == ([], None)


def test_a_push_that_is_tried_again_keeps_what_is_left(publisher: Publisher, pushes: Pushes) -> None:
    publisher.publish([message()])
    (job,) = claimed(pushes)
    left = (DeviceLeft("d1", at_ms=5, tries=2, failed_ms=4), DeviceLeft("d2", waits=1))
    pushes.again(job._replace(left=left), 0)
    (job,) = claimed(pushes)
    assert (job.left, job.since_ms) == (left, int(NOW * 1_000))
    pushes.again(job, 60)
    found = pushes.claim(9)
    assert found.jobs == []
    assert 50 < (found.next_seconds or 0) <= 60


def test_a_claim_takes_so_many_and_no_more(publisher: Publisher, pushes: Pushes) -> None:
    publisher.publish([message(f"m{number}") for number in range(5)])
    assert [len(claimed(pushes, 2)) for _ in range(3)] == [2, 2, 1]


def test_a_push_waits_as_long_as_the_settings_say(connection: Connection, own: Settings) -> None:
    later = Pushes(connection, own.model_copy(update={"push_delay_seconds": 90}), lambda: NOW)
    connection.run(list(later.add([message()])))
    found = later.claim(9)
    assert found.jobs == []
    assert 80 < (found.next_seconds or 0) <= 90


def test_workers_are_told_of_the_first_push(connection: Connection, pushes: Pushes, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("belfry:{pushes}:live")
        heard.get_message(timeout=60)
        connection.run(list(pushes.add([message()])))
        told = heard.get_message(timeout=60)
        assert told is not None
        assert told["data"] == b"0"


def test_one_push_too_many_refuses_the_publish(publisher: Publisher, pushes: Pushes) -> None:
    publisher.publish([message(f"m{number}") for number in range(100)])
    with pytest.raises(BelfryError) as refused:
        publisher.publish([message("more")])
    assert refused.value.code == "store_unavailable"
    assert "BELFRY_MAX_PUSHES" in refused.value.detail
    for job in claimed(pushes, 200):
        pushes.finish(job)
    publisher.publish([message("more")])
    assert [job.message_id for job in claimed(pushes)] == ["more"]
