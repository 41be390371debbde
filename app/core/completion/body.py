"""The body of an upstream's answer, read as bytes come: an event stream, or one JSON text.

The content type decides which one it is. If it is missing or wrong, the first character decides: no event stream begins
with `{`, and no JSON begins with the name of a field.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import string
from collections.abc import Iterator
from typing import Any, Final

from ..errors import BelfryError
from ..wire.sse import Lines
from .failure import failed, failure_of, is_certain_around, short
from .json_text import BOM, cleaned, read, written
from .pieces import DONE, END, Piece

TORN_MAX: Final = 8  # events over which one object may be spread
NOISE_CHARS: Final = 2_000  # kept of text that can't be understood, for the error text
# Servers send events with these names as keep-alives, with any data.
_UNNAMED: Final = frozenset({"", "message", "error", "data", "chunk"})
_HEARD: Final = frozenset({"error", "usage"})  # members that count under any name of an event
_DONE_SPELLINGS: Final = frozenset({DONE, "DONE", '"[DONE]"'})
_FIELDS: Final = ("data", "event", "id", "retry", ":")
_STREAM_TYPES: Final = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"}
)
# Characters that some upstreams send before the name of a field: BOMs, blanks, and the separator of RFC 7464.
_MARKS: Final = f"{BOM}\x1e"
_BEFORE: Final = f"{_MARKS} \t"
_NAME: Final = re.compile(r"(data|event|id|retry)[ \t]*:", re.IGNORECASE)
_ERROR_FIELD: Final = re.compile(r"error[ \t]*:", re.IGNORECASE)  # of llama.cpp
# Names of events that report the failure of the whole answer. Other names may report that of a tool.
_FAILURES: Final = frozenset({"error", "exception", "response.failed", "response.error", "completion.failed"})
_EXCEPTION: Final = "Exception"  # ends the names of Bedrock's events for failures
# Members in which some gateways wrap a whole answer or a chunk.
_ENVELOPES: Final = ("data", "result", "response", "output", "body")
# Text that begins like this was meant to be an object. Other text is noise.
_OBJECT: Final = re.compile(r"\{|\[\s*[\[{]")


_ONE: Final = json.JSONDecoder(strict=False)


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
        begins = _stripped(self._head)
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
        return any(name.encode().startswith(begins.lower()) for name in _FIELDS if name != ":") or (
            codecs.BOM_UTF8.startswith(begins)
        )

    def _begin(self, begins: bytes) -> Iterator[Piece]:
        start = begins[:8].decode(errors="replace").lower()
        is_stream = start.startswith(_FIELDS) or self._type in _STREAM_TYPES
        self._reader = Events(self._limit) if is_stream else Whole(self._limit)
        return self._reader.feed(self._head)


def _stripped(head: bytes) -> bytes:
    """Return the bytes without BOMs, blanks and record separators (RFC 7464) before them.

    No answer begins with a part of a BOM, so the three bytes of a BOM need not be in order.
    """
    return head.lstrip(string.whitespace.encode() + codecs.BOM_UTF8 + b"\x1e")


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
        self._torn = 0
        self._broken = ""  # the data of a block that ended within an object, which the next block may continue
        self._is_over = False
        self.noise = ""

    def feed(self, received: bytes) -> Iterator[Piece]:
        if self._lines.waiting + self._size + len(self._broken) > self._limit:
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
        self._is_over = True
        yield from self.feed(b"\n\n")
        if self._broken:
            self._hear(self._broken)
        # One JSON text on many lines, despite the content type.
        if _OBJECT.match(self.noise.lstrip()):
            with contextlib.suppress(ValueError):
                yield from _whole(self.noise)

    def _alone(self, data: str) -> tuple[object, str] | None:
        """Return the result of `read` for a line that is an object and begins a block, or None.

        Nearly every line of an answer is like this.
        """
        if self._parts or self._broken or not data.startswith("{"):
            return None
        try:
            return read(data)
        except ValueError:
            return None

    def _line(self, line: str) -> Iterator[Piece]:
        if not line:
            yield from self._block_end()
        elif line.startswith("event:"):
            self._event = _event_name(line[6:])
        elif not line.startswith(_FIELDS) or _NAME.match(line):
            yield from self._odd_line(line)

    def _odd_line(self, raw: str) -> Iterator[Piece]:
        """Read a line that begins with no field as the standard has it: the name in another spelling, or none."""
        line = raw.lstrip(_BEFORE)
        field = _NAME.match(line)
        if field and field[1].lower() == "data":
            yield from self._data(line[field.end() :].strip())
        elif field:
            self._event = _event_name(line[field.end() :]) if field[1].lower() == "event" else self._event
        elif line.upper() in _DONE_SPELLINGS and not self._parts:
            yield self._done()
        elif self._parts or self._broken:  # an object that goes on without the name of the field
            self._keep(raw.lstrip(_MARKS))  # its blanks may belong to a text
        elif line[:1] == "{" and not self.noise:
            yield from self._bare(line)
        elif error := self._error_field(line):
            yield error
        else:
            self._hear(line)

    def _error_field(self, line: str) -> Piece | None:
        """Return the error in a line `error: {…}`, or None. In a JSON text on many lines, such a line is text."""
        field = _ERROR_FIELD.match(line)
        if field and not _OBJECT.match(self.noise.lstrip()):
            with contextlib.suppress(ValueError):
                value, text = read(line[field.end() :].strip())
                return Piece(text, value, "error") if value and isinstance(value, dict) else None
        return None

    def _data(self, data: str) -> Iterator[Piece]:
        if data.upper() in _DONE_SPELLINGS:
            yield self._done()
        elif data:
            try:
                value, text = read(data) if data[0] == "{" or not self._parts else (None, "")
            except ValueError:
                value, text = None, ""
            if self._parts and isinstance(value, dict) and ("choices" in value or "error" in value):
                yield from self._block_end()  # the next object began without a blank line
            if self._parts or self._broken or not text:  # after a broken object, `_mended` judges what follows
                self._keep(data)
            else:
                yield from self._dispatch(value, text)

    def _done(self) -> Piece:
        if self._broken:
            raise _malformed()
        return END

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
        if self._broken:
            yield from self._mended(data)
        elif data:
            try:
                value, text = read(data)
            except ValueError:
                yield from self._not_json(data)
            else:
                yield from self._dispatch(value, text)
        self._event = ""

    def _mended(self, data: str) -> Iterator[Piece]:
        """Join a block with the broken object before it, because some relays tear an object into two events."""
        if not data:
            return
        both, self._broken = self._broken + data, ""
        self._torn += 1
        if self._torn > TORN_MAX:  # each part costs the time of the whole object
            raise _malformed()
        try:
            value, text = read(both)
        except ValueError:
            if _is_json(data) or not _ends_within(both):
                raise _malformed() from None
            self._broken = both
        else:
            self._torn = 0
            yield from self._dispatch(value, text)

    def _dispatch(self, value: object, text: str) -> Iterator[Piece]:
        if isinstance(value, list) and value and isinstance(value[0], dict):  # some upstreams send lists of chunks
            event = self._event
            for member in value:
                if isinstance(member, dict):
                    self._event = event
                    if (piece := self._piece(member, written(member))) is not None:
                        yield piece
        elif (piece := self._piece(value, text)) is not None:
            yield piece

    def _piece(self, value: object, text: str) -> Piece | None:
        event, self._event = self._event, ""
        if not isinstance(value, dict):
            self._hear(text)
            return None
        if "choices" not in value and event != "error" and event.lower() in _UNNAMED:
            value, text = _unwrapped(value, text)
        piece = Piece(text, value, event)
        return (
            piece if not event or event.lower() in _UNNAMED or piece.is_chunk or not _HEARD.isdisjoint(value) else None
        )

    def _not_json(self, data: str) -> Iterator[Piece]:
        if self._event == "error":
            yield Piece("", {"message": short(data)}, "error")
        elif self._event.lower() in _UNNAMED:
            if not _OBJECT.match(data):
                self._hear(data)
            elif found := _several(data):
                for value, text in found:
                    yield from self._dispatch(value, text)
            elif self._is_over or _ends_within(data):
                self._broken = data
            else:
                raise _malformed()

    def _hear(self, text: str) -> None:
        if len(self.noise) < NOISE_CHARS:
            self.noise += text + "\n"


def _event_name(text: str) -> str:
    """Return the name of an event. Every name of a failure becomes `error`."""
    name = text.strip()
    return "error" if name.lower() in _FAILURES or name.endswith(_EXCEPTION) else name


def _unwrapped(value: dict[str, Any], text: str) -> tuple[dict[str, Any], str]:
    """Return the answer or chunk that a gateway has put into an object of its own, with the usage beside it."""
    for name in _ENVELOPES:
        inner = value.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("choices"), list) and _is_envelope(value, inner):
            found = inner if inner.get("usage") or "usage" not in value else {**inner, "usage": value["usage"]}
            return found, written(found)
    return value, text


def _is_envelope(value: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Return whether `value` only surrounds the answer or chunk `inner`, and is not an error.

    Gateways have codes of their own for success. So an unknown code counts only if there is no answer beside it.
    """
    if inner["choices"]:
        return not is_certain_around(value)
    return bool(inner.get("usage")) and failure_of(Piece("", value)) is None


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


