"""Which servers the shards of a cluster are on, and which were replaced: `Lineage` for a store with many shards.

A log remembers the server on which it was last used. If its slot moves to another shard with all its data, nothing is
lost, even if that shard's primary once took over from another. So only this matters: was the server that the log
remembers replaced by a failover? Its successor reports one predecessor. Earlier predecessors, and those of logs whose
slot moved on to another shard, are stored here.
"""

from __future__ import annotations

import logging

from ...core.errors import BelfryError
from ...transport.connection import Command, Commands, Script
from ..keys import Keys
from .lineage import Lineage, Looks

NOTE = Script("servers")
SCRIPTS = (NOTE,)
ID_LENGTH = 16  # of a replication id, as in `lineage.lua`

logger = logging.getLogger("belfry.lineage")


class Succession(Lineage):
    """What this worker knows of the servers of all shards; each is looked at by what `of` answers."""

    def __init__(self, commands: Commands, keys: Keys, kept_seconds: int) -> None:
        super().__init__(commands, keys)
        self._keys = keys.servers, keys.servers_replaced
        self._kept_seconds = kept_seconds
        self._replaced: list[str] = []
        self._present: dict[str, str] = {}  # shard → id
        self._known = "replaced"

    @property
    def known(self) -> str:
        """See `Lineage.known`: which servers were replaced."""
        return self._known

    def vacant_epoch(self, meta_key: str, kept_seconds: int, now: int) -> None:
        """See `Lineage`: it follows from what the log's own server was before."""

    def look_early(self) -> bool:
        """See `Lineage`: the scripts of a cluster see for themselves what makes a reader hear of a loss."""
        return False

    def is_outdated(self, server: bytes | None, losses: bytes | None = None) -> bool:  # noqa: ARG002 - those of one shard's store
        """Whether a log was used last on a server that is gone."""
        return bool(self._present) and (server or b"").decode() not in self._present.values()

    def acknowledged_by(self, server: bytes) -> None:
        """See `Lineage`: a primary of a cluster that was replaced stops taking changes by itself."""

    def of(self, shard: str, commands: Commands) -> Looks:
        """What looks at one shard; `commands` run on it."""
        return ShardLineage(self, shard, commands)

    def leave(self, shard: str) -> None:
        """Forget a shard that no longer exists."""
        self._present.pop(shard, None)

    def note(self, shard: str, id_: str, former: str) -> None:
        """A shard is on the server `id_`, which took over from `former`. Raises `BelfryError` `store_unavailable`."""
        before = self._present.get(shard)
        self._present[shard] = id_
        self._remember([former, *([before] if before and before != id_ else ())] if former else [])
        command = NOTE.call(self._keys, id_, former, self._kept_seconds, *self._present.values())
        self._remember([each.decode() for each in self._commands.run([command])[0]])

    def _remember(self, ids: list[str]) -> None:
        self._replaced += [each for each in ids if each not in self._replaced]
        self._known = " ".join(["replaced", *self._replaced])


class ShardLineage:
    """What this worker knows of the server of one shard. `id` is empty while it is unknown."""

    def __init__(self, succession: Succession, shard: str, commands: Commands) -> None:
        self._succession = succession
        self._shard = shard
        self._commands = commands
        self._is_noted = True
        self._former = ""
        self.id = b""

    def look(self, *commands: Command) -> bool:
        """Look at the server; `commands` share the round trip. Answers whether logs may lack what they had before.

        Raises `BelfryError` `store_unavailable`.
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
        """See `Lineage.stop`: nobody waits for this worker."""

    def _note(self) -> None:
        try:
            self._succession.note(self._shard, self.id.decode(), self._former)
            self._is_noted = True
        except BelfryError as error:  # of the shard that remembers it: tried again with the next look
            logger.info("the replaced server can't be stored: %s", error.detail)
