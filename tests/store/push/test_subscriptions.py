"""The devices of each user: added, replaced, taken over and forgotten."""

from __future__ import annotations

import pytest
import redis

from app.core.identity.tokens import Claims
from app.core.settings import Settings
from app.store.push.subscriptions import Subscriptions, name_of
from app.transport.connection import Connection

ALICE = Claims("alice", frozenset({"feed"}), (), None, 9e9, "t1", 5.0, session="s1")
BOB = Claims("bob", frozenset({"feed"}), (), None, 9e9, "t2", 6.0)
KEYS = ("p", "a")
LONG = 600


@pytest.fixture
def devices(connection: Connection, settings: Settings) -> Subscriptions:
    return Subscriptions(connection, settings.model_copy(update={"max_push_subscriptions": 3}))


def endpoints(devices: Subscriptions, user: str) -> list[str]:
    return [device.endpoint for device in devices.of_user(user)]


def test_a_device_is_kept_with_its_credential(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    (device,) = devices.of_user("alice")
    assert (device.endpoint, device.keys, device.name) == ("https://a", KEYS, name_of("https://a"))
    credential = device.credential
    assert (credential.user, credential.token_id, credential.issued_at, credential.session) == (
        "alice",
        "t1",
        5.0,
        "s1",
    )
    assert devices.of_user("bob") == []


def test_a_device_keeps_the_time_of_its_first_subscription_until_another_user_has_it(devices: Subscriptions) -> None:
    for user, now in ((ALICE, 10.25), (ALICE, 20)):
        devices.add("https://a", KEYS, user, now, LONG)
    assert [device.since for device in devices.of_user("alice")] == [10.25]
    devices.add("https://a", KEYS, BOB, 30, LONG)
    devices.add("https://a", KEYS, ALICE, 40, LONG)
    assert [device.since for device in devices.of_user("alice")] == [40]


def test_a_device_belongs_to_the_user_who_subscribed_last(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    devices.add("https://a", KEYS, BOB, 11, LONG)
    assert (endpoints(devices, "alice"), endpoints(devices, "bob")) == ([], ["https://a"])
    devices.remove("https://a", "alice")
    assert endpoints(devices, "bob") == ["https://a"], "alice can't remove what is bob's now"
    devices.remove("https://a", "bob")
    assert endpoints(devices, "bob") == []


def test_a_user_whose_name_begins_like_anothers_gets_no_device_of_that_one(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, BOB, 10, LONG)
    devices.remove("https://a", "bo")
    assert endpoints(devices, "bob") == ["https://a"]


def test_the_oldest_device_goes_when_there_are_too_many(devices: Subscriptions, client: redis.Redis) -> None:
    for number in range(3):
        devices.add(f"https://{number}", KEYS, ALICE, number, LONG)
    devices.add("https://0", KEYS, ALICE, 3, LONG)
    devices.add("https://3", KEYS, ALICE, 4, LONG)
    assert sorted(endpoints(devices, "alice")) == ["https://0", "https://2", "https://3"]
    assert not client.exists(f"belfry:{{pushes}}:device:{name_of('https://1')}"), "nothing of it is left"


def test_a_device_ends_after_a_while_and_the_list_with_it(devices: Subscriptions, client: redis.Redis) -> None:
    devices.add("https://a", KEYS, ALICE, 10, 60)
    assert 0 < client.ttl(f"belfry:{{pushes}}:device:{name_of('https://a')}") <= 60
    assert client.ttl("belfry:{pushes}:of:alice") > 60
    client.delete(f"belfry:{{pushes}}:device:{name_of('https://a')}")
    assert devices.of_user("alice") == []


def test_a_device_does_not_outlive_the_memory_of_a_revocation(
    connection: Connection, settings: Settings, client: redis.Redis
) -> None:
    short = settings.model_copy(update={"push_subscription_seconds": 9_000, "revocation_seconds": 50})
    Subscriptions(connection, short).add("https://a", KEYS, ALICE, 10, LONG)
    assert 0 < client.ttl(f"belfry:{{pushes}}:device:{name_of('https://a')}") <= 50


def test_a_device_that_has_subscribed_again_is_not_ended_by_an_older_answer(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    (device,) = devices.of_user("alice")
    devices.add("https://a", ("other", "a"), ALICE, 11, LONG)
    devices.end(device)
    assert endpoints(devices, "alice") == ["https://a"]
    (device,) = devices.of_user("alice")
    devices.end(device)
    assert endpoints(devices, "alice") == []


def test_a_session_that_ends_takes_its_devices_along(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    devices.add("https://b", KEYS, Claims("alice", frozenset(), (), None, 9e9, "t3"), 11, LONG)
    devices.end_session("alice", "s1")
    assert endpoints(devices, "alice") == ["https://b"]


def test_a_session_that_is_replaced_keeps_its_devices_until_the_new_one_ends(devices: Subscriptions) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    devices.end_session("alice", "s1", "s2")
    devices.end_session("alice", "unknown", "s3")
    devices.end_session("alice", "s1")
    assert endpoints(devices, "alice") == ["https://a"]
    devices.end_session("alice", "s2")
    assert endpoints(devices, "alice") == []


def test_a_forgotten_user_leaves_nothing(devices: Subscriptions, client: redis.Redis) -> None:
    devices.add("https://a", KEYS, ALICE, 10, LONG)
    devices.add("https://b", KEYS, ALICE, 10, LONG)
    devices.forget("alice")
    assert client.keys("*") == []
