"""Counts the tokens of an answer that passes to the client byte by byte.

An event stream is read event by event. Of one JSON text only the beginning and the end are kept once it is long, since
the usage stands there and the middle is vectors or pictures.
"""

from __future__ import annotations

import json
from typing import Any, Final

from app.core.completion.answer import texts_of
from app.core.completion.body import Body
from app.core.completion.json_text import read
from app.core.completion.odd import objects_of, text_of
from app.core.completion.pieces import Piece
from app.core.completion.usage import Usage, usage_in
from app.core.errors import BelfryError

KEPT_BYTES: Final = 1_048_576  # of a JSON text; of a longer one, its ends
END_BYTES: Final = 65_536
EVENT_MAX_CHARS: Final = 16_777_216
EVENTS: Final = "text/event-stream"
_USAGE: Final = '"usage"'
_DECODER: Final = json.JSONDecoder()


class Meter:
    """One answer of the content type `content_type` to a request of about `prompt_tokens`."""

    def __init__(self, content_type: str, prompt_tokens: int) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self.is_stream = kind == EVENTS
        self.is_json = kind.endswith(("/json", "+json"))
        self._is_text = kind.startswith("text/") and not self.is_stream
        self._usage = Usage(prompt_tokens)
        self._events: Body | None = Body(kind, EVENT_MAX_CHARS) if self.is_stream else None
        self._kept = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """Whether the bytes say something: comments of an event stream do not."""
        self._size += len(data)
        if self.is_json:
            self._kept += data
            if len(self._kept) > KEPT_BYTES + END_BYTES:
                del self._kept[END_BYTES:-END_BYTES]
        if self._events is None:
            return True
        try:
            pieces = list(self._events.feed(data))
        except BelfryError:
            self._events = None  # the client gets it anyway, and only the estimate is left
            return True
        for piece in pieces:
            self._take(piece)
        return bool(pieces)

    @property
    def tokens(self) -> int:
        """What counts against a limit of what came so far."""
        if self.is_json and self._kept:
            self._read_json()
            self._kept.clear()
        elif self._is_text and self._size:
            self._usage.say_bytes(self._size)
            self._size = 0
        return self._usage.tokens

    def _take(self, piece: Piece) -> None:
        value = piece.value
        told = usage_in(value)
        if told is not None:
            self._usage.take(told)
        said = [text for choice in objects_of(value.get("choices")) for text in texts_of(choice)]
        delta = value.get("delta")  # of a transcript
        self._usage.say([*said, delta] if isinstance(delta, str) else said)

    def _read_json(self) -> None:
        text = self._kept.decode(errors="replace")
        if self._size == len(self._kept):
            self._read_whole(text)
        else:
            told = _usage_near(text[:END_BYTES]) or _usage_near(text[END_BYTES:])
            if told:
                self._usage.take(told)
            elif '"choices"' in text[:END_BYTES]:  # a long text, and no usage
                self._usage.say_bytes(self._size)

    def _read_whole(self, text: str) -> None:
        try:
            value, _ = read(text)
        except ValueError:
            return
        if isinstance(value, dict):
            told = usage_in(value)
            if told is not None:
                self._usage.take(told)
            else:
                said = [text for choice in objects_of(value.get("choices")) for text in texts_of(choice)]
                self._usage.say([text_of(value.get("text")), *said])


def _usage_near(text: str) -> dict[str, Any] | None:
    """The usage object in a part of a JSON text. Within a string its quotes would be escaped."""
    at = text.rfind(_USAGE)
    colon, _, rest = text[at + len(_USAGE) :].partition(":")
    if at < 0 or colon.strip():
        return None
    try:
        value, _ = _DECODER.raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        return None
    return usage_in({"usage": value})
