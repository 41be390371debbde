"""The feed: several logs, read as one list of messages in the order of time.

Messages of one log are ordered by offset. Offsets of different logs can't be compared, so messages of different logs
are ordered by time. A feed does not contain messages that the reader has removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, NamedTuple

from ...core.errors import BelfryError
from ...core.log.catch_up import Entry, Page, on_page, start
from ...core.log.cursor import Position, Vector, replace
from ...core.wire.frames import FeedCounts
from .log import PAGE_BYTES, LogStore

# The maximum number of reads for one page. If a filter matches little, the page is short and says where to continue.
ROUNDS_MAX = 10
FILTERED_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects the messages that a feed shows.

    `unread` None selects read and unread messages, `archived` None also the archived ones. An empty `level`, `tag` or
    `topic` selects all of them.
    """

    unread: bool | None = None
    archived: bool | None = False
    level: str = ""
    tag: str = ""
    topic: str = ""

    @property
    def narrows(self) -> bool:
        """Whether the filter may exclude many of the messages that are read."""
        return self != Filter()

    def admits(self, message: dict[str, Any], *, read: bool, archived: bool) -> bool:
        return (
            self.archived in (None, archived)
            and self.unread in (None, not read)
            and self.level in ("", message.get("level"))
            and (not self.tag or self.tag in message.get("tags", ()))
            and self.topic in ("", message.get("topic"))
        )


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A part of the feed. `messages` are JSON objects as text.

    `next` is the position of the next page, None at the end. A stream that begins at `cursor` continues this page: it
    repeats nothing of the page and misses nothing newer.
    """

    messages: tuple[str, ...]
    next: Vector | None
    cursor: Vector
    counts: FeedCounts


class _Item(NamedTuple):
    """An entry of a log on its way into the list. Items are ordered by time, then log, then offset.

    `at` is the number of its log. `shown` is the text of the message. It is empty if the message must not be shown.
    """

    time: str
    at: int
    offset: int
    shown: str


class _Shown:
    """Collects the messages of one page until the page is full."""

    def __init__(self, limit: int) -> None:
        self.texts: list[str] = []
        self._room = limit
        self._room_bytes = PAGE_BYTES

    @property
    def is_full(self) -> bool:
        return self._room <= 0 or self._room_bytes <= 0

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._room -= 1
        self._room_bytes -= len(text)


class Feed:
    """Reads a user's logs as one feed, in pages."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def newest(
        self, user: str, names: Sequence[str], before: Vector | None, limit: int, wanted: Filter, now_ms: int
    ) -> FeedPage:
        """Return messages of the logs `names` as `user` sees them, newest first.

        Returns up to `limit` messages or `PAGE_BYTES`. They come before `before`, which is the `next` of an earlier
        page. Raises `BelfryError` `history_lost` if a log of that page has another history now.
        """
        count = max(limit, FILTERED_ENTRIES if wanted.narrows else 0) + 1
        shown = _Shown(limit)
        first: list[Page] = []
        following = before
        for _ in range(ROUNDS_MAX):
            pages = self._store.read_back([(name, following or ()) for name in names], count, user)
            if not first and before and start(pages, before)[1]:
                raise BelfryError("history_lost", "Fetch /feed again, from its beginning.")
            first = first or pages
            following = _walk(pages, count, wanted, now_ms, shown)
            if following is None or shown.is_full:
                break
        return FeedPage(tuple(shown.texts), following, tuple([page.tail for page in first]), _counts(first))


def _walk(pages: Sequence[Page], count: int, wanted: Filter, now_ms: int, shown: _Shown) -> Vector | None:
    """Go back through `pages` of at most `count` entries each, and fill `shown`.

    Return where to continue, None at the end. If a page is full, more entries of its log follow. So nothing that is
    older than the last entry of that page can be placed yet.
    """
    edges = {at: page.entries[-1].offset for at, page in enumerate(pages) if _ends_early(page, count)}
    read_to: Vector = tuple([Position(page.epoch, page.after or 0) for page in pages])
    for item in merge(*[_items(at, page, page.entries, wanted, now_ms) for at, page in enumerate(pages)], reverse=True):
        if item.shown and shown.is_full:
            return read_to
        if item.shown:
            shown.add(item.shown)
        read_to = replace(read_to, Position(pages[item.at].epoch, item.offset), item.at)
        if edges.get(item.at) == item.offset:
            return read_to
    return None


def _ends_early(page: Page, count: int) -> bool:
    """Return whether a limit cut short a page that was read backwards. More entries may then follow."""
    return len(page.entries) == count or sum(len(entry.record) for entry in page.entries) >= PAGE_BYTES


def oldest(vector: Vector, pages: Sequence[Page], limit: int, now_ms: int) -> tuple[FeedPage, bool]:
    """Return up to `limit` messages of `pages` that come after `vector`, oldest first, and whether history was lost."""
    readings = [on_page(position, page) for position, page in zip(vector, pages, strict=True)]
    items = merge(*[_items(at, pages[at], reading.entries, None, now_ms) for at, reading in enumerate(readings)])
    found = [item for item in items if item.shown]
    cursor: Vector = tuple([reading.position for reading in readings])
    # Messages beyond the limit come after the cursor. The first one of each log decides.
    for item in reversed(found[limit:]):
        cursor = replace(cursor, Position(pages[item.at].epoch, item.offset - 1), item.at)
    return FeedPage(tuple([item.shown for item in found[:limit]]), None, cursor, _counts(pages)), any(
        reading.lost for reading in readings
    )


def _counts(pages: Sequence[Page]) -> FeedCounts:
    return FeedCounts(sum(page.unread(page.top) for page in pages), sum(page.revision for page in pages))


def _items(at: int, page: Page, entries: Sequence[Entry], wanted: Filter | None, now_ms: int) -> Iterator[_Item]:
    """Yield the entries of log number `at` with the reader's marks.

    Without a filter, this includes archived entries.
    """
    marks = page.own_marks
    for offset, record, expires_ms in entries:
        text = record.partition(b" ")[2].decode()
        message = json.loads(text)
        read, archived = marks.read.has(offset), marks.archived.has(offset)
        gone = marks.removed.has(offset) or 0 < expires_ms <= now_ms
        if gone or (wanted and not wanted.admits(message, read=read, archived=archived)):
            yield _Item(message["time"], at, offset, "")
        else:
            yield _Item(message["time"], at, offset, f"{text[:-1]}{_flags(read, archived)}")


def _flags(read: bool, archived: bool) -> str:
    return f',"read":{"true" if read else "false"},"archived":{"true" if archived else "false"}}}'
