"""Auto-pipelining: the commands of concurrent requests share round trips.

A caller's commands are sent at once if no round trip is under way. Commands that come during a round trip go out
together in the next write, as in rueidis and ioredis. So a single request does not wait for others, and a thousand
concurrent requests cost a few round trips instead of a thousand uses of a pool. A second connection serves callers that
would otherwise wait longer than a usual round trip.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from .. import metrics
from ..core.errors import BelfryError
from .connection import (
    RETRY_AFTER_SECONDS,
    Command,
    Reply,
    SilentError,
    UnpackableError,
    checked,
    pack,
    unavailable,
)
from .lane import Lane, Line, RoundTrip

CONNECTIONS = 2
PATIENCE_SECONDS = 0.001  # longer than most round trips; commands that wait this long use another connection
COMMANDS_PER_WRITE = 400
# Extra time for a caller whose commands had to wait for a round trip that failed.
GRACE_SECONDS = 0.5

_WAIT = "WAIT"

logger = logging.getLogger("belfry.auto_pipeline")


class CommandTimeoutError(Exception):
    """A caller's commands were not sent or not answered in time.

    Other callers may have got their answers, so this does not mean that the server is silent.
    """


class QueuedCall:
    """The commands of one caller, which waits here for the replies. `due` is the time at which the wait ends."""

    __slots__ = ("commands", "due", "given_up", "replies")

    def __init__(self, commands: Sequence[Command], due: float) -> None:
        self.commands = commands
        self.due = due
        self.replies: AsyncResult[list[Reply]] = AsyncResult()
        self.given_up = False

    def get(self) -> list[Reply]:
        """Wait for the replies and return them.

        Raises `BelfryError` `store_unavailable`, or `internal_error` if the commands can't be encoded.
        """
        return checked(self.answers())

    def answers(self) -> list[Reply]:
        """Wait like `get`, but put an error in the place of a reply if Redis refused the command."""
        try:
            self.replies.wait()  # `AutoPipeline` ends this wait at `due`
        # Also if this greenlet is killed: the commands must not run after what its caller does next.
        finally:
            self.given_up |= not self.replies.ready()
        return self.replies.get() or []

    def is_over(self, now: float) -> bool:
        """Return whether the call has its replies or is past `due`. A call that is past `due` fails here."""
        if self.due <= now and not (self.given_up or self.replies.ready()):
            self.given_up = True
            self.replies.set_exception(unavailable(CommandTimeoutError()))
        return self.given_up or self.replies.ready()


class AutoPipeline:
    """Runs batches of commands like a `Connection`. At most `limit` commands may wait at a time.

    With one lane, commands run in the order in which they were posted, and up to `depth` writes go out before the first
    answer comes. If the store does not answer on that lane, waiting commands fail as well. With several lanes, they
    would use another one.
    """

    def __init__(
        self,
        open_line: Callable[[], Line],
        timeout_seconds: float,
        limit: int,
        *,
        lanes: int = CONNECTIONS,
        depth: int = 1,
    ) -> None:
        self._open_line = open_line
        self._timeout_seconds = timeout_seconds * depth + GRACE_SECONDS  # each call may wait for all writes before it
        self._limit = limit
        self._lanes = lanes
        self._depth = depth
        self._queue: deque[QueuedCall] = deque()
        self._queued = 0
        self._under_way: list[list[QueuedCall]] = []
        self._idle: list[Event] = []
        self._greenlets: list[gevent.Greenlet[[Lane], None]] = []
        self._watch: Any = None  # the timer that runs while a caller waits
        # The timer that runs while commands wait for a round trip of other callers.
        self._patience: Any = None

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Run `commands` and return their replies. Raises like `post` and `QueuedCall.get`."""
        return self.post(commands).get()

    def post(self, commands: Sequence[Command]) -> QueuedCall:
        """Queue `commands` without waiting for the replies.

        Raises `BelfryError` `overloaded` if too many commands are waiting already.
        """
        if self._queued >= self._limit:
            raise BelfryError("overloaded", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        if not self._greenlets:
            self._start()
        waiting = QueuedCall(commands, time.monotonic() + self._timeout_seconds)
        self._queue.append(waiting)
        self._queued += len(commands)
        if len(self._idle) == len(self._greenlets) or self._depth > 1:
            self._call()
        elif self._patience is None and self._idle:
            self._patience = gevent.get_hub().loop.timer(PATIENCE_SECONDS)
            self._patience.start(self._call_late)
        if self._watch is None:
            self._watch_until(waiting.due)
        return waiting

    def stop(self) -> None:
        """End the round trips. Waiting callers get a timeout."""
        gevent.killall(self._greenlets)

    def _start(self) -> None:
        if self._lanes == 1:
            lanes = [Lane(self._open_line(), self._refuse_queued)]
        else:
            lanes = [Lane(self._open_line()) for _ in range(self._lanes)]
        self._greenlets = [gevent.spawn(self._work, lane) for lane in lanes for _ in range(self._depth)]

    def _work(self, lane: Lane) -> None:
        filled = Event()
        while True:
            if not self._queue:
                filled.clear()
                self._idle.append(filled)
                filled.wait()
            with lane.writing:
                batch, trip = self._begun(lane)
            if trip is not None:
                began = time.monotonic()
                self._end(lane, batch, trip)
                metrics.TRIP_TIMES.add(time.monotonic() - began)

    def _call(self) -> None:
        """Wake an idle lane, which takes the waiting commands."""
        if self._queue and self._idle:
            self._idle.pop().set()

    def _call_late(self) -> None:
        self._patience.close()
        self._patience = None
        self._call()

    def _begun(self, lane: Lane) -> tuple[list[QueuedCall], RoundTrip | None]:
        """Write the commands of the next callers."""
        batch = self._take()
        try:
            try:
                return batch, lane.begin(_merged(batch)) if batch else None
            except UnpackableError:
                batch = _packable(batch)
                return batch, lane.begin(_merged(batch)) if batch else None
        except Exception as error:
            logger.exception("a round trip to the store failed")
            _refuse(batch, unavailable(error))
            return [], None

    def _take(self) -> list[QueuedCall]:
        """Take as many callers as fit into one write.

        Callers that have given up are dropped, because their commands must no longer run.
        """
        batch: list[QueuedCall] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].commands) <= COMMANDS_PER_WRITE):
            waiting = self._queue.popleft()
            self._queued -= len(waiting.commands)
            if not waiting.given_up:
                batch.append(waiting)
                size += len(waiting.commands)
        self._call()
        return batch

    def _refuse_queued(self, failure: SilentError) -> None:
        """Fail all waiting callers, whose commands were not sent.

        There is no greenlet switch between the failure and this call. So commands that come later are tried again.
        """
        queued, self._queue, self._queued = self._queue, deque(), 0
        _refuse(queued, failure)

    def _end(self, lane: Lane, batch: list[QueuedCall], trip: RoundTrip) -> None:
        self._under_way.append(batch)
        try:
            _hand_out(lane.end(trip), batch)
        except BelfryError as error:
            _refuse(batch, error)
        except Exception as error:
            # Without this, the greenlet would end. After the last greenlet had ended, every caller would wait in vain.
            logger.exception("a round trip to the store failed")
            _refuse(batch, unavailable(error))
        finally:
            self._under_way.remove(batch)

    def _watch_until(self, due: float) -> None:
        self._watch = gevent.get_hub().loop.timer(max(0.0, due - time.monotonic()))
        self._watch.start(self._look)

    def _look(self) -> None:
        """Fail the callers that are past `due`, and look again when the next one is due.

        All callers share one timer. A timer per caller would cost more than all other work for the caller.
        """
        self._watch.close()
        self._watch = None
        now = time.monotonic()
        while self._queue and self._queue[0].is_over(now):
            self._queued -= len(self._queue.popleft().commands)
        late = [waiting for batch in self._under_way for waiting in batch if not waiting.is_over(now)]
        if late or self._queue:
            self._watch_until(min([waiting.due for waiting in chain(late, islice(self._queue, 1))]))


