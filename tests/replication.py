"""Redis with a replica, and the Sentinel that puts it in the primary's place."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import redis

from tests.servers import HOST, RedisServer, Server, free_port
from tests.waiting import wait_until

SERVICE = "belfry-test"
# Silence after which the Sentinel replaces a primary: long, so that it replaces none that only stands still on a busy
# machine, and short for one that a test has killed. It takes no replica without a link for ten times as long.
DOWN_AFTER_MS = 120_000
DOWN_AFTER_DEATH_MS = 3_000
INFO_PERIOD_MS = "1000"  # a Sentinel takes no replica of which it has heard nothing for three times as long
READY_SECONDS = 60.0  # a Sentinel that stood still itself decides nothing for 30 s (its TILT mode)

S = TypeVar("S", bound=Server)

ALLOW_DEBUG = ("--enable-debug-command", "local")
PRIMARY_OPTIONS = (*ALLOW_DEBUG, "--repl-diskless-sync-delay", "0")  # a replica need not wait for others


def following(primary: RedisServer) -> tuple[str, str]:
    """The options of a replica."""
    return "--replicaof", f"{HOST} {primary.port}"


def replica_of(primary: RedisServer) -> RedisServer:
    """Not started yet."""
    return RedisServer(port=free_port(), options=(*PRIMARY_OPTIONS, *following(primary)))


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


class Replicated:
    """A primary, its replicas, and a Sentinel over them, all started."""

    def __init__(self, stack: ExitStack, replicas: int = 1) -> None:
        self._stack = stack
        self.primary = self._start(self.new_server())
        self.replicas = [self._start(self.new_server(*following(self.primary))) for _ in range(replicas)]
        self.sentinel = self._start(self.new_sentinel())
        self.sentinel.hurry()
        self.sentinel.wait_for_replicas(replicas)
        for replica in self.replicas:
            wait_replicated(self.primary, replica)

    def new_server(self, *options: str) -> RedisServer:
        """One of its servers, not started yet."""
        return RedisServer(port=free_port(), options=(*PRIMARY_OPTIONS, *options))

    def new_sentinel(self) -> Sentinel:
        """Not started yet."""
        return Sentinel(self.primary)

    @property
    def url(self) -> str:
        """For `BELFRY_REDIS_URL`."""
        return f"redis+sentinel://{HOST}:{self.sentinel.port}/{SERVICE}"

    @property
    def servers(self) -> Mapping[str, Server]:
        """By name, for their logs."""
        named = {f"replica {number}": replica for number, replica in enumerate(self.replicas)}
        return {"primary": self.primary, "sentinel": self.sentinel, **named}

    def cut_off(self, replica: RedisServer) -> None:
        """Nothing more reaches the replica, which stands still until SIGCONT."""
        replica.signal(signal.SIGSTOP)
        with self.primary.client() as client:
            client.client_kill_filter(_type="replica")

    def feed_none(self) -> None:
        """Nothing more reaches any replica, though all of them are well."""
        with self.primary.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
            client.client_kill_filter(_type="replica")

    def clients(self, server: RedisServer) -> int:
        """How many connections Belfry has to it."""
        with server.client() as client:
            return sum(each["name"].startswith("belfry") for each in client.client_list())

    def kill_primary(self) -> None:
        """Kill the primary. The Sentinel replaces it soon."""
        self.primary.kill()
        self.sentinel.replace_after(DOWN_AFTER_DEATH_MS)

    def fail_over(self) -> None:
        """Let the Sentinel replace a primary that works. An attempt ends early if the replica was silent for long."""
        wait_until(self._has_failed_over, READY_SECONDS, what="the failover")

    def _has_failed_over(self) -> bool:
        port, is_busy = self.sentinel.state()
        if port == self.primary.port and not is_busy:
            self.sentinel.begin_failover()
        return port != self.primary.port

    def wait_for_failover(self) -> None:
        """Wait until the Sentinel has put another server in the primary's place."""
        wait_until(lambda: self.sentinel.primary_port() != self.primary.port, READY_SECONDS, what="the failover")

    def replace_behind_its_back(self) -> None:
        """The Sentinel names the first replica, and the old primary keeps working because nobody tells it.

        The Sentinel forgets its primary first. Otherwise it demotes the promoted replica again within a second.
        """
        self.sentinel.forget()
        promote(self.replicas[0])
        self.sentinel.watch(self.replicas[0])

    def _start(self, server: S) -> S:
        self._stack.callback(server.destroy)
        return server.start()


class Sentinel(Server):
    """Watches over one primary, and decides alone. Further `lines` go into its configuration."""

    def __init__(self, primary: RedisServer, *lines: str) -> None:
        super().__init__("sentinel")
        self.port = free_port()
        self._config_path = self.directory / "sentinel.conf"
        self._config_path.write_text(
            f"{self.listen()}\nbind {HOST}\ndir {self.directory}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n" + "\n".join(lines)
        )

    def listen(self) -> str:
        """The line of its configuration that says where."""
        return f"port {self.port}"

    def binary(self) -> str | None:
        return RedisServer.binary()

    def command(self) -> Sequence[str | Path]:
        binary = self.binary()
        assert binary is not None, "no Redis and no Valkey on this machine"
        return [binary, self._config_path, "--sentinel"]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, socket_timeout=30, decode_responses=True)

    def hurry(self) -> None:
        """Look at the servers more often than every ten seconds."""
        with self.client() as client:
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", INFO_PERIOD_MS, "PUBLISH-PERIOD", "200")

    def wait_for_replicas(self, count: int) -> None:
        """Wait until it knows so many that could take over."""
        with self.client() as client:
            wait_until(lambda: _fit(client.sentinel_slaves(SERVICE)) == count, READY_SECONDS, what="the Sentinel")

    def name(self, server: RedisServer) -> None:
        """Let it say that this server is the primary, and know no other server."""
        self.forget()
        self.watch(server)

    def forget(self) -> None:
        """Let it know no primary, and give no server an order until `watch`."""
        with self.client() as client:
            client.execute_command("SENTINEL", "REMOVE", SERVICE)

    def watch(self, server: RedisServer) -> None:
        """Let it say that this server is the primary, after `forget`."""
        with self.client() as client:
            client.execute_command("SENTINEL", "MONITOR", SERVICE, HOST, server.port, 1)

    def replace_after(self, silence_ms: int) -> None:
        """Let it replace a primary after this silence."""
        with self.client() as client:
            client.sentinel_set(SERVICE, "down-after-milliseconds", silence_ms)

    def state(self) -> tuple[int, bool]:
        """The port of the primary, and whether a failover is under way."""
        with self.client() as client:
            state = client.sentinel_master(SERVICE)
        return int(state["port"]), "failover_in_progress" in state["flags"]

    def begin_failover(self) -> None:
        """Begin one, unless it knows no replica that can take over now."""
        with self.client() as client, contextlib.suppress(redis.ResponseError):
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)

    def primary_port(self) -> int:
        """Where it says the primary is."""
        with self.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
            return int(port)


def _fit(replicas: Sequence[Mapping[str, Any]]) -> int:
    return sum(not each["is_disconnected"] and each["master-link-status"] == "ok" for each in replicas)


def _replicated(info: Mapping[str, Any], offset: int) -> bool:
    return info.get("master_link_status") == "up" and int(info["slave_repl_offset"]) >= offset
