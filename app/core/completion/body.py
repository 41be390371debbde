"""The body of an upstream's answer, read as bytes come: an event stream, or one JSON text.

The content type decides which one it is. If it is missing or wrong, the first character decides: no event stream begins
with `{`, and no JSON begins with the name of a field.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Final

from ..errors import BelfryError
from ..wire.sse import Lines
from .failure import failed, short
from .json_text import BOM, read, written
from .pieces import DONE, END, Piece

NOISE_CHARS: Final = 2_000  # kept of text that can't be understood, for the error text
# Servers send events with these names as keep-alives, with any data.
_UNNAMED: Final = frozenset({"", "message", "error", "data", "chunk"})
_DONE_SPELLINGS: Final = frozenset({DONE, "DONE", '"[DONE]"'})
_FIELDS: Final = ("data", "event", "id", "retry", ":")


class Body:
    """Reads one answer, with at most `limit` characters at a time.

    Raises `BelfryError` for a body that is not an answer.
    """

    def __init__(self, content_type: str, limit: int) -> None:
        self._type = content_type.partition(";")[0].strip().lower()
        self._limit = limit
        self._reader: Events | Whole | None = None
        self._head = b""

    @property
    def noise(self) -> str:
        """The beginning of the text that was not JSON."""
        return "" if self._reader is None else self._reader.noise

    def feed(self, received: bytes) -> Iterator[Piece]:
        """Return the pieces that `received` completes."""
        if self._reader is not None:
            return self._reader.feed(received)
        self._head += received
        begins = self._head.removeprefix(codecs.BOM_UTF8).lstrip()
        if not begins:
            self._head = self._head[-8:]  # spaces, or a part of a BOM
        if self._is_unclear(begins):
            return iter(())
        return self._begin(begins)

    def end(self) -> Iterator[Piece]:
        """Yield the pieces that the end of the body completes."""
        if self._reader is None:
            yield from self._begin(self._head)
        if self._reader is not None:
            yield from self._reader.end()

    @staticmethod
    def _is_unclear(begins: bytes) -> bool:
        """Return whether the first bytes may still become the name of a field, or a BOM."""
        return any(name.encode().startswith(begins) for name in _FIELDS if name != ":") or (
            codecs.BOM_UTF8.startswith(begins)
        )

    def _begin(self, begins: bytes) -> Iterator[Piece]:
        start = begins[:8].decode(errors="replace")
        is_stream = start.startswith(_FIELDS) or (
            self._type in {"text/event-stream", "application/x-ndjson", "application/jsonl"}
        )
        self._reader = Events(self._limit) if is_stream else Whole(self._limit)
        return self._reader.feed(self._head)


class Events:
    """Reads an event stream line by line. It takes a line as soon as the line is a JSON object.

    So it separates events that have only one line end between them, and finds objects without the name of the field.
    Other lines are joined until the block ends, as WHATWG HTML 9.2.6 says.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines = Lines()
        self._event = ""
        self._parts: list[str] = []
        self._size = 0
        self.noise = ""

    def feed(self, received: bytes) -> Iterator[Piece]:
        if self._lines.waiting + self._size > self._limit:
            raise BelfryError("answer_too_large", "The upstream sent an event that is too large.")
        for line in self._lines.feed(received):
            if line.startswith("data:"):
                data = line[5:].strip()
                while data.startswith("data:"):  # some relays repeat the name of the field
                    data = data[5:].strip()
                alone = self._alone(data)
                if alone is None:
                    yield from self._data(data)
                elif (piece := self._piece(*alone)) is not None:
                    yield piece
            elif line or self._parts or self._event:  # otherwise this ends a block that was taken already
                yield from self._line(line)

    def end(self) -> Iterator[Piece]:
        """Complete the last block, because some upstreams end without the last blank line."""
        yield from self.feed(b"\n\n")
        # One JSON text on many lines, despite the content type.
        if self.noise.lstrip()[:1] in ("{", "["):
            yield from _whole(self.noise)

    def _alone(self, data: str) -> tuple[object, str] | None:
        """Return the result of `read` for a line that is an object and begins a block, or None.

        Nearly every line of an answer is like this.
        """
        if self._parts or not data.startswith("{"):
            return None
        try:
            return read(data)
        except ValueError:
            return None

    def _line(self, line: str) -> Iterator[Piece]:
        if not line:
            yield from self._block_end()
        elif line.startswith("event:"):
            self._event = line[6:].strip()
        elif line[0] == "{" and not self.noise:
            yield from self._bare(line)
        elif not line.startswith(_FIELDS):
            self._hear(line)

    def _data(self, data: str) -> Iterator[Piece]:
        if data.upper() in _DONE_SPELLINGS:
            yield END
        elif data:
            try:
                value, text = read(data) if data[0] == "{" or not self._parts else (None, "")
            except ValueError:
                value, text = None, ""
            if self._parts and isinstance(value, dict) and ("choices" in value or "error" in value):
                yield from self._block_end()  # the next object began without a blank line
            if self._parts or not text:
                self._keep(data)
            else:
                yield from self._dispatch(value, text)

    def _keep(self, data: str) -> None:
        self._parts.append(data)
        self._size += len(data)

    def _bare(self, line: str) -> Iterator[Piece]:
        try:
            value, text = read(line)
        except ValueError:
            self._hear(line)
        else:
            yield from self._dispatch(value, text)

    def _block_end(self) -> Iterator[Piece]:
        data = "\n".join(self._parts)
        self._parts, self._size = [], 0
        if data:
            try:
                value, text = read(data)
            except ValueError:
                yield from self._not_json(data)
            else:
                yield from self._dispatch(value, text)
        self._event = ""

    def _dispatch(self, value: object, text: str) -> Iterator[Piece]:
        piece = self._piece(value, text)
        if piece is not None:
            yield piece

    def _piece(self, value: object, text: str) -> Piece | None:
        event, self._event = self._event, ""
        if isinstance(value, list) and value and isinstance(value[0], dict):  # Gemini sends errors in a list
            value = value[0]
        if not isinstance(value, dict):
            self._hear(text)
            return None
        piece = Piece(text, value, event)
        return piece if not event or event.lower() in _UNNAMED or piece.is_chunk or "error" in value else None

    def _not_json(self, data: str) -> Iterator[Piece]:
        if self._event == "error":
            yield Piece("", {"message": short(data)}, "error")
        elif self._event.lower() in _UNNAMED:
            if data[0] in "{[":
                raise BelfryError("upstream_malformed", "The upstream sent a chunk that is not JSON.", retry=False)
            self._hear(data)

    def _hear(self, text: str) -> None:
        if len(self.noise) < NOISE_CHARS:
            self.noise += text + "\n"


