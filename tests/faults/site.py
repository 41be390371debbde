"""A whole deployment to break: Redis, Belfry, and between or before them a link proxy and an nginx where asked for.

    with site(workers=2, proxied=True) as deployment, Traffic(deployment.belfry) as traffic: ...

A fault is a function of a site and of the traffic on it, see `redis_faults`, `worker_faults` and `client_faults`. It
breaks something while messages flow, sees that it did, and leaves everything in working order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.clock import Clock
from tests.faults.link_proxy import LinkProxy
from tests.faults.traffic import Traffic
from tests.servers import HOST, Belfry, Nginx, RedisServer, Server, free_port

# Short times, so that a fault is noticed soon; and history for all that a run sends.
QUICK: Mapping[str, str] = {
    "BELFRY_HEARTBEAT_SECONDS": "0.5",
    "BELFRY_RETRY_MS": "1000",
    "BELFRY_HISTORY_LENGTH": "100000",
    # The regular check would put everything right in the end: without it, each fault must be noticed for itself.
    "BELFRY_TAIL_CHECK_SECONDS": "300",
}
# Files that outlive a killed process and cost no time to sync.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BACK_SECONDS = 60.0  # until what was broken works again


@dataclass(frozen=True, slots=True)
class Site:
    """What a fault may break. `proxy` lies between Belfry and Redis, `nginx` before Belfry, where there is one.

    `clock` is what Belfry and Redis take for the time of day, where it can be set.
    """

    redis: RedisServer
    belfry: Belfry
    proxy: LinkProxy | None = None
    nginx: Nginx | None = None
    clock: Clock | None = None

    @property
    def port(self) -> int:
        """Where clients go."""
        return self.nginx.port if self.nginx else self.belfry.port

    @property
    def servers(self) -> Mapping[str, Server]:
        """By name, for their logs."""
        found = {"redis": self.redis, "belfry": self.belfry, "nginx": self.nginx}
        return {name: server for name, server in found.items() if server is not None}


Fault = Callable[[Site, Traffic], None]


@contextlib.contextmanager
def site(
    *, workers: int = 1, proxied: bool = False, behind_nginx: bool = False, clocked: bool = False, **environment: str
) -> Iterator[Site]:
    """Start everything, and end it. Redis loses nothing that it answered, also when it is killed."""
    with ExitStack() as started:
        port = free_port()
        options = ("--dir", started.enter_context(TemporaryDirectory(dir=_MEMORY)))
        clock = Clock(Path(started.enter_context(TemporaryDirectory(prefix="belfry-clock-")))) if clocked else None
        store = RedisServer(appendonly=True, port=port, options=options, environment=clock.of_redis if clock else {})
        started.callback(store.destroy)
        store.start()
        proxy = started.enter_context(contextlib.closing(LinkProxy(store.socket_path))) if proxied else None
        redis_url = proxy.url if proxy else f"redis://{HOST}:{port}"
        settings = {**QUICK, **(clock.of_belfry if clock else {}), "WEB_CONCURRENCY": str(workers), **environment}
        belfry = Belfry(redis_url, settings, listen_on="0.0.0.0")  # for clients on a network of their own
        started.callback(belfry.destroy)
        belfry.start()
        nginx = Nginx(belfry.port, reloadable=True) if behind_nginx else None
        if nginx:
            started.callback(nginx.destroy)
            nginx.start()
        yield Site(store, belfry, proxy, nginx, clock)
