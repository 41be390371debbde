"""Reads and writes `text/event-stream` as WHATWG HTML 9.2.5 (the format) and 9.2.6 (its interpretation) define it.

Bytes in, events out, and back. It knows nothing of HTTP, connections, cursors or Belfry's own event types.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Only these three end a line. `str.splitlines()` would also split at U+2028, U+0085 and others, which would break data.
_LINE_END = re.compile(r"\r\n|\r|\n")
_FORBIDDEN = re.compile(r"[\r\n\0]")
# No delay needs more digits. int() refuses 4,300 digits with an exception, which a peer could provoke.
_RETRY_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event. `id` is the last event id at this event. `retry` is in ms, if the event had one."""

    event: str
    data: str
    id: str
    retry: int | None = None


def encode(data: str, *, event: str = "", id: str | None = None, retry: int | None = None) -> bytes:
    """Return one event, with its blank line. Without `event` it is a `message`.

    `id=""` resets the client's last event id. CR, LF or NUL in `event` or `id` raise ValueError, because they would let
    a publisher write other fields. The reader gets `data` with its line ends as LF.
    """
    head = ""
    if retry is not None:
        head += _retry_line(retry)
    if event:
        head += f"event: {_single_line('event', event)}\n"
    if id is not None:
        head += f"id: {_single_line('id', id)}\n"
    body = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    return f"{head}data: {body}\n\n".encode()


def _retry_line(retry: int) -> str:
    if retry < 0:
        raise ValueError(f"retry must be 0 or more milliseconds, got {retry}")
    return f"retry: {retry}\n"


def _single_line(field: str, value: str) -> str:
    if _FORBIDDEN.search(value):
        raise ValueError(f"{field} must be free of CR, LF and NUL, got {value!r}")
    return value


class Lines:
    """Splits bytes into lines. The bytes may be cut anywhere, also inside a character or between CR and LF.

    As "UTF-8 decode" (9.2.5) says, one leading BOM is dropped, and invalid bytes become U+FFFD.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line: list[str] = []
        self._after_cr = False
        self.waiting = 0  # characters of the line that has not ended yet

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the lines that `chunk` ends. A CR ends its line at once. An LF after it belongs to that CR."""
        text = self._utf8.decode(chunk)
        if not text:
            return
        belongs_to_cr = self._after_cr and text[0] == "\n"
        self._after_cr = text[-1] == "\r"
        text = text[1:] if belongs_to_cr else text
        first, *others = text.split("\n") if "\r" not in text else _LINE_END.split(text)  # a plain split is faster
        self._line.append(first)
        self.waiting += len(first)
        for start_of_next in others:
            line = "".join(self._line)
            self._line, self.waiting = [start_of_next], len(start_of_next)
            yield line


class Decoder:
    """Reads a stream in chunks of any size, cut anywhere, also inside a character or between CR and LF.

    `last_event_id` and `reconnection_ms` are the values for a client's reconnect. Blocks that dispatch nothing change
    them too. An id counts only when its block has ended, so a block that was cut in half is requested again.
    """

    # The standard's buffers for the block that is being read.
    _event: str
    _data: list[str]
    _retry: int | None

    def __init__(self) -> None:
        self.last_event_id = ""
        self.reconnection_ms: int | None = None
        self._lines = Lines()
        self._id = ""
        self._start_block()

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes. A block without its blank line is never dispatched."""
        events = (self._interpret(line) for line in self._lines.feed(chunk))
        return [event for event in events if event is not None]

    def _interpret(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        if not line.startswith(":"):
            field, _, value = line.partition(":")
            self._process(field, value.removeprefix(" "))
        return None

    def _process(self, field: str, value: str) -> None:
        """Process a field (9.2.6): names are case-sensitive, unknown ones are ignored."""
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit() and len(value) <= _RETRY_MAX_DIGITS:
            self._retry = self.reconnection_ms = int(value)

    def _dispatch(self) -> Event | None:
        """Dispatch the event (9.2.6). The id is kept even if there is no data and so no event."""
        self.last_event_id = self._id
        event, data, retry = self._event or "message", self._data, self._retry
        self._start_block()
        return Event(event, "\n".join(data), self.last_event_id, retry) if data else None

    def _start_block(self) -> None:
        self._event = ""
        self._data = []
        self._retry = None
