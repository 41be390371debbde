"""Redis with a replica, and the Sentinel that puts it in the primary's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from tests.servers import HOST, RedisServer, Server, free_port
from tests.waiting import wait_until

SERVICE = "belfry-test"
DOWN_AFTER_MS = 1_000  # silence after which the Sentinel replaces a primary
READY_SECONDS = 20.0

ALLOW_DEBUG = ("--enable-debug-command", "local")


def replica_of(primary: RedisServer) -> RedisServer:
    """Not started yet."""
    copy = ("--replicaof", f"{HOST} {primary.port}", "--repl-diskless-sync-delay", "0")
    return RedisServer(port=free_port(), options=(*ALLOW_DEBUG, *copy))


def wait_replicated(primary: RedisServer, replica: RedisServer) -> None:
    """Wait until the replica has everything that the primary has now."""
    with primary.client() as there, replica.client() as here:
        offset = there.info("replication")["master_repl_offset"]
        wait_until(lambda: _replicated(here.info("replication"), offset), READY_SECONDS, what="the replica")


def promote(replica: RedisServer) -> None:
    """Make it a primary of its own."""
    with replica.client() as client:
        client.replicaof("NO", "ONE")


def change_replication_id(client: redis.Redis) -> None:
    """What a restart does to it, without one."""
    client.execute_command("DEBUG", "CHANGE-REPL-ID")


class Sentinel(Server):
    """Watches over one primary, and decides alone."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__("sentinel")
        self.port = free_port()
        self._config_path = self.directory / "sentinel.conf"
        self._config_path.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.directory}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n"
        )

    def command(self) -> Sequence[str | Path]:
        binary = RedisServer.binary()
        assert binary is not None, "no Redis and no Valkey on this machine"
        return [binary, self._config_path, "--sentinel"]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5, decode_responses=True)

    def wait_for_replica(self) -> None:
        """Wait until it knows a replica that could take over."""
        with self.client() as client:
            wait_until(lambda: _fit(client.sentinel_slaves(SERVICE)), READY_SECONDS, what="the Sentinel")

    def primary_port(self) -> int:
        """Where it says the primary is."""
        with self.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
            return int(port)


def _fit(replicas: Sequence[Mapping[str, Any]]) -> bool:
    return any(not each["is_disconnected"] and each["master-link-status"] == "ok" for each in replicas)


def _replicated(info: Mapping[str, Any], offset: int) -> bool:
    return info.get("master_link_status") == "up" and int(info["slave_repl_offset"]) >= offset
