"""The feed: several logs read as one list of messages, by time.

Within a log the offsets decide; between logs, whose offsets say nothing of each other, the time of the messages does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import NamedTuple

from app.core.catch_up import Entry, Page, on_page
from app.core.cursor import Position, Vector, replace
from app.store.log import LogStore


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A part of the feed. `messages` are JSON objects as text; `next` leads to the page after it, None at the end.

    `cursor` is where a stream must begin to continue this page: after all of it, before everything newer.
    """

    messages: tuple[str, ...]
    next: Vector | None
    cursor: Vector
    kept: int


class _Item(NamedTuple):
    """A message on its way into the list: `at` is the number of its log. Ordered by time, then log, then offset."""

    time: str
    at: int
    offset: int
    message: str


class Feed:
    """Reads feeds."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def newest(self, names: Sequence[str], before: Vector | None, limit: int, now_ms: int) -> FeedPage:
        """Up to `limit` messages of the logs `names`, newest first, from before a `next` of an earlier page."""
        pages = self._store.read_back([(name, before or ()) for name in names], limit + 1)
        found = list(merge(*[_items(at, page.entries, now_ms) for at, page in enumerate(pages)], reverse=True))
        shown = found[:limit]
        if len(found) <= limit:  # all that was read is shown, but for what has expired
            read_to: Vector = tuple([Position(page.epoch, _lowest(page)) for page in pages])
        else:
            read_to = tuple([Position(page.epoch, page.after or 0) for page in pages])
            for item in shown:
                read_to = replace(read_to, Position(pages[item.at].epoch, item.offset), item.at)
        more = len(found) > limit or any(len(page.entries) > limit for page in pages)
        return FeedPage(
            messages=tuple([item.message for item in shown]),
            next=read_to if more else None,
            cursor=tuple([page.tail for page in pages]),
            kept=sum(page.kept for page in pages),
        )


def oldest(vector: Vector, pages: Sequence[Page], limit: int, now_ms: int) -> tuple[FeedPage, bool]:
    """Up to `limit` messages out of `pages`, oldest first, that come after `vector`; and whether history was lost."""
    readings = [on_page(position, page) for position, page in zip(vector, pages, strict=True)]
    found = list(merge(*[_items(at, reading.entries, now_ms) for at, reading in enumerate(readings)]))
    cursor: Vector = tuple([reading.position for reading in readings])
    for item in reversed(found[limit:]):  # what is not shown comes after the cursor: the first of each log decides
        cursor = replace(cursor, Position(pages[item.at].epoch, item.offset - 1), item.at)
    shown = tuple([item.message for item in found[:limit]])
    kept = sum(page.kept for page in pages)
    return FeedPage(shown, None, cursor, kept), any(reading.lost for reading in readings)


def _lowest(page: Page) -> int:
    return page.entries[-1].offset if page.entries else page.after or 0


def _items(at: int, entries: Sequence[Entry], now_ms: int) -> Iterator[_Item]:
    for offset, record, expires_ms in entries:
        if not expires_ms or expires_ms > now_ms:
            message = record.partition(b" ")[2].decode()
            yield _Item(json.loads(message)["time"], at, offset, message)
