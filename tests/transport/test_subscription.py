"""The subscriber connection, on a real server."""

from __future__ import annotations

import time

import pytest
import redis

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.transport.subscription import Push, PushKind, Subscription
from tests.servers import RedisServer
from tests.waiting import patient


@pytest.fixture
def subscription(redis_server: RedisServer) -> Subscription:
    return Subscription.open(Settings(redis_url=redis_server.url))


def test_each_channel_is_acknowledged_in_order_and_messages_follow(
    subscription: Subscription, redis_client: redis.Redis
) -> None:
    subscription.subscribe(["one", "two"])
    assert [subscription.receive() for _ in range(2)] == [
        Push(PushKind.SUBSCRIBED, b"one", b""),
        Push(PushKind.SUBSCRIBED, b"two", b""),
    ]
    redis_client.publish("two", "hi")
    assert subscription.receive() == Push(PushKind.MESSAGE, b"two", b"hi")
    subscription.unsubscribe(["one"])
    assert subscription.receive() == Push(PushKind.UNSUBSCRIBED, b"one", b"")
    subscription.close()


def test_a_ping_is_answered_before_and_after_subscribing(subscription: Subscription) -> None:
    subscription.ping()
    assert subscription.receive().kind is PushKind.PONG
    subscription.subscribe(["one"])
    subscription.receive()
    subscription.ping()
    assert subscription.receive().kind is PushKind.PONG
    subscription.close()


def test_a_killed_connection_is_told_at_once(subscription: Subscription, redis_client: redis.Redis) -> None:
    subscription.subscribe(["one"])
    subscription.receive()
    redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    started = time.monotonic()
    with pytest.raises(BelfryError) as refusal:
        subscription.receive()
    assert refusal.value.code == "store_unavailable"
    assert time.monotonic() - started < patient(20)


def test_no_server_is_told_by_name() -> None:
    with pytest.raises(BelfryError) as refusal:
        Subscription.open(Settings(redis_url="unix:///nonexistent/socket"))
    assert refusal.value.code == "store_unavailable"


def test_a_closed_link_stays_closed(subscription: Subscription) -> None:
    subscription.subscribe(["one"])
    subscription.close()
    with pytest.raises(BelfryError) as refusal:
        subscription.ping()
    assert refusal.value.code == "store_unavailable"
