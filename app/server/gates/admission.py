"""Admission: a worker that can't keep up refuses a publish at once, if it could answer it only too late.

Each waiting message delays the next ones. Beyond some point every answer comes after its publisher has given up. So the
queue has a length in seconds. A request that would wait longer costs only a parsed head and a prepared answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote

from ...core.errors import BelfryError
from ...core.message import Message
from ...store.logs.publisher import Posted, Published, Publishes

PATH = "/publish"
MANY = 16  # so many are let in whatever they cost: fewer tell nothing about the pace
FEW = MANY / 4  # with fewer on average, the pace is not the worker's but its publishers'
LEARN_SECONDS = 0.1  # longer than a turn of the loop, in which many enter before the first leaves
FIRST_GUESS_SECONDS = 0.000_5
RETRY_AFTER_SECONDS = 1

# Answered by `PreparedAnswer`: a refusal must cost much less than a publish.
REFUSAL: Final = BelfryError(
    "overloaded",
    "More is being published than this server can do; try again with the same id.",
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)

# For a connection that the worker accepts only because it may bring a health check.
NO_PLACE: Final = BelfryError(
    "too_many_connections",
    "As many requests are under way in this worker as it may hold.",
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)


class Admission:
    """Publishes, and knows how long one more would wait (Little's law: those inside, times seconds for each)."""

    def __init__(self, publisher: Publishes, wait_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._publisher = publisher
        self._wait_seconds = wait_seconds
        self._now = now
        self._inside = 0
        self._seconds_each = FIRST_GUESS_SECONDS
        # Of the span that is being learned from: its begin, how many left, and how long they were inside in all.
        self._since = now()
        self._left = 0
        self._stayed_seconds = 0.0

    @property
    def is_open(self) -> bool:
        """Whether one more request would be answered in time."""
        return self._inside < MANY or self._inside * self._seconds_each <= self._wait_seconds

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """As `Publisher`. The time to read the body is not counted, since a slow publisher may stretch it."""
        entered = self._enter()
        try:
            return self._publisher.publish(messages)
        finally:
            self._leave(entered)

    def post(self, messages: Sequence[Message]) -> Posted:
        """As `Publisher`. The caller must ask for the result."""
        entered = self._enter()
        try:
            posted = self._publisher.post(messages)
        except BaseException:
            self._leave(entered)
            raise
        return partial(self._awaited, posted, entered)

    def refuses(self, method: str, path: str) -> bool:
        """Whether a request is to be answered with `REFUSAL`.

        `path` is as it was sent: percent-encoded, and with the prefix under which the server may be mounted.
        """
        return method == "POST" and not self.is_open and unquote(path).endswith(PATH)

    def _enter(self) -> float:
        self._inside += 1
        return self._now()

    def _awaited(self, posted: Posted, entered: float) -> list[Published]:
        try:
            return posted()
        finally:
            self._leave(entered)

    def _leave(self, entered: float) -> None:
        self._inside -= 1
        now = self._now()
        self._left += 1
        self._stayed_seconds += now - entered
        if now - self._since >= LEARN_SECONDS:
            self._learn(now - self._since)
            self._since, self._left, self._stayed_seconds = now, 0, 0.0

    def _learn(self, span: float) -> None:
        """Forget the measured time when the load is over, because it may have been a slow store."""
        busy = self._stayed_seconds / span >= FEW
        self._seconds_each = span / self._left if busy else FIRST_GUESS_SECONDS


class MemoryBudget:
    """A memory limit for concurrent batches. One sender is always accepted, whatever its size."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken_bytes = 0

    def place(self, announced: int) -> Reservation:
        """A reservation for a sender that announced so many bytes. Raises `BelfryError` `overloaded`.

        They must fit beside the bytes that others have sent. Bytes that others only announced do not count, since they
        may never come.
        """
        self._check(announced, 0)
        return Reservation(self)

    def take(self, size: int, beside: int) -> None:
        """Take `size` bytes for a sender that holds `beside`. Raises `BelfryError` `overloaded`."""
        self._check(size, beside)
        self._taken_bytes += size

    def give_back(self, size: int) -> None:
        self._taken_bytes -= size

    def _check(self, size: int, beside: int) -> None:
        others = self._taken_bytes - beside
        if others and self._taken_bytes + size > self._most_bytes:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise BelfryError("overloaded", "Too many batches are being published; try again soon.", headers=headers)


class Reservation:
    """The part of the memory budget that one sender holds."""

    def __init__(self, room: MemoryBudget) -> None:
        self._room = room
        self._bytes = 0

    def grow(self, size: int) -> None:
        """Take `size` bytes more. Raises `BelfryError` `overloaded`, and then changes nothing."""
        self._room.take(size, self._bytes)
        self._bytes += size

    def leave(self) -> None:
        """Give everything back."""
        self._room.give_back(self._bytes)
        self._bytes = 0
