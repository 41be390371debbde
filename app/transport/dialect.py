"""Translates commands for a Redis Cluster, where pub/sub channels and the scripts that publish are sharded.

All other modules use PUBLISH and PUBSUB NUMSUB. On a cluster, these would go to every node. SPUBLISH and SHARDNUMSUB
stay on the primary that holds the channel's slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from redis.exceptions import MovedError

from .connection import Command, Connection, Reply, Script, checked


class ClusterDialect:
    """Translates commands for a cluster, one by one."""

    def __init__(self, scripts: Iterable[Script]) -> None:
        self._scripts = {script.sha: script.sharded.sha for script in scripts}

    def __call__(self, command: Command) -> Command:
        """Return the same command for a cluster."""
        name, *rest = command
        if name == "EVALSHA":
            return (name, self._scripts[rest[0]], *rest[1:])
        if name == "PUBLISH":
            return ("SPUBLISH", *rest)
        if name == "PUBSUB":
            return (name, f"SHARD{rest[0]}", *rest[1:])
        return command


class Translated:
    """One node of a cluster, for commands whose keys it holds. `moved` is called if it no longer holds them."""

    def __init__(self, connection: Connection, dialect: ClusterDialect, moved: Callable[[], object]) -> None:
        self._connection = connection
        self._dialect = dialect
        self._moved = moved

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """See `Connection.run`."""
        return checked(self.send(commands))

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        """See `Connection.send`."""
        replies = self._connection.send([self._dialect(command) for command in commands])
        if any(isinstance(reply, MovedError) for reply in replies):
            self._moved()
        return replies
