"""The identity of the store's server: the same as before, the same after a restart, or one that took over.

The scripts on logs check it themselves (`lua/lineage.lua`). The worker checks it too, for two reasons. It notices a
change sooner for logs that nobody appends to. It also notices it for logs that nobody uses for a long time.

The worker also decides whether a failover lost something: it compares the changes that were acknowledged to it with
those that the new server has. And it notices that the store was emptied.
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
SPANS = 3  # spans of a vacant epoch within the time that an entry is kept, see `open.lua`

# Redis replicates a change as one unit. The unit begins at the offset that the script reports, or after a `SELECT`
# there, which takes at most 27 bytes. A replica is always between two units. So a replica that is this many bytes past
# the reported offset has the whole change. No change is shorter.
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
    """Repeat a method after a look if a script refused because this worker has not looked at the server yet.

    The repetition does again what was done before the refusal. So use this only for methods that may be repeated.
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


class ServerObserver(Protocol):
    """Looks at the server of one shard from time to time, and remembers which server it is."""

    @property
    def id(self) -> bytes: ...

    def look(self, *commands: Command) -> bool: ...

    def stop(self) -> None: ...


class Lineage:
    """What this worker knows about the server. `id` is its replication id, empty while it is unknown."""

    def __init__(self, commands: Commands, keys: Keys, switchover_seconds: float = 30.0) -> None:
        self._commands = commands
        self._keys: tuple[str, ...] = (keys.lineage, *keys.lineage_workers)
        self._switchover_ms = int(switchover_seconds * 1_000)
        self._worker = ""  # the first look sets it, in the process that looks
        self.id = b""
        self._losses = 0
        self._known = ""  # see `known`; made once for each look, because every append sends it
        # When `id` last acknowledged a change, by this process's clock.
        self._acknowledged: float | None = None
        # The replication offset of `id` after the last change that it acknowledged.
        self._needed = 0
        # The replication offsets of `id` at the last look but one and at the last look.
        self._offsets = 0, 0
        # Whether a server acknowledged something before this worker looked at it.
        self._is_early = False
        self._former = b""  # the server before `id`
        # What the former server acknowledged after this worker left it: the required offset, and the time. A worker's
        # connections leave a replaced primary one after the other.
        self._late: tuple[int, float] | None = None
        self._warned = False
        self._has_looked = False
        # Whether an early look found a change that the canary has not been told about yet.
        self._found_early = False

    @property
    def losses(self) -> int:
        """Return the number that grows with each loss.

        The first use looks at the server, because logs store this number and must never get a smaller one. Raises
        `BelfryError` `store_unavailable`.
        """
        if not self._has_looked:
            self.look_early()
        return self._losses

    @property
    def known(self) -> str:
        """Return what the scripts on logs must know about losses and the server.

        Raises `BelfryError` `store_unavailable`. A script refuses on any other server (`is_unlooked`), see `open.lua`.
        """
        if not self._has_looked:
            self.look_early()
        return self._known

    def vacant_epoch(self, meta_key: str, kept_seconds: int, now: int) -> str | None:
        """Return the epoch of a log that does not exist, as `open.lua` computes it.

        None if only the script can compute it. `now` is in Unix seconds. Use the result only to notice a change. A
        reader's position comes from a read, and so from the clock of the store.
        """
        text = f"{meta_key} {self.losses} {kept_seconds} {now * SPANS // kept_seconds}"
        number, epoch = int.from_bytes(text.encode()) % EPOCHS, ""
        for _ in range(EPOCH_LENGTH):
            number, digit = divmod(number, len(EPOCH_ALPHABET))
            epoch += EPOCH_ALPHABET[digit]
        return epoch

    def acknowledged_by(self, server: bytes) -> None:
        """Note that a server just acknowledged a change of a log: an append, a retraction or a mark.

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
        """Return whether a log was last used before its server was restarted or replaced, or before a loss was counted.

        `losses` is None for a log whose losses are reported in another way.
        """
        untold = losses is not None and int(losses) < self._losses
        return untold or self.id not in (b"", server or b"")

    def of(self, shard: str, commands: Commands) -> ServerObserver:  # noqa: ARG002 - see `Succession.of`
        """Return the object that looks at the only shard."""
        return self

    def leave(self, shard: str) -> None:
        """Do nothing: the only shard never leaves. See `Succession.leave`."""

    def look_early(self) -> bool:
        """Look before the canary does, and return the same as `look`. The canary's next look returns it again.

        There may be many early looks. They do not count as looks where the time of the last look but one matters.
        """
        return self._look((), is_early=True)

    def look(self, *commands: Command) -> bool:
        """Look at the server. Return whether logs may lack entries that they had before.

        `commands` share the round trip. Raises `BelfryError` `store_unavailable`.
        """
        return self._look(commands, is_early=False)

    def _look(self, commands: Sequence[Command], *, is_early: bool) -> bool:
        before, losses, late = self.id, self._losses, self._late
        self.id, self._losses, offset = self._commands.run([self._command(), *commands])[0]
        self._known = f"{self._losses} {self.id.decode()}"
        if self._late is late and self.id != self._former:
            self._late = None  # the server has judged this change
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
        """Report that this worker stops. A server that takes over then does not wait for it. Raises like `look`."""
        if self._worker:
            self._commands.run([self._command(leaves="1")])

    def _command(self, leaves: str = "") -> Command:
        self._worker = self._worker or secrets.token_hex(8)
        server, at = self.id, self._acknowledged
        # The new server must also have what other workers had acknowledged up to the last look but one. The last look
        # may have reached a primary that was already replaced and did not know it, where only the canaries still write.
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
        late = self._late if self.id == self._former else None  # this is another look at the former server
        self._offsets = 0, offset
        self._needed = offset if self._is_early else 0
        self._acknowledged = time.monotonic() if self._is_early else None
        if late is not None:
            self._needed, self._acknowledged = max(self._needed, late[0]), late[1]
            self._late = None
        self._former, self._is_early = before, False
