"""Auto-pipelining: the commands of concurrent requests share round trips.

A caller's commands are sent at once if no round trip is under way. Commands that come during a round trip go out
together in the next write, as in rueidis and ioredis. So a single request does not wait for others, and a thousand
concurrent requests cost a few round trips instead of a thousand uses of a pool. A second connection serves callers that
would otherwise wait longer than a usual round trip.

Each connection is a lane: its round trips complete in the order in which they began. Redis answers the commands of a
connection in order. So the next write can go out before the last reply has come. The order must survive a lost
connection. Commands that were written to it may or may not have been executed. They are sent again in the same order.
Until then nothing else is written, because it would be executed before them.

If the server is silent, no command is sent again, because each would wait for the whole time limit once more. The round
trip that reaches its limit fails all others that are under way, and notifies the lane's owner. The owner fails the
commands that have not been written yet. The error says that the commands may or may not be executed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore

from .. import metrics
from ..core.errors import BelfryError
from .connection import (
    RETRY_AFTER_SECONDS,
    Command,
    LostError,
    Reply,
    SilentError,
    UnpackableError,
    checked,
    pack,
    unavailable,
)

CONNECTIONS = 2
PATIENCE_SECONDS = 0.001  # longer than most round trips; commands that wait this long use another connection
COMMANDS_PER_WRITE = 400
# Extra time for a caller whose commands had to wait for a round trip that failed.
GRACE_SECONDS = 0.5

_WAIT = "WAIT"

logger = logging.getLogger("belfry.auto_pipeline")


class DedicatedConnection(Protocol):
    """See `connection.DedicatedConnection`."""

    @property
    def is_open(self) -> bool: ...
    def send(self, commands: Sequence[Command], *, again: bool = False) -> list[Reply]: ...
    def packed(self, commands: Sequence[Command]) -> bytes: ...
    def write(self, packed: bytes) -> None: ...
    def read(self, commands: Sequence[Command]) -> list[Reply]: ...
    def lacks_scripts(self, replies: Sequence[Reply]) -> bool: ...
    def completed(self, commands: Sequence[Command], replies: list[Reply]) -> list[Reply]: ...
    def close(self) -> None: ...


class RoundTrip:
    """One round trip. `is_written`: whether its replies will come over the connection that is open now.

    `was_begun`: whether a part of it was written, now or earlier.
    """

    __slots__ = ("commands", "failure", "is_written", "replies", "turn", "was_begun")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.is_written = False
        self.was_begun = False
        self.replies: list[Reply] | None = None
        self.failure: BelfryError | None = None
        self.turn: Event | None = None


class Lane:
    """Round trips on one connection. Only the holder of `writing` may begin one.

    `fell_silent` is called once each time that the server did not answer, before any caller gets the error.
    """

    def __init__(self, line: DedicatedConnection, fell_silent: Callable[[SilentError], None] = lambda _: None) -> None:
        self.writing = BoundedSemaphore(1)
        self._line = line
        self._fell_silent = fell_silent
        self._under_way: deque[RoundTrip] = deque()  # the first one gets the next replies

    def begin(self, commands: Sequence[Command]) -> RoundTrip:
        """Write `commands` if that keeps the order. Otherwise `end` writes them.

        Raises `UnpackableError`: nothing has begun. The caller must hold `writing`. It must call `end` in the same
        greenlet afterwards, even after an error.
        """
        packed = self._line.packed(commands)
        trip = RoundTrip(commands)
        in_order = all(earlier.is_written for earlier in self._under_way)
        self._under_way.append(trip)
        if in_order and self._line.is_open:
            trip.was_begun = True
            try:
                self._line.write(packed)
            except LostError:
                pass  # `end` sends the commands again
            except BelfryError as failure:
                self._fail(trip, failure)
            else:
                # There is no greenlet switch since the last byte was written. If the connection had ended before,
                # `write` would have failed.
                trip.is_written = True
        return trip

    def end(self, trip: RoundTrip) -> list[Reply]:
        """Return the replies, after those of all earlier round trips. Raises like `DedicatedConnection.send`."""
        try:
            if self._under_way[0] is not trip:
                trip.turn = Event()
                trip.turn.wait()
            return self._replies(trip)
        except BaseException:
            # This greenlet was killed, and nobody will read the replies.
            if trip.is_written:
                self._forget_written()
                self._line.close()
            raise
        finally:
            self._under_way.remove(trip)
            if self._under_way and self._under_way[0].turn is not None:
                self._under_way[0].turn.set()

    def _replies(self, trip: RoundTrip) -> list[Reply]:
        if trip.is_written:
            self._read(trip)
        if trip.failure is not None:
            raise trip.failure
        if trip.replies is not None and not self._line.lacks_scripts(trip.replies):
            return self._line.completed(trip.commands, trip.replies)
        with self.writing:
            return self._replies_to_more(trip)

    def _replies_to_more(self, trip: RoundTrip) -> list[Reply]:
        """Return the replies of a trip that must be sent again, or that lacked a script."""
        if trip.replies is not None:
            self._read_ahead()
        if trip.failure is not None:
            raise trip.failure
        try:
            if trip.replies is None:
                return self._line.send(trip.commands, again=trip.was_begun)
            return self._line.completed(trip.commands, trip.replies)
        except SilentError as failure:
            self._fail(trip, failure)
            raise

    def _read(self, trip: RoundTrip) -> None:
        """Read the replies of a trip. If the connection has ended, leave the trip without replies."""
        try:
            trip.replies = self._line.read(trip.commands)
            trip.is_written = False
        except LostError:
            self._forget_written()
        except BelfryError as failure:
            self._forget_written()
            self._fail(trip, failure)

    def _fail(self, trip: RoundTrip, failure: BelfryError) -> None:
        trip.failure = failure
        if isinstance(failure, SilentError):
            for each in self._under_way:
                each.failure = failure
            self._fell_silent(failure)

    def _read_ahead(self) -> None:
        """Read the replies to everything written before. Scripts are loaded only after that, to keep the order."""
        for later in islice(self._under_way, 1, None):
            if later.is_written:
                self._read(later)

    def _forget_written(self) -> None:
        for trip in self._under_way:
            trip.is_written = False


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
        open_connection: Callable[[], DedicatedConnection],
        timeout_seconds: float,
        limit: int,
        *,
        lanes: int = CONNECTIONS,
        depth: int = 1,
    ) -> None:
        self._open_connection = open_connection
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
            lanes = [Lane(self._open_connection(), self._refuse_queued)]
        else:
            lanes = [Lane(self._open_connection()) for _ in range(self._lanes)]
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
