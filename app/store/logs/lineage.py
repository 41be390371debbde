"""Which server the store is on: the same as before, the same started again, or one that took over.

The scripts on logs see it for themselves in the step in which it matters (`lua/lineage.lua`). What a worker knows here
only makes it sooner for logs that nobody appends to, and complete for logs that nobody touches for long.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

from ...transport.connection import Command, Commands, Script
from ..keys import Keys

LOOK = Script("lineage", "lineage_look")
SCRIPTS = (LOOK,)

log = logging.getLogger("belfry.lineage")


class Looks(Protocol):
    """What looks at the server of one shard."""

    @property
    def id(self) -> bytes: ...

    def look(self, *commands: Command) -> bool: ...


class Lineage:
    """What this worker knows of the server. `id` is its replication id, empty while it is unknown."""

    def __init__(self, commands: Commands, keys: Keys) -> None:
        self._commands = commands
        self._key = keys.lineage
        self.id = b""
        self.losses: int = 0
        self._acknowledged: float | None = None  # by `id`, of this process's clock
        self._looked: float | None = None
        self._warned = False

    @property
    def known(self) -> int | str:
        """What the scripts on logs are told of failovers, see `open.lua`."""
        return self.losses

    def acknowledged_by(self, server: bytes) -> None:
        """The server with the id `server` acknowledged a change of a log now: an append, a retraction or a mark."""
        if server == self.id:
            self._acknowledged = time.monotonic()

    def is_outdated(self, lineage: bytes | None) -> bool:
        """Whether a log was used last before the server was started again or replaced."""
        return self.id not in (b"", lineage or b"")

    def of(self, shard: str, commands: Commands) -> Looks:  # noqa: ARG002 - see `Succession.of`
        """What looks at the only shard."""
        return self

    def leave(self, shard: str) -> None:
        """See `Succession.leave`: that never happens."""

    def look(self, *commands: Command) -> bool:
        """Look at the server; `commands` share the round trip. Answers whether logs may lack what they had before.

        Raises `BelfryError` `store_unavailable`.
        """
        before, losses = self.id, self.losses
        now = time.monotonic()
        acknowledged_ms = "" if self._acknowledged is None else int((now - self._acknowledged) * 1_000)
        unseen_ms = 0 if self._looked is None else int((now - self._looked) * 2_000)
        look = LOOK.call((self._key,), losses, before, acknowledged_ms, unseen_ms)
        self.id, self.losses = self._commands.run([look, *commands])[0]
        self._looked = now
        if not (self.id or self._warned):
            self._warned = True
            log.warning("Redis tells no replication id: a restart or failover that loses messages cannot be noticed")
        elif before and before != self.id:
            self._acknowledged = None
            how = "took over from another" if self.losses > losses else "was started again"
            log.warning("the store's server %s: every log goes on under a new epoch", how)
        elif before and self.losses > losses:
            log.warning("another worker left the former primary later: every log goes on under a new epoch once more")
        return before != self.id or self.losses > losses
