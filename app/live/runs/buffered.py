"""A bounded buffer between the greenlet that reads from an upstream and the greenlet that takes from the buffer.

A slow store or client stops the reading only when the buffer is full. The taker can wait with a limit, to check in
between whether its client is still connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from gevent.event import Event

from .call import Call
from .upstream_client import UpstreamClient

BUFFER_BYTES = 262_144

Item = TypeVar("Item", str, bytes)


class Buffered(Call, Generic[Item]):
    """A call whose answer is taken piece by piece. `take` raises its failure as `BelfryError`.

    `_notify` tells who does not wait in `take` that there is something to take, or that the end has come.
    """

    _notify: Callable[[], None] | None = None

    def __init__(self, client: UpstreamClient, headers: Mapping[str, str], *, whole: bool) -> None:
        self._chunks: list[Item] = []
        self._size = 0
        self._open = Event()
        self._filled = Event()
        self._room = Event()
        super().__init__(client, headers, whole=whole)

    def wait_opened(self, seconds: float) -> bool:
        """Wait up to `seconds` for the head of the answer or a refusal; return whether it came."""
        return bool(self._open.wait(seconds))

    def take(self, seconds: float) -> list[Item]:
        """The chunks so far, after waiting up to `seconds` for the first. Empty at the end, or if none came."""
        if not self._chunks and not self.ended:
            self._filled.wait(seconds)
        chunks = self.take_now()
        if not chunks and self._failure is not None:
            raise self._failure
        return chunks

    def take_now(self) -> list[Item]:
        """The chunks that wait to be taken, if any."""
        self._filled.clear()
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._room.set()
        return chunks

    @property
    def has_chunks(self) -> bool:
        """Whether there is something to take."""
        return bool(self._chunks)

    @property
    def over(self) -> bool:
        """Whether the answer has ended and all of it was taken."""
        return self.ended and not self._chunks and self._failure is None

    def _opened(self) -> None:
        self._open.set()

    def _append(self, item: Item) -> None:
        if self._size >= BUFFER_BYTES:
            self._wait_for_room()
        self._chunks.append(item)
        self._size += len(item)
        self._fill()

    def _wait_for_room(self) -> None:
        self._patience.hold()
        while self._size >= BUFFER_BYTES:
            self._room.clear()
            self._room.wait()
        self._patience.go_on(time.monotonic())
        self._hasten()

    def _ended(self) -> None:
        self._open.set()
        self._fill()

    def _fill(self) -> None:
        self._filled.set()
        if self._notify is not None:
            self._notify()
