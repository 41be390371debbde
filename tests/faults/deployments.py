"""Deployments that a test of a failing store starts: the store's servers, and Belfry on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Protocol

from tests.conftest import absent
from tests.faults.site import QUICK
from tests.servers import Belfry, RedisServer, Server


class StoreServers(Protocol):
    """The servers of a store, by name, and the address under which Belfry finds it."""

    @property
    def servers(self) -> Mapping[str, Server]: ...

    @property
    def url(self) -> str: ...


class Deployments:
    """Starts Belfry on a store. `servers` is what the report of a failed test reads."""

    def __init__(self, stack: ExitStack) -> None:
        if RedisServer.binary() is None:
            absent("Redis or Valkey")
        self.stack = stack
        self.servers: dict[str, Server] = {}

    def start(self, store: StoreServers, environment: Mapping[str, str]) -> Belfry:
        """Start two workers on `store`, which end with the test."""
        belfry = Belfry(store.url, {**QUICK, "WEB_CONCURRENCY": "2", **environment})
        self.stack.callback(belfry.destroy)
        self.servers = {**store.servers, "belfry": belfry}
        return belfry.start()