class Whole:
    """Reads one JSON text, which can be parsed only when it is complete."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self.noise = ""

    def feed(self, received: bytes) -> Iterator[Piece]:
        self._size += len(received)
        if self._size > self._limit:
            raise BelfryError("answer_too_large")
        self._parts.append(received)
        return iter(())

    def end(self) -> Iterator[Piece]:
        text = b"".join(self._parts).decode(errors="replace").lstrip(BOM)
        self.noise = text[:NOISE_CHARS]
        try:
            yield from _whole(text)
        except ValueError as error:
            pieces = list(_line_by_line(text))
            if not pieces and text[:1] in ("{", "[") and _is_cut(error, text):
                raise BelfryError("upstream_truncated", retry=False) from None
            yield from pieces


def _line_by_line(text: str) -> Iterator[Piece]:
    """Yield the objects of a body with one object per line. Some upstreams send this under any content type."""
    for line in [line for line in text.split("\n") if line.strip()]:
        try:
            value, told = read(line)
        except ValueError:
            return
        if isinstance(value, dict):
            yield Piece(told, value)


def _is_cut(error: ValueError, text: str) -> bool:
    """Return whether the JSON is not wrong but ends too soon."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()) - 1


def _whole(text: str) -> Iterator[Piece]:
    """Yield the pieces of one JSON text. Raises ValueError if `text` is not JSON."""
    value, told = read(text)
    if isinstance(value, list):  # a list of chunks, or of one error
        yield from [Piece(written(member), member) for member in value if isinstance(member, dict)]
    elif isinstance(value, dict):
        yield Piece(told, value)


def not_an_answer(noise: str) -> BelfryError:
    """Return the error for a body without an answer."""
    if not noise.strip():
        return BelfryError("upstream_truncated", "The upstream's answer is empty.", retry=False)
    return failed("upstream_malformed", f"The upstream answered with something else than a completion: {short(noise)}")
