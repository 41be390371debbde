"""The read state: what a user has marked as read, archived or removed, and the unread count that follows from it.

All marks of a user lie beside that user's own log and change in one script (`mark.lua`), which bumps the revision and
tells the user's connections. What it needs of other logs (which history, which offsets) is read before and passed on:
a log that changes in between does no harm, since marking what is gone counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.log.catch_up import Page
from ...core.log.change import Change
from ...core.log.marks import Mark, Marks
from ...core.settings import Settings
from ...core.wire.frames import FeedCounts
from ...transport.connection import Command, Commands
from ..keys import Keys, user_log
from .lineage import Lineage, looks_first
from .log import MARK, LogStore, new_epoch

ALL = -1  # in place of a number of offsets
UPDATED = "updated {}"


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """What became of a change: the counts after it, how many of its ids were found, whether it changed anything."""

    counts: FeedCounts
    found: int
    changed: bool


class ReadState:
    """Changes read states."""

    def __init__(self, store: LogStore, commands: Commands, settings: Settings) -> None:
        self._store = store
        self._commands = commands
        self._seconds = settings.history_seconds
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    @property
    def lineage(self) -> Lineage:
        return self._store.lineage

    @looks_first
    def change(self, user: str, names: Sequence[str], change: Change) -> ChangeOutcome:
        """Apply `change` to the messages of the logs `names`, the user's own first, as that user sees them.

        Ids that are in none of these logs change nothing. Raises `BelfryError` `store_unavailable`.
        """
        found = self._store.find(names, change.ids or ())
        ((changed, revision, stored, server),) = self._commands.run([self._command(user, names, change, found)])
        if changed:
            self._store.lineage.acknowledged_by(server)
        pages = [page._replace(marks=Marks.load(marks)) for (page, _), marks in zip(found, stored, strict=True)]
        return ChangeOutcome(
            counts=FeedCounts(
                unread=sum(page.unread(page.top) for page in pages),
                revision=revision + sum(page.revision for page in pages[1:]),
            ),
            found=sum(len(offsets) for _, offsets in found),
            changed=bool(changed),
        )

    @looks_first
    def start_read(self, user: str, names: Sequence[str]) -> None:
        """Mark all that the logs `names` hold now as read for `user`. Raises `BelfryError` `store_unavailable`."""
        found = self._store.find(names, ())
        everything = Change(Mark.READ, on=True, ids=None)
        ((changed, *_, server),) = self._commands.run([self._command(user, names, everything, found, UPDATED)])
        if changed:
            self._store.lineage.acknowledged_by(server)

    def forget(self, user: str) -> None:
        """Forget all marks of a user, and that the user was here."""
        self._commands.run([("DEL", self._keys.marks(user), self._keys.visited(user))])

    def _command(
        self, user: str, names: Sequence[str], change: Change, found: Sequence[tuple[Page, list[int]]], record: str = ""
    ) -> Command:
        """`record` announces the change instead of its own record, which tells of all of the user's logs."""
        return MARK.call(
            (*self._store.keys.of_log(user_log(user)), self._keys.marks(user)),
            new_epoch(),
            self._seconds,
            self._store.lineage.known,
            change.mark.value,
            "1" if change.on else "0",
            record or change.record(),
            *_places(names, change, found),
        )


def _places(names: Sequence[str], change: Change, found: Sequence[tuple[Page, list[int]]]) -> Iterator[Any]:
    """The arguments of `mark.lua` that say where."""
    for name, (page, offsets) in zip(names, found, strict=True):
        yield from (name, page.history or page.epoch, page.oldest, page.top)
        yield from (ALL,) if change.ids is None else (len(offsets), *offsets)
