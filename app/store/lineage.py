"""Which server the store is on: the same as before, the same started again, or one that took over.

The scripts on logs see it for themselves in the step in which it matters (`lua/lineage.lua`). What a worker knows here
only makes it sooner for logs that nobody appends to, and complete for logs that nobody touches for long.
"""

from __future__ import annotations

import logging

from app.store.connection import Command, Commands, Script
from app.store.keys import Keys

LOOK = Script("lineage", "lineage_look")
SCRIPTS = (LOOK,)

log = logging.getLogger("belfry.lineage")


class Lineage:
    """What this worker knows of the server. `id` is its replication id, empty while it is unknown."""

    def __init__(self, commands: Commands, keys: Keys) -> None:
        self._commands = commands
        self._key = keys.lineage
        self.id = b""
        self.losses = 0
        self._warned = False

    def look(self, *commands: Command) -> bool:
        """Look at the server; `commands` share the round trip. Answers whether it is another one than before.

        Raises `BelfryError` `store_unavailable`.
        """
        before, losses = self.id, self.losses
        self.id, self.losses = self._commands.run([LOOK.call((self._key,), losses), *commands])[0]
        if not (self.id or self._warned):
            self._warned = True
            log.warning("Redis forbids INFO to this user: a restart or failover that loses messages can't be noticed")
        elif before and before != self.id:
            how = "took over from another" if self.losses > losses else "was started again"
            log.warning("the store's server %s: every log goes on under a new epoch", how)
        return before != self.id
