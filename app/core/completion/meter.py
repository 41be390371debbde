"""Counts the tokens of an answer that passes to the client byte by byte.

An event stream is read event by event. Of a long JSON text, only the beginning and the end are kept. They contain the
usage, and the middle contains vectors or pictures.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

from ..wire.sse import Lines
from .answer import texts_of
from .json_text import read
from .tolerant import object_of, objects_of, text_of
from .usage import Usage, usage_in

KEPT_BYTES: Final = 1_048_576  # of a JSON text; of a longer one, only its two ends are kept
END_BYTES: Final = 65_536
EVENT_MAX_CHARS: Final = 16_777_216
EVENTS: Final = "text/event-stream"
_USAGE: Final = '"usage"'
_DECODER: Final = json.JSONDecoder()


class Meter:
    """Counts one answer with the given content type. Its request had about `prompt_tokens` tokens."""

    def __init__(self, content_type: str, prompt_tokens: int) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self.is_stream = kind == EVENTS
        self.is_json = kind.endswith(("/json", "+json"))
        self._is_text = kind.startswith("text/") and not self.is_stream
        self._usage = Usage(prompt_tokens)
        self._lines = Lines() if self.is_stream else None
        self._kept = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """Read bytes. Return whether they contain data: comments of an event stream do not."""
        self._size += len(data)
        if self.is_json:
            self._kept += data
            if len(self._kept) > KEPT_BYTES + END_BYTES:
                del self._kept[END_BYTES:-END_BYTES]
        return self._lines is None or self._read_events(self._lines, data)

    @property
    def tokens(self) -> int:
        """The number of tokens so far that count against a limit."""
        if self.is_json and self._kept:
            self._read_json()
            self._kept.clear()
        elif self._is_text and self._size:
            self._usage.say_bytes(self._size)
            self._size = 0
        return self._usage.tokens

    def _read_events(self, lines: Lines, data: bytes) -> bool:
        says_something = lines.waiting > 0
        for line in lines.feed(data):
            if line.startswith("data:"):
                says_something = True
                with contextlib.suppress(ValueError):  # the client gets it anyway
                    value, _ = read(line[5:].strip())
                    self._take(object_of(value))
        if lines.waiting > EVENT_MAX_CHARS:
            self._lines = None  # from here on, there is only an estimate of what came before
        return says_something

    def _take(self, value: dict[str, Any]) -> None:
        choices = objects_of(value.get("choices"))
        told = usage_in(value, choices)
        if told is not None:
            self._usage.take(told)
        said = [text for choice in choices for text in texts_of(choice)]
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
            elif '"choices"' in text[:END_BYTES]:  # a long text without usage
                self._usage.say_bytes(self._size)

    def _read_whole(self, text: str) -> None:
        try:
            value, _ = read(text)
        except ValueError:
            return
        if isinstance(value, dict):
            choices = objects_of(value.get("choices"))
            told = usage_in(value, choices)
            if told is not None:
                self._usage.take(told)
            else:
                said = [text for choice in choices for text in texts_of(choice)]
                self._usage.say([text_of(value.get("text")), *said])


def _usage_near(text: str) -> dict[str, Any] | None:
    """Return the usage object in a part of a JSON text. Within a string, its quotes would be escaped."""
    at = text.rfind(_USAGE)
    colon, _, rest = text[at + len(_USAGE) :].partition(":")
    if at < 0 or colon.strip():
        return None
    try:
        value, _ = _DECODER.raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        return None
    return usage_in({"usage": value}, [])
