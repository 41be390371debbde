"""A Redis and a Belfry for one test alone, which it may break, and traffic on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import absent
from tests.servers import Belfry, RedisServer

StartBelfry = Callable[..., Belfry]

# Short times, so that a fault is noticed soon; and history for all that a test sends.
QUICK = {
    "BELFRY_HEARTBEAT_SECONDS": "0.5",
    "BELFRY_RETRY_MS": "1000",
    "BELFRY_HISTORY_LENGTH": "50000",
    # The regular check would put everything right in the end: without it, each fault must be noticed for itself.
    "BELFRY_TAIL_CHECK_SECONDS": "300",
}


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """It loses nothing that it answered, also when it is killed."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer(appendonly=True)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def start_belfry(own_redis: RedisServer) -> Iterator[StartBelfry]:
    """Starts servers with settings of their own: `start_belfry(WEB_CONCURRENCY="2")`."""
    with ExitStack() as started:

        def start(redis_url: str = own_redis.url, **environment: str) -> Belfry:
            server = Belfry(redis_url, {**QUICK, **environment})
            started.callback(server.destroy)
            return server.start()

        yield start


@pytest.fixture
def belfry(start_belfry: StartBelfry) -> Belfry:
    return start_belfry()


@pytest.fixture
def belfry_of_two(start_belfry: StartBelfry) -> Belfry:
    return start_belfry(WEB_CONCURRENCY="2")
