"""Every store test runs twice: on fakeredis, and on the real server."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis

from app.core.settings import Settings
from app.store.conversations import conversations
from app.store.insight import directory, figures, flights, recent
from app.store.logs import lineage, log
from app.store.push import pushes, subscriptions
from app.store.runs import runs
from app.store.timers import timers
from app.transport.connection import Connection
from tests.servers import RedisServer


@pytest.fixture(params=["fakeredis", "server"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """An empty store."""
    if request.param == "fakeredis":
        with fakeredis.FakeRedis(protocol=2) as fake:
            yield fake
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url, protocol=2) as real:
        real.flushall()
        yield real


@pytest.fixture
def connection(client: redis.Redis) -> Connection:
    modules = (log, lineage, runs, conversations, figures, directory, flights, recent, timers, subscriptions, pushes)
    return Connection(client, [script for module in modules for script in module.SCRIPTS])


@pytest.fixture
def settings() -> Settings:
    return Settings(
        redis_url="redis://unused.invalid",
        history_length=5,
        history_seconds=3_600,
        dedup_seconds=600,
        own_id_seconds=120,
    )
