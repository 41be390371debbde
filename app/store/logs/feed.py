"""The feed: several logs read as one list of messages, by time.

Within a log the offsets decide; between logs, whose offsets say nothing about each other, the time of the messages
does. What the reader has removed is in no feed.
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

ROUNDS_MAX = 10  # of reading for one page; a filter that finds little answers a short page, and where to go on
FILTERED_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages a feed shows. `unread` None shows both kinds; an empty `level` or `tag` shows all."""

    unread: bool | None = None
    archived: bool = False
    level: str = ""
    tag: str = ""

    @property
    def narrows(self) -> bool:
        """Whether much of what is read may not be shown."""
        return self != Filter()

    def admits(self, message: dict[str, Any], *, read: bool, archived: bool) -> bool:
        return (
            archived is self.archived
            and self.unread in (None, not read)
            and self.level in ("", message.get("level"))
            and (not self.tag or self.tag in message.get("tags", ()))
        )


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A part of the feed. `messages` are JSON objects as text; `next` leads to the page after it, None at the end.

    `cursor` is where a stream must begin to continue this page: after all of it, before everything newer.
    """

    messages: tuple[str, ...]
    next: Vector | None
    cursor: Vector
    counts: FeedCounts


class _Item(NamedTuple):
    """An entry on its way into the list: `at` is the number of its log. Ordered by time, then log, then offset.

    `shown` is the text of the message, empty where it isn't to be shown.
    """

    time: str
    at: int
    offset: int
    shown: str


class _Shown:
    """The messages found for one page, until it is full."""

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
    """Reads feeds."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def newest(
        self, user: str, names: Sequence[str], before: Vector | None, limit: int, wanted: Filter, now_ms: int
    ) -> FeedPage:
        """Up to `limit` messages, or `PAGE_BYTES`, of the logs `names` as `user` sees them, newest first.

        They come from before a `next` of an earlier page. Raises `BelfryError` `history_lost` where a log of that page
        has another history now.
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
    """Go back through `pages`, of `count` entries at most, and fill `shown`; answers where to go on, None at the end.

    Where a page is full, more of its log follows, so nothing older than its last entry can be placed yet.
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
    """Whether a page read back was cut short by a limit, so that more may follow."""
    return len(page.entries) == count or sum(len(entry.record) for entry in page.entries) >= PAGE_BYTES


def oldest(vector: Vector, pages: Sequence[Page], limit: int, now_ms: int) -> tuple[FeedPage, bool]:
    """Up to `limit` messages out of `pages`, oldest first, that come after `vector`; and whether history was lost."""
    readings = [on_page(position, page) for position, page in zip(vector, pages, strict=True)]
    items = merge(*[_items(at, pages[at], reading.entries, None, now_ms) for at, reading in enumerate(readings)])
    found = [item for item in items if item.shown]
    cursor: Vector = tuple([reading.position for reading in readings])
    for item in reversed(found[limit:]):  # what is not shown comes after the cursor: the first of each log decides
        cursor = replace(cursor, Position(pages[item.at].epoch, item.offset - 1), item.at)
    return FeedPage(tuple([item.shown for item in found[:limit]]), None, cursor, _counts(pages)), any(
        reading.lost for reading in readings
    )


def _counts(pages: Sequence[Page]) -> FeedCounts:
    return FeedCounts(sum(page.unread(page.top) for page in pages), sum(page.revision for page in pages))


def _items(at: int, page: Page, entries: Sequence[Entry], wanted: Filter | None, now_ms: int) -> Iterator[_Item]:
    """The entries of log number `at`, each with the reader's marks; without a filter, archived ones as well."""
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
