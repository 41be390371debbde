"""A Redis and a Belfry for one test alone, which it may break, and traffic on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import absent, starting
from tests.faults.checker import Verdict
from tests.faults.site import QUICK, Fault, Site, site
from tests.faults.traffic import Traffic
from tests.servers import Belfry, RedisServer, Server

StartBelfry = Callable[..., Belfry]
StartSite = Callable[..., Site]
Strike = Callable[..., Verdict]


class Sites:
    """Starts deployments, and shows what their servers logged when the test failed."""

    def __init__(self, stack: ExitStack) -> None:
        self.servers: dict[str, Server] = {}
        self._stack = stack

    def __call__(self, **options: Any) -> Site:
        started = self._stack.enter_context(site(**options))
        self.servers.update(started.servers)
        return started


@pytest.fixture
def start_site() -> Iterator[StartSite]:
    """`start_site(workers=2, proxied=True, BELFRY_RETRY_MS="500")`, see `site`."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        yield Sites(stack)


@pytest.fixture
def strike(start_site: StartSite) -> Strike:
    """Lets one fault happen to a deployment of its own with traffic on it, and answers what the records show.

    With `cuts_nobody` every stream must live through it.
    """

    def run(fault: Fault, *, cuts_nobody: bool = False, **options: Any) -> Verdict:
        deployment = start_site(**options)
        with Traffic(deployment.belfry, port=deployment.port) as traffic:
            fault(deployment, traffic)
            verdict = traffic.finish()
        print(verdict, dict(traffic.book.answers))
        assert verdict.acknowledged > 30
        assert verdict.refused > 0
        cut = {reader.name: dict(reader.ends) for reader in traffic.readers if reader.connections != 1}
        assert not (cuts_nobody and cut), cut
        return verdict

    return run


@pytest.fixture
def start_belfry(own_redis: RedisServer) -> Iterator[StartBelfry]:
    """Starts servers with settings of their own: `start_belfry(WEB_CONCURRENCY="2")`."""
    with starting(own_redis.url, **QUICK) as start:
        yield start
