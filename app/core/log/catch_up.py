"""Catch up, then live: the decisions, as functions of positions and pages.

A reader of a log has two sources. The store returns pages of history on request. The log's channel delivers live
entries, each once, or not at all after a lost connection. These functions decide which entries of both are written to a
reader, so that it sees every offset once and in order, or is told that history was lost.

They hold no state and do no I/O; `live` calls them between two switch points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cursor import Position, Vector
from .marks import NO_MARKS, NO_OFFSETS, Marks, Offsets

LIVE_ONLY = 0  # the offset of an entry that was published but not kept: it has no place in the log


class Entry(NamedTuple):
    """One kept entry. `expires_ms` is Unix time in milliseconds, 0 for never."""

    offset: int
    record: bytes
    expires_ms: int


class Page(NamedTuple):
    """What one read of a log found, in one atomic step.

    `top` is the newest offset ever given, `oldest` the oldest not yet trimmed, `kept` the number of
    entries held.
    `after` is the offset that was read from, or None where the reader's cursor had no position of this epoch.
    Offsets missing from `entries` between two others were deleted one by one, not lost: `gone` are those.
    `revision` counts the changes of the log that are not appends, and of its user's marks if it is a user's own log.
    `marks` are the marks of the user for whom it was read.
    `history` is the log's first epoch ('' where it still has that), `former` are the last valid positions of earlier
    ones: an epoch ends when the log's server is started again or replaced.
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
    def own_marks(self) -> Marks:
        """The marks that were made in this history."""
        return self.marks.within(self.history or self.epoch)

    def place(self, position: Position) -> int | None:
        """The offset of `position` in this log, None where it is of another history, or of a part that was lost."""
        if position.epoch == self.epoch:
            return position.offset
        last = next((last.offset for last in self.former if last.epoch == position.epoch), -1)
        return position.offset if position.offset <= last else None

    def unread(self, upto: int) -> int:
        """How many messages up to the offset `upto` are kept and unread.

        What lies beyond `top` was appended after this page was read: nobody has marked it yet.
        """
        settled = self.gone.union(self.own_marks.handled)
        return max(0, upto - self.oldest + 1) - settled.count_between(self.oldest, upto)

    def between(self, after: int) -> int:
        """How many entries after the offset `after` are kept."""
        first = max(after + 1, self.oldest)
        return max(0, self.top - first + 1) - self.gone.count_between(first, self.top)


class Rest(NamedTuple):
    """What a reader takes from a run of live entries: those at the indexes `taken`; then it stands at `position`.

    `gap`: something after that was not heard, and only the store knows what.
    """

    position: Position
    taken: tuple[int, ...]
    gap: bool


class Reading(NamedTuple):
    """What a reader takes from a page: write `entries`, then stand at `position`; `lost` tells to announce a reset."""

    position: Position
    entries: tuple[Entry, ...]
    lost: bool


def on_live(position: Position, run: Sequence[Position]) -> Rest:
    """Judge live entries, in the order in which they were heard, for a reader that stands at `position`.

    Only the very next offset is taken. A smaller one was already read from history; a larger one, or another epoch,
    means that something between was not heard. An entry that is not kept (`LIVE_ONLY`) comes where it stands in the
    run: after a gap it is not taken, and neither is one before something that the reader has read from history.
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
    """Take from a page what comes after `position`.

    History is lost when the log has another history, when the position lies beyond the newest offset or in a part that
    was lost (the store was set back), or when the entry after it was trimmed. The reader then goes to the tail: what is
    kept, it fetches anew.
    """
    place = page.place(position)
    if place is None or not page.oldest - 1 <= place <= page.top:
        return Reading(page.tail, (), lost=True)
    fresh = tuple([entry for entry in page.entries if entry.offset > place])
    return Reading(Position(page.epoch, fresh[-1].offset) if fresh else page.tail, fresh, lost=False)


def start(pages: Sequence[Page], cursor: Vector | None) -> tuple[Vector, bool]:
    """Where a new connection begins in each log, and whether the history after its cursor was lost.

    Without a cursor it begins at the tails. A log without a position begins at its tail as well: silently when every
    position of the cursor was used (the log is new to this reader, a topic say), as a loss when one was left over
    (its epoch is gone, and this log may be the one that had it).
    """
    orphaned = any(all(page.place(position) is None for page in pages) for position in cursor or ())
    lost = orphaned and any(page.after is None for page in pages)
    return tuple([page.tail if page.after is None else Position(page.epoch, page.after) for page in pages]), lost


def newest(seen: Position | None, seen_before: Position | None, tail: Position) -> Position:
    """The newest position known of a log after a read answered `tail`.

    `seen_before` is what was known when the read was sent. What became known since then came later than the answer
    may be, and wins; otherwise the answer is the authority, even when it is smaller (the store was set back) or of
    another epoch (the log was lost). Where nothing changed it is the very same object, which readers share.
    """
    if seen is None or seen == seen_before:
        return seen if seen == tail and seen is not None else tail
    return max(seen, tail) if seen.epoch == tail.epoch else seen


def caught_up(vector: Vector, seen: Sequence[Position | None]) -> bool:
    """Whether a reader has reached everything that is known of its logs, so that the next live entry continues it."""
    return all(
        newest is not None and position.epoch == newest.epoch and position.offset >= newest.offset
        for position, newest in zip(vector, seen, strict=True)
    )
