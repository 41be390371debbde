"""Which servers the shards of a cluster are on, and which were replaced: `Lineage` for a store with many shards.

A log remembers the server on which it was last used. If its slot moves to another shard with all its data, nothing is
lost, even if that shard's primary once took over from another. So one question matters: did a failover replace the
server that the log remembers? A successor reports only one predecessor. This module stores the earlier ones, and those
of logs whose slot moved on to another shard.
"""

from __future__ import annotations

import logging

from ...core.errors import BelfryError
from ...transport.connection import Command, Commands, Script
from ..keys import Keys
from .lineage import Lineage, ServerObserver

NOTE = Script("servers")
SCRIPTS = (NOTE,)
ID_LENGTH = 16  # characters of a replication id, as in `lineage.lua`

logger = logging.getLogger("belfry.lineage")


class Succession(Lineage):
    """What this worker knows about the servers of all shards. `of` returns an object that looks at one shard."""

    def __init__(self, commands: Commands, keys: Keys, kept_seconds: int) -> None:
        super().__init__(commands, keys)
        self._keys = keys.servers, keys.servers_replaced
        self._kept_seconds = kept_seconds
        self._replaced: list[str] = []
        self._present: dict[str, str] = {}  # shard → replication id
        self._known = "replaced"

    @property
    def known(self) -> str:
        """Return the servers that were replaced. See `Lineage.known`."""
        return self._known

    def vacant_epoch(self, meta_key: str, kept_seconds: int, now: int) -> None:
        """Return None: the epoch depends on the predecessor of the log's own server. See `Lineage.vacant_epoch`."""

    def look_early(self) -> bool:
        """Do nothing: on a cluster, the scripts notice by themselves what is a loss for a reader.

        See `Lineage.look_early`.
        """
        return False

    def is_outdated(self, server: bytes | None, losses: bytes | None = None) -> bool:  # noqa: ARG002 - those of one shard's store
        """Return whether the server on which a log was last used is gone."""
        return bool(self._present) and (server or b"").decode() not in self._present.values()

    def acknowledged_by(self, server: bytes) -> None:
        """Do nothing: a replaced primary of a cluster stops accepting writes by itself.

        See `Lineage.acknowledged_by`.
        """

    def of(self, shard: str, commands: Commands) -> ServerObserver:
        """Return an object that looks at one shard. `commands` must run on that shard."""
        return ShardLineage(self, shard, commands)

    def leave(self, shard: str) -> None:
        """Forget a shard that no longer exists."""
        self._present.pop(shard, None)

    def note(self, shard: str, id_: str, former: str) -> None:
        """Record that a shard is on the server `id_`, which took over from `former`.

        Raises `BelfryError` `store_unavailable`.
        """
        before = self._present.get(shard)
        self._present[shard] = id_
        self._remember([former, *([before] if before and before != id_ else ())] if former else [])
        command = NOTE.call(self._keys, id_, former, self._kept_seconds, *self._present.values())
        self._remember([each.decode() for each in self._commands.run([command])[0]])

    def _remember(self, ids: list[str]) -> None:
        self._replaced += [each for each in ids if each not in self._replaced]
        self._known = " ".join(["replaced", *self._replaced])


class ShardLineage:
    """What this worker knows about the server of one shard. `id` is empty while it is unknown."""

    def __init__(self, succession: Succession, shard: str, commands: Commands) -> None:
        self._succession = succession
        self._shard = shard
        self._commands = commands
        self._is_noted = True
        self._former = ""
        self.id = b""

    def look(self, *commands: Command) -> bool:
        """Look at the server. Return whether logs may lack entries that they had before.

        `commands` share the round trip. Raises `BelfryError` `store_unavailable`.
        """
        info = self._commands.run([("INFO", "replication"), *commands])[0]
        before, self.id = self.id, str(info.get("master_replid", ""))[:ID_LENGTH].encode()
        former = str(info.get("master_replid2", ""))[:ID_LENGTH]
        self._former = former.strip("0") and former
        if self.id != before:
            self._is_noted = False
            if before:
                how = "was replaced by a failover" if self._former else "was started again"
                logger.warning("the server of the shard %s %s: its logs go on under a new epoch", self._shard, how)
        if self.id and not self._is_noted:
            self._note()
        return self.id != before

    def stop(self) -> None:
        """Do nothing: no server waits for this worker. See `Lineage.stop`."""

    def _note(self) -> None:
        try:
            self._succession.note(self._shard, self.id.decode(), self._former)
            self._is_noted = True
        # The shard that stores this failed. The next look tries again.
        except BelfryError as error:
            logger.info("the replaced server can't be stored: %s", error.detail)
