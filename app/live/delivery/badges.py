"""Tells every connection of a user about a change of the feed, each with its own unread count.

The change itself is published on the log's channel, to all workers, without a count. Connections read different logs,
and the retraction of a broadcast changes a different number for each user. So each worker reads the counts of its own
connections, many in one round trip. It counts up to the position of the connection: each message that is written to the
connection after that frame adds one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import gevent
from gevent import Greenlet

from ...core.errors import BelfryError
from ...core.log.catch_up import Page
from ...core.log.marks import Marks
from ...core.wire import frames
from ...core.wire.frames import UPDATED, FeedCounts
from ...store.logs.log import LogStore
from ..streams.subscriber import Subscriber
from .fan_out import FanOut, Mark

READERS_PER_ROUND = 200
RECORDS_MAX = 8  # changes told one by one to a connection; of more at once it only hears that there were some
RETRY_SECONDS = 0.5

logger = logging.getLogger("belfry.badges")

Reader = tuple[str, tuple[str, ...]]  # a user and the logs of a connection: equal ones have the same counts


class Badges:
    """The queue of connections that have a change to hear of."""

    def __init__(self, store: LogStore, fan_out: FanOut) -> None:
        self._store = store
        self._fan_out = fan_out
        self._heard: Mark = {}  # when the last change was announced
        self._waiting: dict[Subscriber, list[bytes]] = {}
        self._greenlet: Greenlet[[], None] | None = None

    def tell(self, subscribers: Iterable[Subscriber], record: bytes) -> None:
        """Let `subscribers` hear of a change, after what was heard before it and may be named by it.

        Who catches up now hears of it when that is done.
        """
        self._heard = self._fan_out.heard()
        for subscriber in subscribers:
            records = self._waiting.setdefault(subscriber, [])
            if len(records) < RECORDS_MAX:
                records.append(record)
            else:
                records[:] = [UPDATED]
        if self._waiting and self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """End the round that runs."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)

    def _work(self) -> None:
        try:
            while self._waiting:
                self._guarded_round([(each, self._waiting.pop(each)) for each in self._next()])
        finally:
            self._greenlet = None

    def _next(self) -> list[Subscriber]:
        """The next batch: subscribers that need the same shards, so that none waits for a shard it does not read."""
        first = list(islice(self._waiting, READERS_PER_ROUND))
        homes = first[0].homes
        return [subscriber for subscriber in first if subscriber.homes == homes]

    def _guarded_round(self, batch: Sequence[tuple[Subscriber, list[bytes]]]) -> None:
        try:
            self._round(batch)
        except BelfryError as error:
            logger.info("counts can't be read, %d streams wait: %s", len(batch), error.detail)
            gevent.sleep(RETRY_SECONDS)
            for subscriber, _ in batch:
                self.tell([subscriber], UPDATED)
        except Exception:
            # Their counts are wrong until the next change: worth a line in the log, not their streams.
            logger.exception("reading unread counts failed")

    def _round(self, batch: Sequence[tuple[Subscriber, list[bytes]]]) -> None:
        readers = list(dict.fromkeys([_reader(subscriber) for subscriber, _ in batch]))
        names = list(dict.fromkeys([name for _, logs in readers for name in logs]))
        found, marks = self._store.survey(names, readers)
        self._fan_out.wait_written(self._heard)
        pages = dict(zip(names, found, strict=True))
        marks_of = dict(zip(readers, marks, strict=True))
        for subscriber, records in batch:
            if not subscriber.live:
                subscriber.stale = True
                continue
            counts = _counts(subscriber, pages, marks_of[_reader(subscriber)])
            subscriber.write(b"".join([frames.changed(record, counts) for record in records]))


def _reader(subscriber: Subscriber) -> Reader:
    return subscriber.user, tuple([open_log.name for open_log in subscriber.logs])


def _counts(subscriber: Subscriber, pages: dict[str, Page], marks: Sequence[Marks]) -> FeedCounts:
    """Its counts where it stands now; a history that it has yet to be told of counts whole."""
    unread = revision = 0
    for open_log, position, mark in zip(subscriber.logs, subscriber.vector, marks, strict=True):
        page = pages[open_log.name]._replace(marks=mark)
        place = page.place(position)
        unread += page.unread(page.top if place is None else place)
        revision += page.revision
    return FeedCounts(unread, revision)
