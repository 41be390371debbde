"""The number of the stored data's format: a server goes on with an older one, and stops at a newer one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from app.core.store_faults import FORMAT
from tests.conftest import absent
from tests.servers import Belfry, RedisServer
from tests.waiting import wait_until

SHARED = {
    "BELFRY_REDIS_PREFIX": "kept",
    "BELFRY_SECRET": "s" * 32,
    "BELFRY_CANARY_SECONDS": "0.1",
    "BELFRY_STORE_CHECK_SECONDS": "1",
}
KEY = "kept:{control}:format"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> RedisServer:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer(options=("--appendonly", "yes"))
    stack.callback(server.destroy)
    return server.start()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


def belfry(server: RedisServer, stack: ExitStack) -> Belfry:
    """One of several servers of the same deployment, not started yet."""
    one = Belfry(server.url, SHARED)
    stack.callback(one.destroy)
    return one


@pytest.mark.parametrize("newer", [str(FORMAT + 1), "999", "2.0-beta"])
def test_a_server_that_meets_a_newer_format_does_not_start_and_changes_nothing(
    server: RedisServer, client: redis.Redis, stack: ExitStack, newer: str
) -> None:
    client.set(KEY, newer)
    old = belfry(server, stack)
    with pytest.raises(AssertionError, match="ended with 4"):
        old.start()
    told = [line for line in old.log().splitlines() if repr(newer) in line]
    assert len(told) == 1, old.log()
    assert f"reads formats up to {FORMAT}" in told[0]
    assert "docs/upgrade.md" in told[0]
    assert client.keys("*") == [KEY]
    assert client.get(KEY) == newer


def test_data_from_before_the_number_go_on_through_a_rolling_restart(
    server: RedisServer, client: redis.Redis, stack: ExitStack
) -> None:
    old = belfry(server, stack).start()
    wait_until(lambda: client.get(KEY) == str(FORMAT), what="the number to be stored")
    client.delete(KEY)  # as an earlier version left the store
    with old.stream("alice") as stream:
        stream.wait_for("ready")
        old.publish({"to": "alice", "id": "one"})
        stream.wait_for_messages(1)
        cursor = stream.cursor
    old.publish({"to": "alice", "id": "two"})
    new = belfry(server, stack).start()
    wait_until(lambda: client.get(KEY) == str(FORMAT), what="the number to be stored again")
    new.publish({"to": "alice", "id": "three"})
    assert old.terminate() == 0
    with new.stream("alice", cursor=cursor) as stream:
        assert [message["id"] for message in stream.wait_for_messages(2)] == ["two", "three"]
        assert "reset" not in [event.event for event in stream.events]


def test_a_server_that_runs_while_the_format_is_raised_is_not_ready(
    server: RedisServer, client: redis.Redis, stack: ExitStack
) -> None:
    running = belfry(server, stack).start()
    wait_until(lambda: running.api().get("/health/ready").ok, what="it to be ready")
    client.set(KEY, str(FORMAT + 1))

    def is_told() -> bool:
        answer = running.api().get("/health/ready")
        return answer.status_code == 503 and "docs/upgrade.md" in answer.json()["detail"]

    wait_until(is_told, what="readiness to tell")
    client.set(KEY, str(FORMAT))
    wait_until(lambda: running.api().get("/health/ready").ok, what="it to be ready again")