def _malformed() -> BelfryError:
    return BelfryError("upstream_malformed", "The upstream sent a chunk that is not JSON.", retry=False)


def _is_json(data: str) -> bool:
    try:
        read(data)
    except ValueError:
        return False
    return True


def _several(data: str) -> list[tuple[Any, str]]:
    """Return the objects of a text in which they follow each other, or [] if it is not such a text."""
    found, at = [], 0
    while at < len(data):
        try:
            value, at = _ONE.raw_decode(data, at)
        except (ValueError, RecursionError):
            return []
        value = cleaned(value)
        found.append((value, written(value)))
        at += len(data[at:]) - len(data[at:].lstrip())
    return found if len(found) > 1 else []


def _ends_within(data: str) -> bool:
    """Return whether an object began in `data` and is not wrong so far."""
    try:
        read(data)
    except ValueError as error:
        return _is_cut(error, data)
    return False


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
        value, told = (value, told) if "choices" in value else _unwrapped(value, told)
        yield Piece(told, value, is_body=True)


def not_an_answer(noise: str) -> BelfryError:
    """Return the error for a body without an answer."""
    if not noise.strip():
        return BelfryError("upstream_truncated", "The upstream's answer is empty.", retry=False)
    return failed("upstream_malformed", f"The upstream answered with something else than a completion: {short(noise)}")
