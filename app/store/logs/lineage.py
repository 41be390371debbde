"""Which server the store is on: the same as before, the same after a restart, or one that took over.

The scripts on logs check it themselves (`lua/lineage.lua`). The worker checks it as well. So it notices a change sooner
for logs that nobody appends to, and at all for logs that nobody uses for long. It also decides whether a failover lost
something: each worker compares the changes that were acknowledged to it with those that the new server has. And it
notices that the store was emptied.
"""

from __future__ import annotations

import logging
import secrets
import string
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ...core.errors import BelfryError
from ...core.log.cursor import EPOCH_LENGTH
from ...transport.connection import Command, Commands, Script, is_unlooked
from ..keys import Keys

LOOK = Script("lineage", "lineage_look")
SCRIPTS = (LOOK,)
EPOCH_ALPHABET = string.digits + string.ascii_letters
EPOCHS = 56_800_235_581  # the largest prime below 62 ** EPOCH_LENGTH
SPANS = 3  # of a vacant epoch, within the time that an entry is kept, see `open.lua`

# Redis replicates a change as one unit. The unit begins at the offset that the script tells, perhaps after `SELECT`,
# which takes 27 bytes at most. A replica stands between two units. So a replica that has come this much further than
# the told offset has the whole change. No change is shorter.
CHANGE_BYTES = 40

logger = logging.getLogger("belfry.lineage")


S = TypeVar("S", bound="HasLineage")
P = ParamSpec("P")
R = TypeVar("R")


class HasLineage(Protocol):
    """A store whose scripts open logs."""

    @property
    def lineage(self) -> Lineage: ...


def looks_first(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Have a method done again after a look, where a script refused because its server was not looked at yet.

    What was done before the refusal is then done twice, so this is for methods that may be repeated.
    """

    @wraps(method)
    def looked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except BelfryError as failure:
            if not is_unlooked(failure):
                raise
            self.lineage.look_early()
            return method(self, *args, **kwargs)

    return looked


class Looks(Protocol):
    """What looks at the server of one shard."""

    @property
    def id(self) -> bytes: ...

    def look(self, *commands: Command) -> bool: ...

    def stop(self) -> None: ...


class Lineage:
    """What this worker knows of the server. `id` is its replication id, empty while it is unknown."""

    def __init__(self, commands: Commands, keys: Keys, switchover_seconds: float = 30.0) -> None:
        self._commands = commands
        self._keys: tuple[str, ...] = (keys.lineage, *keys.lineage_workers)
        self._switchover_ms = int(switchover_seconds * 1_000)
        self._worker = ""  # made by the first look, in the process that looks
        self.id = b""
        self._losses = 0
        self._acknowledged: float | None = None  # by `id`, of this process's clock
        self._needed = 0  # replication offset of `id` that comes after the last change that it acknowledged
        self._offsets = 0, 0  # of `id`, at the last but one look and at the last
        self._is_early = False  # a server that was not looked at yet acknowledged something
        self._former = b""  # the server before `id`
        # What the former server acknowledged after it was left: the offset that is needed, and when. The connections of
        # a worker leave a primary that was replaced one after the other.
        self._late: tuple[int, float] | None = None
        self._warned = False
        self._has_looked = False
        self._found_early = False  # by an early look: a change that the canary has not been told

    @property
    def losses(self) -> int:
        """The number that grows with each loss. Logs keep it, so the first use looks: no log is given a smaller one.

        Raises `BelfryError` `store_unavailable`.
        """
        if not self._has_looked:
            self.look_early()
        return self._losses

    @property
    def known(self) -> str:
        """What the scripts on logs are told of losses and of the server. Raises `BelfryError` `store_unavailable`.

        A script refuses on any other server (`is_unlooked`), see `open.lua`.
        """
        return f"{self.losses} {self.id.decode()}"

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
        """A server acknowledged a change of a log now: an append, a retraction or a mark.

        `server` is the script's `acknowledgement`: the id, and the replication offset before the change.
        """
        id_, _, offset = server.partition(b" ")
        if id_ and id_ == self.id:
            self._acknowledged = time.monotonic()
            self._needed = max(self._needed, int(offset) + CHANGE_BYTES)
        elif id_ and id_ == self._former:
            self._late = int(offset) + CHANGE_BYTES, time.monotonic()
        else:
            self._is_early = True

    def is_outdated(self, server: bytes | None, losses: bytes | None = None) -> bool:
        """Whether a log was used last before the server was started again or replaced, or before a loss was counted.

        `losses` is None for a log whose losses are told otherwise.
        """
        untold = losses is not None and int(losses) < self._losses
        return untold or self.id not in (b"", server or b"")

    def of(self, shard: str, commands: Commands) -> Looks:  # noqa: ARG002 - see `Succession.of`
        """What looks at the only shard."""
        return self

    def leave(self, shard: str) -> None:
        """See `Succession.leave`: that never happens."""

    def look_early(self) -> bool:
        """Look before the canary does, and answer as `look`. The canary's next look answers the same again.

        Early looks may be many. They do not count as looks where it matters how long ago the last one but one was.
        """
        return self._look((), is_early=True)

    def look(self, *commands: Command) -> bool:
        """Look at the server; `commands` share the round trip. Answers whether logs may lack what they had before.

        Raises `BelfryError` `store_unavailable`.
        """
        return self._look(commands, is_early=False)

    def _look(self, commands: Sequence[Command], *, is_early: bool) -> bool:
        before, losses, late = self.id, self._losses, self._late
        self.id, self._losses, offset = self._commands.run([self._command(), *commands])[0]
        if self._late is late and self.id != self._former:
            self._late = None  # the server has judged it
        if before != self.id or not is_early:
            self._note(before, offset)
        self._has_looked = True
        if not (self.id or self._warned):
            self._warned = True
            logger.warning(
                "Redis reports no replication id: a restart or failover that loses messages cannot be noticed"
            )
        elif before and before != self.id:
            how = "took over and lacks messages, or may lack some" if self._losses > losses else "changed"
            logger.warning("the store's server %s: every log goes on under a new epoch", how)
        elif before and self._losses > losses:
            logger.warning(
                "%s: every log goes on under a new epoch",
                "the store was emptied, or a failover of it lost messages or may have",
            )
        has_changed = before != self.id or self._losses > losses or self._found_early
        self._found_early = is_early and has_changed
        return has_changed

    def stop(self) -> None:
        """This worker stops: no server that takes over needs to wait for it. Raises as `look` does."""
        if self._worker:
            self._commands.run([self._command(leaves="1")])

    def _command(self, leaves: str = "") -> Command:
        self._worker = self._worker or secrets.token_hex(8)
        server, at = self.id, self._acknowledged
        # What others had acknowledged until the last look but one is also missed: the last look may have been at a
        # primary that was replaced without knowing it, where only the canaries still write.
        needed = max(self._needed, self._offsets[0])
        if self._late is not None:
            server, (needed, at) = self._former, self._late
        acknowledged_ms = "" if at is None else int((time.monotonic() - at) * 1_000)
        return LOOK.call(
            self._keys, self._losses, server, acknowledged_ms, needed, self._worker, self._switchover_ms, leaves
        )

    def _note(self, before: bytes, offset: int) -> None:
        if before == self.id:
            self._offsets = self._offsets[1], offset
            return
        late = self._late if self.id == self._former else None  # a look at the former server again
        self._offsets = 0, offset
        self._needed = offset if self._is_early else 0
        self._acknowledged = time.monotonic() if self._is_early else None
        if late is not None:
            self._needed, self._acknowledged = max(self._needed, late[0]), late[1]
            self._late = None
        self._former, self._is_early = before, False
