"""The read state: the messages that a user has marked as read, archived or removed, and the unread count.

All marks of a user are stored beside that user's own log. One script (`mark.lua`) changes them, increases the revision
and notifies the user's connections. It needs the histories and offsets of other logs, which are read before and passed
to it. If one of those logs changes in between, this does no harm: a mark on a message that is gone has no effect.
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

ALL = -1  # replaces the number of offsets
UPDATED = "updated {}"


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """The outcome of a change: the counts after it, how many of its ids were found, and whether it changed anything."""

    counts: FeedCounts
    found: int
    changed: bool


class ReadState:
    """Changes the marks of users, and counts their unread messages."""

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
        """Apply `change` for `user` to messages of the logs `names`. The user's own log must come first.

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
        """Mark all entries of the logs `names` as read for `user`. Raises `BelfryError` `store_unavailable`."""
        found = self._store.find(names, ())
        everything = Change(Mark.READ, on=True, ids=None)
        ((changed, *_, server),) = self._commands.run([self._command(user, names, everything, found, UPDATED)])
        if changed:
            self._store.lineage.acknowledged_by(server)

    def forget(self, user: str) -> None:
        """Forget all marks and the visit of a user."""
        self._commands.run([("DEL", self._keys.marks(user), self._keys.visited(user))])

    def _command(
        self, user: str, names: Sequence[str], change: Change, found: Sequence[tuple[Page, list[int]]], record: str = ""
    ) -> Command:
        """Return the command for a change.

        If `record` is given, it announces the change instead of the change's own record. The change's own record covers
        all of the user's logs.
        """
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
    """Yield the arguments of `mark.lua` that name logs and offsets."""
    for name, (page, offsets) in zip(names, found, strict=True):
        yield from (name, page.history or page.epoch, page.oldest, page.top)
        yield from (ALL,) if change.ids is None else (len(offsets), *offsets)
