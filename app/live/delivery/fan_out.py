"""Writes published messages to the readers of their log. If messages come faster than it can write, it joins them.

A log with up to `WIDE` readers is written to at once. With more readers a fan-out takes milliseconds: one write per
reader, most of it in the kernel. So such a log rests afterwards, for as long as the fan-out took and at most for
`fan_out_rest_seconds`. Messages that arrive until then wait, and each reader gets them in one write. Other greenlets
run during the rest, and during a long fan-out.

The wait loses, doubles and reorders nothing:

- A waiting message counts as not yet received: `seen` moves only when it is written. A reader that joins or catches up
  before reads the message from the store, and later takes only what it lacks (`core.log.catch_up.on_live`). A reader
  that leaves, or gets a goodbye, has a cursor before the message. A transient message reaches only readers that stay.
- While messages of a log wait, are being written, or the log rests, new messages of the log wait behind them. The log's
  queue is removed only when it is empty, without a greenlet switch between the check and the removal.
- A change of the feed's state comes after the messages that were received before it, on any log: it is told when those
  are written (`wait_written`).
- A comparison with the store's tail counts waiting messages as received (`reach`).
- The waiting messages of one log have at most as many bytes as one page of history, or are one message, because a slow
  reader may have to keep all of them. All logs together have at most `fan_out_bytes`. When a limit is reached, the
  receiver waits before it takes the next message, and no log rests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from ...core.log import catch_up, cursor
from ...core.log.cursor import Position, Vector
from ...core.settings import Settings
from ...core.wire import frames
from ..streams.subscriber import CHUNK_BYTES, OpenLog, Subscriber
from ..turns import turn
from .batch import Batch, Heard, Share
from .catch_up import CatchUp

WIDE = 256  # readers of a log, or writes of a fan-out, until everybody else on the worker gets a turn
FRAME_BYTES = cursor.MAX_BYTES + len("id: \nevent: \ndata: \n\n")  # what a frame has at most beside the record

logger = logging.getLogger("belfry.fan_out")


class Pace:
    """How a fan-out spends the time of the loop."""

    wide = WIDE
    joined_bytes = CHUNK_BYTES

    def __init__(self, settings: Settings) -> None:
        self.waiting_bytes = settings.fan_out_bytes
        self.rest_seconds = settings.fan_out_rest_seconds

    def now(self) -> float:
        return time.monotonic()

    def turn(self) -> None:
        """Let the loop serve other sockets."""
        turn()

    def wait(self, event: Event, seconds: float | None) -> None:
        event.wait(seconds)


class PendingMessages:
    """The messages of a wide log that are not yet written, and those that are being written."""

    __slots__ = ("heard", "size", "taken", "until", "writing", "written")

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.size = 0
        self.taken = self.written = 0  # entries so far
        self.writing: Sequence[Heard] = ()
        self.until = 0.0  # when its rest is over

    def add(self, live: Position, record: bytes, size: int) -> None:
        """Add a message, whose frame may have `size` bytes."""
        self.heard.append((live, record))
        self.size += size
        self.taken += 1


Mark = dict[PendingMessages, int]  # of each log's entries, how many were heard


class FanOut:
    """One per worker: one greenlet serves all wide logs."""

    def __init__(
        self, catch_up: CatchUp, clock: Callable[[], float], failed: Callable[[OpenLog], None], pace: Pace
    ) -> None:
        """`failed` is called with a log if some of its messages could not be written."""
        self._catch_up = catch_up
        self._clock = clock
        self._failed = failed
        self._pace = pace
        self._waiting: dict[OpenLog, PendingMessages] = {}
        self._size = 0
        self._crowded = False  # the receiver waits until there is room
        self._due = Event()
        self._room = Event()
        self._progress = Event()
        self._greenlet: gevent.Greenlet[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and no log rests."""
        return not self._waiting

    def start(self) -> None:
        """Begin."""
        self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """End. Waiting messages are in the store."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)

    def take(self, open_log: OpenLog, live: Position, record: bytes) -> None:
        """Write a received entry, now or later with others. Switches greenlets if too much waits already."""
        waiting = self._waiting.get(open_log)
        if waiting is None and len(open_log.members) <= self._pace.wide:
            self._write(open_log, [(live, record)])
            return
        size = len(record) + FRAME_BYTES
        while not self._has_room(waiting, size):
            self._crowded = True
            self._due.set()
            self._room.clear()
            self._room.wait()
            waiting = self._waiting.get(open_log)  # meanwhile it may have been forgotten
        self._crowded = False
        if waiting is None:
            waiting = self._waiting[open_log] = PendingMessages()
            self._due.set()
        waiting.add(live, record, size)
        self._size += size

    def reach(self, open_log: OpenLog, position: Position) -> Position:
        """The position of a live reader, now at `position`, after all waiting messages are written."""
        waiting = self._waiting.get(open_log)
        if waiting is None:
            return position
        return catch_up.on_live(position, [live for live, _ in (*waiting.writing, *waiting.heard)]).position

    def heard(self) -> Mark:
        """A mark for `wait_written`: the messages received until now and not yet written."""
        return {waiting: waiting.taken for waiting in self._waiting.values()}

    def wait_written(self, mark: Mark) -> None:
        """Wait until those messages are written. Only one greenlet may wait at a time."""
        while any(waiting.written < taken for waiting, taken in mark.items()):
            self._progress.clear()
            self._progress.wait()

    def _has_room(self, waiting: PendingMessages | None, size: int) -> bool:
        if waiting is not None and waiting.size and waiting.size + size > self._pace.joined_bytes:
            return False
        return not self._size or self._size + size <= self._pace.waiting_bytes

    def _work(self) -> None:
        while True:
            self._due.clear()
            self._pace.wait(self._due, self._round())

    def _round(self) -> float | None:
        """Write the messages that are due. Returns the seconds until the next rest is over."""
        for open_log, waiting in list(self._waiting.items()):
            if self._crowded or self._pace.now() >= waiting.until:
                if waiting.heard:
                    self._fan_out(open_log, waiting)
                else:
                    del self._waiting[open_log]
        now = self._pace.now()
        return min([max(0.0, waiting.until - now) for waiting in self._waiting.values()], default=None)

    def _fan_out(self, open_log: OpenLog, waiting: PendingMessages) -> None:
        self._size -= waiting.size
        waiting.writing, waiting.heard, waiting.size = waiting.heard, [], 0
        self._room.set()
        began = self._pace.now()
        try:
            self._write(open_log, waiting.writing)
        except Exception:
            logger.exception("writing messages to the readers of a log failed")
            self._failed(open_log)
        waiting.written += len(waiting.writing)
        waiting.writing = ()
        self._progress.set()
        ended = self._pace.now()
        waiting.until = ended + min(ended - began, self._pace.rest_seconds)

    def _write(self, open_log: OpenLog, heard: Sequence[Heard]) -> None:
        """Write to the readers whose position is right before it.

        For a wide log it switches to other greenlets in between. A reader that leaves, falls behind or catches up
        then is judged by its new state.
        """
        for live, record in heard:
            open_log.note(live, record == frames.END)
        open_log.wake()
        batch = Batch(open_log, heard)
        before: Vector | None = None
        unnamed = False
        for count, subscriber in enumerate(list(open_log.members)):
            if count and not count % self._pace.wide:
                self._pace.turn()
            if subscriber.live:
                # After one shared delivery they hold the very same vector.
                if subscriber.vector is not before or subscriber.unnamed is not unnamed:
                    before, unnamed = subscriber.vector, subscriber.unnamed
                    frame, after, share = batch.plan(subscriber)
                if frame:
                    _give(subscriber, frame, after, share)
                if share.rest.gap:
                    self._catch_up.add(subscriber, "gap")
        if not open_log.finite:
            batch.count(self._clock)


def _give(subscriber: Subscriber, frame: bytes, after: Vector, share: Share) -> None:
    subscriber.vector = after
    share.readers += 1
    subscriber.messages += len(share.rest.taken)
    try:
        subscriber.write(frame)
        if share.ends:
            subscriber.finish()
    except Exception:
        # How much of it was written nobody knows. Its client comes back with a cursor; all others are served.
        logger.exception("a stream failed")
        subscriber.close("error")
