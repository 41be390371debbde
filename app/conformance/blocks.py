"""The blocks of an event stream: the dispatched event, and the exact lines, because a decoder hides differences.

Pure: bytes in, blocks out. A block keeps comments and ids, since Belfry promises them as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..core.wire.sse import Decoder, Event

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Block:
    """The lines up to a blank one. `event` is None where nothing was dispatched, as by a comment."""

    lines: tuple[str, ...]
    event: Event | None

    @property
    def fields(self) -> list[str]:
        """The fields' names in order; a comment's is empty."""
        return [line.partition(":")[0] for line in self.lines]

    @property
    def type(self) -> str:
        return self.event.event if self.event else ""

    @property
    def id(self) -> str:
        """The id that this very block carries."""
        return self.event.id if self.event and "id" in self.fields else ""

    @property
    def data(self) -> str:
        return self.event.data if self.event else ""


class Splitter:
    """Reads a stream in chunks of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = Decoder()

    @property
    def cursor(self) -> str:
        """What a client sends as Last-Event-ID when it comes back now."""
        return self._decoder.last_event_id

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """The blocks that `chunk` completes."""
        self._rest += chunk
        while found := _END.search(self._rest):
            text, self._rest = self._rest[: found.end()], self._rest[found.end() :]
            events = self._decoder.feed(text)
            lines = [line for line in _LINE_END.split(text.decode(errors="replace")) if line]
            yield Block(tuple(lines), events[0] if events else None)