def _merged(batch: Sequence[QueuedCall]) -> list[Command]:
    """Return all commands of one write. Only one `WAIT` is kept, at the end, because several would wait in turn.

    It counts the replicas that have everything that this connection wrote before. This includes each caller's writes.
    """
    commands = [command for waiting in batch for command in waiting.commands]
    waits = [command for command in commands if command[0] == _WAIT]
    if len(waits) < 2:
        return commands
    return [*[command for command in commands if command[0] != _WAIT], waits[-1]]


def _hand_out(replies: list[Reply], batch: Sequence[QueuedCall]) -> None:
    """Give each caller its own replies."""
    if len(replies) < sum([len(waiting.commands) for waiting in batch]):
        rest, wait = iter(replies), replies[-1]
        replies = [wait if command[0] == _WAIT else next(rest) for waiting in batch for command in waiting.commands]
    begin = 0
    for waiting in batch:
        end = begin + len(waiting.commands)
        if not waiting.given_up:
            waiting.replies.set(replies[begin:end])
        begin = end


def _packable(batch: Sequence[QueuedCall]) -> list[QueuedCall]:
    """Refuse the callers whose commands can't be encoded, and return the rest.

    A retry can't succeed for these commands, so the error does not ask for one.
    """
    refused = [waiting for waiting in batch if not _is_packable(waiting.commands)]
    logger.error("%d of %d callers have commands that can't be encoded", len(refused), len(batch))
    _refuse(refused or batch, BelfryError("internal_error"))
    return [waiting for waiting in batch if waiting not in refused] if refused else []


def _is_packable(commands: Sequence[Command]) -> bool:
    try:
        pack(commands)
    except UnpackableError:
        return False
    return True


def _refuse(batch: Iterable[QueuedCall], error: BelfryError) -> None:
    """Fail each caller with an error of its own, because callers may add data for their own clients to it."""
    for waiting in batch:
        if not waiting.given_up:
            waiting.replies.set_exception(type(error)(error.code, error.detail, headers=error.headers))
