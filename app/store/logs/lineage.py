"""Which server the store is on: the same as before, the same started again, or one that took over.

The scripts on logs see it for themselves in the step in which it matters (`lua/lineage.lua`). What a worker knows here
only makes it sooner for logs that nobody appends to, and complete for logs that nobody touches for long.
It also notices that the store was emptied.
"""

from __future__ import annotations

import logging
import string
import time
from typing import Protocol

from ...core.log.cursor import EPOCH_LENGTH
from ...transport.connection import Command, Commands, Script
from ..keys import Keys

LOOK = Script("lineage", "lineage_look")
SCRIPTS = (LOOK,)
EPOCH_ALPHABET = string.digits + string.ascii_letters
EPOCHS = 56_800_235_581  # the largest prime below 62 ** EPOCH_LENGTH
SPANS = 3  # of a vacant epoch, within the time that an entry is kept, see `open.lua`

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
        self._losses = 0
        self._acknowledged: float | None = None  # by `id`, of this process's clock
        self._looked: float | None = None
        self._warned = False
        self._found_early = False

    @property
    def losses(self) -> int:
        """The number that grows with each loss. Logs keep it, so the first use looks: no log is given a smaller one.

        Raises `BelfryError` `store_unavailable`.
        """
        if self._looked is None:
            self.look_early()
        return self._losses

    @property
    def known(self) -> int | str:
        """What the scripts on logs are told of losses, see `open.lua`. Raises `BelfryError` `store_unavailable`."""
        return self.losses

    def vacant_epoch(self, meta_key: str, kept_seconds: int, now: int) -> str | None:
        """The epoch of a log that does not exist, as `open.lua` computes it. None where only the script can tell.

        It serves to notice a change only. A reader's position comes from a read, and so from the clock of the store.
        """
        text = f"{meta_key} {self.losses} {kept_seconds} {now * SPANS // kept_seconds}"
        number, epoch = int.from_bytes(text.encode()) % EPOCHS, ""
        for _ in range(EPOCH_LENGTH):
            number, digit = divmod(number, len(EPOCH_ALPHABET))
            epoch += EPOCH_ALPHABET[digit]
        return epoch

    def acknowledged_by(self, server: bytes) -> None:
        """The server with the id `server` acknowledged a change of a log now: an append, a retraction or a mark."""
        if server == self.id:
            self._acknowledged = time.monotonic()

    def is_outdated(self, lineage: bytes | None, losses: int | None) -> bool:
        """Whether a log was used last before the server was started again or replaced, or before a loss.

        `losses` is the number that the log keeps, None for a run's.
        """
        return self.id not in (b"", lineage or b"") or (losses is not None and losses < self._losses)

    def of(self, shard: str, commands: Commands) -> Looks:  # noqa: ARG002 - see `Succession.of`
        """What looks at the only shard."""
        return self

    def leave(self, shard: str) -> None:
        """See `Succession.leave`: that never happens."""

    def look_early(self) -> bool:
        """Look before the canary does, and answer as `look`. The canary's next look answers the same again."""
        has_changed = self.look()
        self._found_early = self._found_early or has_changed
        return has_changed

    def look(self, *commands: Command) -> bool:
        """Look at the server; `commands` share the round trip. Answers whether logs may lack what they had before.

        Raises `BelfryError` `store_unavailable`.
        """
        before, losses, is_first = self.id, self._losses, self._looked is None
        now = time.monotonic()
        acknowledged_ms = "" if self._acknowledged is None else int((now - self._acknowledged) * 1_000)
        unseen_ms = 0 if self._looked is None else int((now - self._looked) * 2_000)
        look = LOOK.call((self._key,), losses, before, acknowledged_ms, unseen_ms)
        self.id, self._losses = self._commands.run([look, *commands])[0]
        self._looked = now
        if not (self.id or self._warned):
            self._warned = True
            log.warning("Redis tells no replication id: a restart or failover that loses messages cannot be noticed")
        elif before and before != self.id:
            self._acknowledged = None
            how = "took over from another" if self._losses > losses else "was started again"
            log.warning("the store's server %s: every log goes on under a new epoch", how)
        elif not is_first and self._losses > losses:
            log.warning(
                "%s: every log goes on under a new epoch",
                "the store was emptied, or another worker left the former primary later",
            )
        found_early, self._found_early = self._found_early, False
        return before != self.id or self._losses > losses or found_early
