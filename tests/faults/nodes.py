"""Several nodes, each in a network of its own, behind a proxy with the configuration that is shipped for it.

    with Nodes(NodesNginx, 3) as nodes, Traffic(nodes.front, port=nodes.proxy.port) as traffic:
        nodes[0].kill()

Each node has one cable to the proxy and one to Redis, so it can lose Redis and still be reached. All nodes listen on
the same port, as the shipped configurations say. The proxy finds them by name, as it does in Docker and Kubernetes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import requests

from tests.faults.names import Names
from tests.faults.network import Network
from tests.faults.site import QUICK
from tests.servers import HOST, REPOSITORY, Belfry, RedisServer, Server, ShippedNginx, changed, free_port
from tests.waiting import wait_until

PORT = 8_000  # of every node
BACK_SECONDS = 60.0  # until what was broken works again
UNKNOWN_PUBLISHERS = 'belfry_requests_total{route="/publish",status="401"}'
LAME_DUCK_SECONDS = 10.0  # the readiness of a node that leaves is looked at meanwhile
# The proxies look for nodes more often than the shipped files say, and nodes leave as much sooner.
LOOK_SECONDS = 0.5
ENVIRONMENT: Mapping[str, str] = {
    **QUICK,
    "BELFRY_AWAY_SECONDS": "1",
    "BELFRY_CANARY_SECONDS": "0.5",
    "BELFRY_REDIS_TIMEOUT_SECONDS": "2",  # less would refuse messages while a busy machine lets Redis wait
    "BELFRY_DRAIN_SECONDS": "2",
    "BELFRY_LAME_DUCK_SECONDS": str(LAME_DUCK_SECONDS),
}


class Node(Belfry):
    """One node. `store` is its cable to Redis."""

    def __init__(self, redis_port: int, network: Network, environment: Mapping[str, str]) -> None:
        self.network = network
        self.store = network.add_cable()
        super().__init__(
            f"redis://{self.store.near}:{redis_port}",
            environment,
            listen_on="0.0.0.0",
            host=network.far,
            port=PORT,
        )

    def command(self) -> Sequence[str | Path]:
        return [*self.network.command(), *super().command()]

    def is_serving(self) -> bool:
        """Whether it says that it is ready."""
        return self.readiness() == 200

    def readiness(self) -> int | None:
        """The status at `/health/ready`, over a new connection; 0 where that is refused, None without an answer."""
        try:
            return requests.get(f"{self.url}/health/ready", timeout=1).status_code
        except requests.Timeout:
            return None
        except requests.ConnectionError:
            return 0

    def readiness_seconds(self) -> float:
        """How long that takes at its quickest, so that a busy machine does not count, and a wait for Redis does."""
        with self.api() as api:
            return min(api.get("/health/ready").elapsed.total_seconds() for _ in range(5))

    def metric(self, name: str) -> float:
        """The sum of all metrics whose names, with their labels, begin like this."""
        told = self.api().get("/metrics").text
        return sum(float(line.split()[-1]) for line in told.splitlines() if line.startswith(name))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def has_ended(self) -> bool:
        """Whether its processes are gone after SIGTERM."""
        assert self._process is not None
        return self._process.poll() is not None


class Front(Belfry):
    """All nodes as their clients see them: one server, at the proxy. It has no process, so `port` is nobody's."""

    def __init__(self, port: int, environment: Mapping[str, str]) -> None:
        super().__init__("redis://unused", environment)
        self.url = f"http://{HOST}:{port}"


class NodesNginx(ShippedNginx):
    """nginx with `deploy/nodes/nginx.conf`. Like a service of Kubernetes, `names` has only nodes that are ready."""

    shipped = "nodes/nginx.conf"
    asks_nodes = False

    def upstream(self, address: str) -> None:
        """Write the configuration with the name server at this address."""
        self.write({"resolver 127.0.0.11 valid=5s": f"resolver {address} valid=1s"})


class NodesHaproxy(Server):
    """HAProxy with `deploy/nodes/haproxy.cfg`. It asks the nodes itself."""

    asks_nodes = True

    def __init__(self, names: str) -> None:
        super().__init__("haproxy")
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._config_path = self.directory / "haproxy.cfg"
        text = (REPOSITORY / "deploy" / "nodes" / "haproxy.cfg").read_text()
        places = {
            "maxconn 65536": "maxconn 256",
            "bind :8080": f"bind {HOST}:{self.port}",
            "parse-resolv-conf": f"nameserver here {names}",
            "check inter 2s": f"check inter {int(LOOK_SECONDS * 1_000)}ms",
        }
        self._config_path.write_text(changed(text, places))

    @staticmethod
    def binary() -> str | None:
        return shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")

    def command(self) -> Sequence[str | Path]:
        binary = self.binary()
        assert binary is not None, "no HAProxy on this machine"
        return [binary, "-f", self._config_path]

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


Proxy = NodesNginx | NodesHaproxy


class Nodes:
    """Redis, nodes and a proxy, all started."""

    def __init__(self, proxy: type[Proxy], count: int) -> None:
        self._kind = proxy
        self._count = count
        self._stack = ExitStack()
        self._nodes: list[Node] = []
        self._keys = {"BELFRY_SECRET": secrets.token_hex(32), "BELFRY_REDIS_PREFIX": f"test-{secrets.token_hex(4)}"}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.redis = RedisServer(port=free_port(), options=("--bind", "0.0.0.0", "--protected-mode", "no"))
            stack.callback(self.redis.destroy)
            self.redis.start()
            self.names = stack.enter_context(Names(self._addresses))
            self.proxy = self._kind(self.names.address)
            stack.callback(self.proxy.destroy)
            self.proxy.start()
            self.front = Front(self.proxy.port, self._keys)
            self._stack = stack
            with ThreadPoolExecutor(self._count) as pool:
                self._nodes = [*pool.map(Node.start, [self._new() for _ in range(self._count)])]
            for node in self._nodes:
                self.wait_back(node)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, number: int) -> Node:
        return self._nodes[number]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    @property
    def servers(self) -> dict[str, Server]:
        """By name, for their logs."""
        nodes = {f"node {number}": node for number, node in enumerate(self._nodes)}
        return {"redis": self.redis, "proxy": self.proxy, **nodes}

    def replace(self, gone: Node) -> Node:
        """Start a new one, with addresses of its own, in the place of one that has ended."""
        node = self._new().start()
        self._nodes = [node if each is gone else each for each in self._nodes]
        return node

    def wait_back(self, node: Node) -> None:
        """Wait until clients get to it by the proxy again."""
        wait_until(node.is_serving, BACK_SECONDS, what="the node to be ready")
        wait_until(lambda: self.reaches(node), BACK_SECONDS, what="the proxy to use the node")

    def reaches(self, node: Node) -> bool:
        """Whether the proxy sends one of a few requests to it."""
        before = node.metric(UNKNOWN_PUBLISHERS)
        for _ in range(2 * len(self._nodes)):
            with contextlib.suppress(requests.RequestException):
                requests.post(f"{self.proxy.url}/publish", timeout=1)
        return node.metric(UNKNOWN_PUBLISHERS) > before

    def _new(self) -> Node:
        network = self._stack.enter_context(Network())
        node = Node(self.redis.port, network, {**ENVIRONMENT, **self._keys})
        self._stack.callback(node.destroy)
        return node

    def _addresses(self) -> list[str]:
        return [node.network.far for node in self._nodes if self._kind.asks_nodes or node.is_serving()]
