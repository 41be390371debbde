"""A lane: one pipelined connection to Redis. Its round trips complete in the order in which they began.

Redis answers the commands of a connection in order. So the next write can go out before the last reply has come. The
order must survive a lost connection. Commands that were written to it may or may not have been executed. They are sent
again in the same order. Until then nothing else is written, because it would be executed before them.

If the server is silent, no command is sent again, because each would wait for the whole time limit once more. The round
trip that reaches its limit fails all others that are under way, and notifies the lane's owner. The owner fails the
commands that have not been written yet. The error says that the commands may or may not be executed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from ..core.errors import BelfryError
from .connection import Command, LostError, Reply, SilentError


class Line(Protocol):
    """See `connection.Line`."""

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

    def __init__(self, line: Line, fell_silent: Callable[[SilentError], None] = lambda _: None) -> None:
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
        """Return the replies, after those of all earlier round trips. Raises like `Line.send`."""
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
