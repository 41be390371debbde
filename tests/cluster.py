"""A Redis Cluster of real processes: three primaries, each with a replica."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from tests.faults.network import Network
from tests.servers import HOST, RedisServer, Server, free_port
from tests.waiting import wait_until

PRIMARIES = 3
NODE_TIMEOUT_MS = 2_000  # silence after which the others replace a primary
READY_SECONDS = 60.0
MIGRATED_AT_ONCE = 200
CLUSTER_OPTIONS = (
    "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-config-file", "nodes.conf",
    "--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0",
)  # fmt: skip


class Node(RedisServer):
    """One process of a cluster, which listens at `host`, within `network` if there is one."""

    def __init__(self, host: str = HOST, network: Network | None = None) -> None:
        self.bus = free_port()
        self.host = host
        self._network = network
        listen = ("--bind", host, "--cluster-port", str(self.bus), "--protected-mode", "no")
        super().__init__(port=free_port(), options=(*CLUSTER_OPTIONS, *listen))
        self.address = f"{host}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        return [*(self._network.command() if self._network else ()), *super().command()]

    def ask(self, *command: Any) -> Any:
        """The reply to one command, to this node alone."""
        with self.client() as client:
            return client.execute_command(*command)

    @property
    def id(self) -> str:
        return str(self.ask("CLUSTER MYID"))

    @property
    def info(self) -> dict[str, str]:
        told = self.ask("CLUSTER INFO")
        return told if isinstance(told, dict) else dict(line.split(":") for line in told.split())

    @property
    def is_primary(self) -> bool:
        return bool(self.ask("ROLE")[0] == "master")


class RedisCluster:
    """Started, with all slots covered, and every replica in step. The first primary is alone in `network`, if given."""

    def __init__(self, stack: ExitStack, network: Network | None = None) -> None:
        self._stack = stack
        self._host = network.near if network else HOST
        first = Node(network.far, network) if network else Node()
        self.nodes = [self.add(first), *[self.add(Node(self._host)) for _ in range(2 * PRIMARIES - 1)]]
        self.primaries = self.nodes[:PRIMARIES]
        share = -(-REDIS_CLUSTER_HASH_SLOTS // PRIMARIES)
        for number, node in enumerate(self.primaries):
            last = min((number + 1) * share, REDIS_CLUSTER_HASH_SLOTS) - 1
            node.ask("CLUSTER ADDSLOTSRANGE", number * share, last)
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.introduce(node)
        self.wait(lambda: all(self._knows_all(node) for node in self.nodes), "the nodes to know each other")
        for primary, replica in zip(self.primaries, self.nodes[PRIMARIES:], strict=True):
            replica.ask("CLUSTER REPLICATE", primary.id)
        self.wait_ready()

    @property
    def url(self) -> str:
        """For `BELFRY_REDIS_URL`: two of the nodes."""
        return f"redis+cluster://{self.nodes[0].address},{self.nodes[-1].address}"

    @property
    def servers(self) -> dict[str, Server]:
        """By name, for their logs."""
        return {f"node {number}": node for number, node in enumerate(self.nodes)}

    @property
    def moves_whole_slots(self) -> bool:
        """Whether it knows `CLUSTER MIGRATESLOTS`."""
        with self.nodes[0].client() as client:
            return int(str(client.info("server").get("valkey_version", "0")).split(".")[0]) >= 9

    def add(self, node: Node) -> Node:
        """Start a node, which nobody knows yet."""
        self._stack.callback(node.destroy)
        node.start()
        return node

    def introduce(self, node: Node) -> None:
        """Let the first node know this one."""
        self.nodes[0].ask("CLUSTER MEET", node.host, node.port, node.bus)

    def add_primary(self) -> Node:
        """Add a further node, which holds no slot yet."""
        node = self.add(Node(self._host))
        self.nodes.append(node)
        self.introduce(node)
        self.wait(
            lambda: all(self._knows_all(each) and self._ok(each) for each in self.nodes), "all to know the new node"
        )
        return node

    def remove(self, node: Node) -> None:
        """Have all others forget a node that holds no slot, and end it."""
        self.nodes.remove(node)
        forgotten = node.id
        for other in self.nodes:
            other.ask("CLUSTER FORGET", forgotten)
        node.kill()

    def wait_ready(self) -> None:
        """Wait until every node considers the cluster to work and every primary has a replica that has everything."""
        self.wait(lambda: all(node.info["cluster_state"] == "ok" for node in self.nodes), "the cluster to work")
        self.wait(lambda: all(self.replica_of(node) for node in self.primaries), "a replica of each primary")

    def wait(self, condition: Any, what: str) -> None:
        wait_until(condition, READY_SECONDS, what=what)

    def alive(self) -> Iterator[Node]:
        for node in self.nodes:
            if node.is_ready():
                yield node

    def owner(self, key: str) -> Node:
        """The primary that holds a key now, as most of the nodes say."""
        slot = key_slot(key.encode())
        ports = [self._port_of(node, slot) for node in self.alive()]
        port = max(set(ports), key=ports.count)
        return next(node for node in self.nodes if node.port == port)

    def owners(self) -> set[Node]:
        """Every node that any node considers to hold a slot."""
        ports = {port for node in self.alive() for _, _, port in _slots(node)}
        return {node for node in self.nodes if node.port in ports}

    def replica_of(self, primary: Node) -> Node | None:
        """One that follows it and is in step."""
        for node in self.alive():
            role, *rest = node.ask("ROLE")
            if role == "slave" and rest[1] == primary.port and rest[2] == "connected":
                return node
        return None

    def wait_for_other_owner(self, key: str, former: Node) -> Node:
        """Wait until another node holds the key; answers that one."""
        self.wait(lambda: self.owner(key) is not former, "a failover")
        found = self.owner(key)
        self.wait(lambda: all(self.owner(key) is found and self._ok(node) for node in self.alive()), "all to know it")
        return found

    def fail_over(self, primary: Node) -> Node:
        """A planned switchover; answers the new primary."""
        replica = self.replica_of(primary)
        assert replica is not None
        replica.ask("CLUSTER FAILOVER")
        self.wait(lambda: replica.is_primary, "the switchover")
        return replica

    def migrate(self, slot: int, source: Node, target: Node) -> None:
        """Move a slot key by key, as `redis-cli --cluster reshard` does."""
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, MIGRATED_AT_ONCE):
            source.ask("MIGRATE", target.host, target.port, "", 0, 60_000, "KEYS", *keys)
        others = [node for node in self.alive() if node not in (target, source) and node.is_primary]
        for node in (target, source, *others):
            try:
                node.ask("CLUSTER SETSLOT", slot, "NODE", target.id)
            except ResponseError:
                if node is not source or source.is_primary:
                    raise
                # It heard of its last slot's new place from another node, and became a replica.

    def migrate_whole(self, slot: int, source: Node, target: Node) -> None:
        """Move a slot in one step, as Valkey 9 and newer can."""
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        self.wait(lambda: all(self._port_of(node, slot) == target.port for node in self.alive()), "the slot to move")

    def _port_of(self, node: Node, slot: int) -> int:
        for row in _slots(node):
            if row[0] <= slot <= row[1]:
                return int(row[2])
        return 0

    def _knows_all(self, node: Node) -> bool:
        return int(node.info["cluster_known_nodes"]) == len(self.nodes)

    @staticmethod
    def _ok(node: Node) -> bool:
        return node.info["cluster_state"] == "ok"


def _slots(node: Node) -> list[tuple[int, int, int]]:
    """First and last slot, and the port of their primary."""
    told = node.ask("CLUSTER SLOTS")
    if isinstance(told, dict):  # as redis-py reads it
        return [(first, last, entry["primary"][1]) for (first, last), entry in told.items()]
    return [(first, last, primary[1]) for first, last, primary, *_ in told]
