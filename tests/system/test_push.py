"""Web Push on a real server with two workers: from a publish to a device, also when a worker or a push service dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from app.launch.demo import new_push_key
from app.store.keys import PUSHES, Keys
from tests.push_service import Browser, PushService, Received, push_service
from tests.servers import START_SECONDS, Belfry, RedisServer
from tests.waiting import wait_until

PUSH_SECONDS = 40.0


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {
        "BELFRY_PUSH_NETWORKS": "127.0.0.0/8",
        "BELFRY_PUSH_DELAY_SECONDS": "0",
        "WEB_CONCURRENCY": "2",
        "BELFRY_PUSH_PRIVATE_KEY": new_push_key(),
        "BELFRY_PUSH_CONCURRENCY": "2",
        "BELFRY_MAX_PUSH_SUBSCRIPTIONS": "3",
    }


@pytest.fixture(scope="module", autouse=True)
def _both_serve(belfry: Belfry) -> None:
    wait_until(belfry.all_serve, START_SECONDS, what="both workers to serve")


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as running:
        yield running


def subscribe(belfry: Belfry, user: str, endpoint: str, browser: Browser | None = None) -> Browser:
    browser = browser or Browser()
    with belfry.reader(user) as api:
        answer = api.request("POST", "/push/subscriptions", json=browser.subscription(endpoint))
    assert answer.status_code == 201, answer.text
    return browser


def received(service: PushService, name: str, count: int = 1, seconds: float = PUSH_SECONDS) -> list[Received]:
    wait_until(lambda: len(service.at(name)) >= count, seconds, what=f"{count} pushes to {name}")
    return service.at(name)


def push(belfry: Belfry, user: str | list[str], **fields: Any) -> str:
    message_id: str = belfry.publish({"to": user, "title": "hi", "push": True, **fields})["id"]
    return message_id


def has_jobs(belfry: Belfry, redis_server: RedisServer, user: str) -> bool:
    """Whether the store has pushes for this user that are not done."""
    due, _ = Keys(belfry.settings_environment["BELFRY_REDIS_PREFIX"]).pushes
    with redis.Redis.from_url(redis_server.url) as client:
        return any(job.endswith(f"/{user}".encode()) for job in client.zrange(due, 0, -1))


def test_a_message_reaches_a_device_and_the_device_marks_it_as_read(
    belfry: Belfry, service: PushService, alice: str
) -> None:
    with belfry.reader(alice) as api:
        assert len(api.request("GET", "/push/key").json()["key"]) == 87
    browser = subscribe(belfry, alice, service.endpoint("phone"))
    message_id = push(belfry, alice, url="/x")
    (told,) = received(service, "phone")
    payload = browser.read(told)
    assert (payload["id"], payload["user"], payload["url"]) == (message_id, alice, "/x")

    anyone = belfry.api()
    forged = {**payload, "id": "another"}
    assert anyone.request("POST", "/push/read", json=forged).json()["code"] == "bad_proof"
    with belfry.stream(alice) as stream:
        assert json.loads(stream.wait_for("ready").data)["unread"] == 1
        assert anyone.request("POST", "/push/read", json=payload).status_code == 204
        assert json.loads(stream.wait_for("read").data)["unread"] == 0


def test_a_message_without_push_and_one_to_a_user_without_device_stay_in_the_feed(
    belfry: Belfry, service: PushService, alice: str, bob: str
) -> None:
    browser = subscribe(belfry, alice, service.endpoint("phone"))
    belfry.publish({"to": alice, "id": "plain"})
    belfry.publish({"to": [bob, alice], "id": "pushed", "push": True})
    assert [browser.read(told)["id"] for told in received(service, "phone")] == ["pushed"]


def test_a_scheduled_message_and_a_batch_are_pushed_too(belfry: Belfry, service: PushService, alice: str) -> None:
    browser = subscribe(belfry, alice, service.endpoint("phone"))
    answer = belfry.publisher.publish({"to": alice, "id": "later", "push": True, "deliver_at": 0.5})
    assert answer.status_code == 202
    belfry.publish_all([{"to": alice, "id": f"line-{number}", "push": True} for number in range(2)])
    told = {browser.read(each)["id"] for each in received(service, "phone", 3)}
    assert told == {"later", "line-0", "line-1"}


def test_a_device_that_was_removed_gets_nothing_more(belfry: Belfry, service: PushService, alice: str) -> None:
    subscribe(belfry, alice, service.endpoint("old"))
    subscribe(belfry, alice, service.endpoint("kept"))
    with belfry.reader(alice) as api:
        answer = api.request("DELETE", "/push/subscriptions", json={"endpoint": service.endpoint("old")})
        assert answer.status_code == 204
        answer = api.request("DELETE", "/push/subscriptions", json={"endpoint": "https://unknown.example/x"})
        assert answer.status_code == 204
    push(belfry, alice)
    received(service, "kept")
    assert service.at("old") == []


def test_a_user_removes_all_devices_at_once(
    belfry: Belfry, service: PushService, redis_server: RedisServer, alice: str, bob: str
) -> None:
    """One of them was added with a stolen token, and only the thief knows its address."""
    for user, name in ((alice, "own"), (alice, "stolen"), (bob, "bob")):
        subscribe(belfry, user, service.endpoint(name))
    with belfry.reader(alice) as api:
        for body in ({}, {"all": False}, {"all": True, "endpoint": service.endpoint("own")}):
            answer = api.request("DELETE", "/push/subscriptions", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_subscription"), body
        assert api.request("DELETE", "/push/subscriptions", json={"all": True}).status_code == 204
    push(belfry, alice)
    wait_until(lambda: not has_jobs(belfry, redis_server, alice), PUSH_SECONDS, what="her push to be done")
    push(belfry, bob)
    received(service, "bob")
    assert {told.path for told in service.received} == {"/push/bob"}


def test_signing_out_ends_the_devices_of_the_session(belfry: Belfry, service: PushService, alice: str) -> None:
    subscribe(belfry, alice, service.endpoint("other"))
    with belfry.api(belfry.token(alice, "feed")) as api:
        assert api.request("POST", "/session").status_code == 201
        del api.headers["Authorization"]
        for cookie in api.cookies:
            cookie.secure = False  # the test speaks http
        answer = api.request("POST", "/push/subscriptions", json=Browser().subscription(service.endpoint("session")))
        assert answer.status_code == 201, answer.text
        assert api.request("DELETE", "/session").status_code == 204
    push(belfry, alice)
    received(service, "other")
    assert service.at("session") == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"endpoint": "https://evil.example/x"}, "BELFRY_PUSH_HOSTS"),
        ({"endpoint": "http://fcm.googleapis.com/x"}, "https"),
        ({"endpoint": "https://169.254.169.254/latest/meta-data"}, "public"),
        ({"endpoint": "https://fcm.googleapis.com/x", "keys": {"p256dh": "AA", "auth": "AA"}}, "p256dh"),
        ({"endpoint": "https://fcm.googleapis.com/x", "expirationTime": 5}, "expirationTime"),
        ({"endpoint": "https://fcm.googleapis.com/x", "expirationTime": 10**400}, "expirationTime"),
        ({"endpoint": "https://fcm.googleapis.com/x", "keys": None}, "keys"),
        ({"endpoint": 5}, "endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/" + "x" * 2_048}, "endpoint"),
    ],
)
def test_a_bad_subscription_is_refused_clearly(belfry: Belfry, alice: str, body: dict[str, Any], told: str) -> None:
    with belfry.reader(alice) as api:
        answer = api.request("POST", "/push/subscriptions", json={**Browser().subscription(""), **body})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_subscription")
    assert told in answer.json()["detail"]


@pytest.mark.parametrize("more", [{"topic": "news"}, {"everyone": True}, {"to": "alice", "transient": True}])
def test_what_can_not_be_pushed_is_refused_clearly(belfry: Belfry, more: dict[str, Any]) -> None:
    answer = belfry.publisher.publish({"title": "hi", "push": True, **more})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_push")
    assert "named users" in answer.json()["detail"]


def test_a_silent_push_service_delays_no_other(belfry: Belfry, service: PushService, alice: str, bob: str) -> None:
    """More pushes wait for it than it has places in both workers."""
    with push_service() as silent:
        for number in range(3):
            name = f"dead-{number}"
            silent.silent.add(f"/push/{name}")
            subscribe(belfry, alice, silent.endpoint(name))
        browser = subscribe(belfry, bob, service.endpoint("phone"))
        for _ in range(3):
            push(belfry, alice)
        wait_until(lambda: len(silent.received) >= 2, PUSH_SECONDS, what="the silent service to be busy")
        push(belfry, bob, id="quick")
        (told,) = received(service, "phone")
        assert browser.read(told)["id"] == "quick"
        assert not silent.released.is_set(), "the silent one has answered nothing yet"


def test_a_push_survives_the_worker_that_had_it(
    belfry: Belfry, service: PushService, redis_server: RedisServer, alice: str
) -> None:
    keys = Keys(belfry.settings_environment["BELFRY_REDIS_PREFIX"])
    browser = subscribe(belfry, alice, service.endpoint("phone"))
    service.silent.add("/push/phone")
    push(belfry, alice, id="held")
    received(service, "phone")
    for worker in belfry.workers():
        os.kill(worker, signal.SIGKILL)
    service.silent.clear()
    service.released.set()
    with redis.Redis.from_url(redis_server.url) as client:
        due, _ = keys.pushes
        (held,) = [job for job in client.zrange(due, 0, -1) if job.startswith(b"held/")]
        assert client.zadd(due, {held: 1}, xx=True, ch=True) == 1, "its lease ends now, and not in a minute"
        client.publish(keys.live(PUSHES), "0")
    told = received(service, "phone", 2)
    assert {browser.read(each)["id"] for each in told} == {"held"}, "the device shows it once, by its id"
