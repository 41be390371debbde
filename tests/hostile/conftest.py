"""One worker for all of a module's strangers, and the shipped nginx in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import absent
from tests.servers import HOST, Belfry, RedisServer, ShippedNginx


@pytest.fixture(scope="module")
def belfry(redis_server: RedisServer) -> Iterator[Belfry]:
    server = Belfry(redis_server.url)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def nginx(belfry: Belfry) -> Iterator[ShippedNginx]:
    if ShippedNginx.binary() is None:
        absent("nginx")
    server = ShippedNginx(f"{HOST}:{belfry.port}")
    try:
        yield server.start()
    finally:
        server.destroy()
