"""Catch up, then live: decides which entries a reader gets, with functions of positions and pages.

A reader of a log has two sources. The store returns pages of history on request. The log's channel delivers live
entries, each once, or not at all after a lost connection. These functions decide which entries of both sources are
written to a reader, so that it sees every offset once and in order, or is told that history was lost.

They have no state and do no I/O. `live` calls them between two greenlet switches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cursor import Position, Vector
from .marks import NO_MARKS, NO_OFFSETS, Marks, Offsets

# The offset of an entry that was published but not kept. It has no place in the log.
LIVE_ONLY = 0


class Entry(NamedTuple):
    """One kept entry. `expires_ms` is Unix time in milliseconds, or 0 if it never expires."""

    offset: int
    record: bytes
    expires_ms: int


class Page(NamedTuple):
    """The result of one read of a log, in one atomic step.

    `top` is the newest offset ever given, `oldest` the oldest not yet trimmed, `kept` the number of entries held.
    `after` is the offset that was read from, or None if the reader's cursor had no position of this log's history.
    Offsets that are missing between two entries were deleted one by one, not lost: `gone` has those.
    `revision` counts the changes of the log that are not appends. In a user's own log, it also counts changes of marks.
    `marks` are the marks of the user for whom the log was read.
    `history` is the log's first epoch ('' if it still has that epoch). `former` has the last valid position of each
    earlier epoch. An epoch ends when the log's server is restarted or replaced.
    """

    epoch: str
    top: int
    oldest: int
    kept: int
    after: int | None
    entries: tuple[Entry, ...]
    revision: int = 0
    gone: Offsets = NO_OFFSETS
    marks: Marks = NO_MARKS
    history: str = ""
    former: Vector = ()

    @property
    def tail(self) -> Position:
        return Position(self.epoch, self.top)

    @property
    def is_whole(self) -> bool:
        """Whether the log has all entries that were appended to it, except those that were removed on purpose."""
        return self.kept + self.gone.count_between(self.oldest, self.top) == self.top - self.oldest + 1

    @property
    def own_marks(self) -> Marks:
        """The marks that were made in this history."""
        return self.marks.within(self.history or self.epoch)

    def place(self, position: Position) -> int | None:
        """Return the offset of `position` in this log, or None if it belongs to another history or to a lost part."""
        if position.epoch == self.epoch:
            return position.offset
        last = next((last.offset for last in self.former if last.epoch == position.epoch), -1)
        return position.offset if position.offset <= last else None

    def unread(self, upto: int) -> int:
        """Return how many messages up to the offset `upto` are kept and unread.

        Messages beyond `top` were appended after this page was read, so they have no marks yet.
        """
        settled = self.gone.union(self.own_marks.handled)
        return max(0, upto - self.oldest + 1) - settled.count_between(self.oldest, upto)

    def between(self, after: int) -> int:
        """Return how many entries after the offset `after` are kept."""
        first = max(after + 1, self.oldest)
        return max(0, self.top - first + 1) - self.gone.count_between(first, self.top)


class Rest(NamedTuple):
    """The part of a run of live entries that a reader takes: those at the indexes `taken`. `position` is its new place.

    `gap`: whether the reader missed an entry after that. Only the store has it.
    """

    position: Position
    taken: tuple[int, ...]
    gap: bool


class Reading(NamedTuple):
    """The part of a page that a reader takes. It writes `entries` and is then at `position`.

    `lost`: whether the reader must get a reset.
    """

    position: Position
    entries: tuple[Entry, ...]
    lost: bool


def on_live(position: Position, run: Sequence[Position]) -> Rest:
    """Judge live entries, in the order in which they came, for a reader at `position`.

    Only the very next offset is taken. A smaller offset was already read from history. A larger offset, or another
    epoch, means that an entry in between was missed. An entry that is not kept (`LIVE_ONLY`) takes its place in the
    run. It is not taken after a gap, nor before an entry that the reader has read from history.
    """
    at, taken = position, list[int]()
    for index, live in enumerate(run):
        if live.offset == LIVE_ONLY:
            taken.append(index)
        elif live.epoch != at.epoch or live.offset > at.offset + 1:
            return Rest(at, tuple(taken), gap=True)
        elif live.offset == at.offset + 1:
            at = live
            taken.append(index)
        elif at is position:
            taken.clear()
    return Rest(at, tuple(taken), gap=False)


def on_page(position: Position, page: Page) -> Reading:
    """Take the entries of a page that come after `position`.

    History is lost in three cases: the log has another history; the position is beyond the newest offset or in a lost
    part (the store was set back); or the next entry was trimmed. The reader then goes to the tail and fetches the kept
    entries again.
    """
    place = page.place(position)
    if place is None or not page.oldest - 1 <= place <= page.top:
        return Reading(page.tail, (), lost=True)
    fresh = tuple([entry for entry in page.entries if entry.offset > place])
    return Reading(Position(page.epoch, fresh[-1].offset) if fresh else page.tail, fresh, lost=False)


def start(pages: Sequence[Page], cursor: Vector | None) -> tuple[Vector, bool]:
    """Return where a new connection begins in each log, and whether the history after its cursor was lost.

    Without a cursor, it begins at the tails. A log without a position in the cursor begins at its tail as well. If all
    positions of the cursor belong to logs, the log is new to this reader, for example a topic, and nothing is lost. If
    a position belongs to no log, its epoch is gone, and it may have belonged to this log. So this counts as a loss.
    """
    orphaned = any(all(page.place(position) is None for page in pages) for position in cursor or ())
    lost = orphaned and any(page.after is None for page in pages)
    return tuple([page.tail if page.after is None else Position(page.epoch, page.after) for page in pages]), lost


def newest(seen: Position | None, seen_before: Position | None, tail: Position) -> Position:
    """Return the newest known position of a log after a read returned `tail`.

    `seen_before` is the position that was known when the read was sent. If a newer one became known since then, it
    wins, because it may be later than the answer. Otherwise the answer wins, even if it is smaller (the store was set
    back) or of another epoch (the log was lost). If nothing changed, the same object is returned, which readers share.
    """
    if seen is None or seen == seen_before:
        return seen if seen == tail and seen is not None else tail
    return max(seen, tail) if seen.epoch == tail.epoch else seen


def caught_up(vector: Vector, seen: Sequence[Position | None]) -> bool:
    """Return whether a reader is at the newest known position of all its logs.

    The next live entry then continues them.
    """
    return all(
        newest is not None and position.epoch == newest.epoch and position.offset >= newest.offset
        for position, newest in zip(vector, seen, strict=True)
    )
