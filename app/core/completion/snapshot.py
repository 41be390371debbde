"""A snapshot: many chunks of an answer as one chunk, for a viewer who comes late or returns.

The merged chunk is an ordinary chat chunk with the text of all of them. A reader that applies it ends in the same state
as one that applies each of them. It has the position of the last chunk in it, so a resume stays exact.

Chunks that can't be merged without a loss are passed on unchanged, between two merged chunks. This module does not
decide when to write. `Subscriber` writes when it has read the newest chunk.
"""

from __future__ import annotations

from typing import Any, Final

import jiter

from ..log.cursor import Position
from ..wire import frames
from .json_text import written
from .tolerant import object_of

_TEXTS: Final = frozenset(
    {"content", "refusal", "reasoning_content", "reasoning", "thinking", "reasoning_text", "thought"}
)
_CALL_MEMBERS: Final = frozenset({"index", "id", "type", "function"})
_FUNCTION_MEMBERS: Final = frozenset({"name", "arguments"})
_MESSAGE: Final = b"message "


class Snapshot:
    """Merges the records of a run's log. A merged chunk has at most about `limit` bytes of text."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._merged = Merged()
        self._records = 0
        self._only = b""  # the record itself while there is only one, because a single chunk stays unchanged
        self._last = Position("", 0)

    @property
    def holds(self) -> bool:
        """Whether a record was taken that is not yet in a block."""
        return self._records > 0

    def take(self, position: Position, record: bytes) -> bytes:
        """Take the next record. Return the blocks that are complete now, often none."""
        chunk = _chunk_of(record)
        before = b""
        if chunk is None or self._merged.size >= self._limit or not self._merged.accepts(chunk):
            before = self.flush()
            if chunk is None or not self._merged.accepts(chunk):
                return before + frames.message((position,), record)
        self._merged.add(chunk)
        self._records += 1
        self._only = record if self._records == 1 else b""
        self._last = position
        return before

    def flush(self) -> bytes:
        """Return the block of the records since the last block, empty if there are none."""
        if not self._records:
            return b""
        record = self._only or _MESSAGE + written(self._merged.chunk()).encode()
        self._merged, self._records, self._only = Merged(), 0, b""
        return frames.message((self._last,), record)


def _chunk_of(record: bytes) -> dict[str, Any] | None:
    """Return the chunk in a record, or None if the record is not a readable chunk."""
    if not record.startswith(b"message {"):
        return None
    try:
        chunk = jiter.from_json(record[len(_MESSAGE) :], allow_inf_nan=False, cache_mode="keys")
    except ValueError:
        return None
    return chunk if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list) else None


class Merged:
    """Merged chunks of one answer. `size` counts the characters of their texts."""

    def __init__(self) -> None:
        self.size = 0
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def accepts(self, chunk: dict[str, Any]) -> bool:
        """Return whether `add` would lose nothing of the chunk."""
        for choice in chunk["choices"]:
            if not isinstance(choice, dict) or not isinstance(index := choice.get("index", 0), int):
                return False
            if not self._choices.get(index, _NO_CHOICE).accepts(choice):
                return False
        indexes = [choice.get("index", 0) for choice in chunk["choices"]]
        return len(set(indexes)) == len(indexes)

    def add(self, chunk: dict[str, Any]) -> None:
        """Add a chunk that `accepts` accepted. Its members, except for the choices, replace those of earlier chunks."""
        _replace(self._head, chunk, "choices")
        for choice in chunk["choices"]:
            index = choice.get("index", 0)
            if index not in self._choices:
                self._choices[index] = _Choice()
            self.size += self._choices[index].add(choice)

    def chunk(self) -> dict[str, Any]:
        """Return one chunk with the content of all of them."""
        choices = [{"index": index, **self._choices[index].merged()} for index in sorted(self._choices)]
        return {**self._head, "choices": choices}


class _Choice:
    """One choice of the merged chunks."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._delta: dict[str, Any] = {}
        self._lists: dict[str, list[Any]] = {}
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._others: dict[str, Any] = {}

    def accepts(self, choice: dict[str, Any]) -> bool:
        delta, logprobs = choice.get("delta"), choice.get("logprobs")
        if not (isinstance(delta, dict) and _is_lists(logprobs)) or "text" in choice or "message" in choice:
            return False
        if any(isinstance(value, list) for value in choice.values()):
            return False
        return all(self._accepts(name, value) for name, value in delta.items())

    def _accepts(self, name: str, value: Any) -> bool:
        if value is None:
            return True
        if name in _TEXTS:
            return isinstance(value, str)
        if name == "tool_calls":
            return isinstance(value, list) and all(isinstance(call, dict) for call in value)
        if isinstance(value, list):  # readers join lists, except if their items have an index
            return name not in self._delta and not any(isinstance(item, dict) and "index" in item for item in value)
        if name == "role":
            return name not in self._delta or self._delta[name] in (None, value)
        # Readers may append such a value or replace the old one. So at most one value is accepted.
        return name not in self._lists and self._delta.get(name) is None

    def add(self, choice: dict[str, Any]) -> int:
        """Add the choice of one chunk. Return how many characters of text it has."""
        size = 0
        for name, value in choice["delta"].items():
            size += self._add(name, value)
        for name, found in (choice.get("logprobs") or {}).items():
            self._logprobs.setdefault(name, []).extend(found or ())
        if choice.get("finish_reason") == "null" and self._others.get("finish_reason"):
            choice = {**choice, "finish_reason": None}
        _replace(self._others, choice, "index", "delta", "logprobs")
        return size

    def _add(self, name: str, value: Any) -> int:
        if isinstance(value, str) and name in _TEXTS:
            self._texts.setdefault(name, []).append(value)
            return len(value)
        if isinstance(value, list) and name == "tool_calls":
            return sum([self._add_call(part) for part in value])
        if isinstance(value, list):
            self._lists.setdefault(name, []).extend(value)
        elif value is not None or name not in self._delta:
            self._delta[name] = value
        return 0

    def _add_call(self, part: dict[str, Any]) -> int:
        """Add one part of a tool call. Parts stay separate and in order, unless one only continues another one."""
        index, function = part.get("index"), object_of(part.get("function"))
        place = index if isinstance(index, int) else None
        before = self._by_index.get(place) if place is not None else None
        text = function.get("arguments")
        if before is not None and isinstance(text, str) and _goes_on(part, before):
            before["function"]["arguments"].append(text)
            return len(text)
        own = {**part, "function": {**function, "arguments": [text]}} if isinstance(text, str) else dict(part)
        self._calls.append(own)
        if place is not None:
            self._by_index[place] = own
        else:
            # A part without an index belongs to the newest call, so no later part may overtake it.
            self._by_index.clear()
        return len(text) if isinstance(text, str) else 0

    def merged(self) -> dict[str, Any]:
        texts = {name: "".join(parts) for name, parts in self._texts.items()}
        calls = [_joined(call) for call in self._calls]
        delta = {**self._delta, **texts, **self._lists, **({"tool_calls": calls} if calls else {})}
        logprobs = {"logprobs": self._logprobs} if self._logprobs else {}
        return {"delta": delta, **logprobs, **self._others}


_NO_CHOICE: Final = _Choice()


def _replace(known: dict[str, Any], found: dict[str, Any], *without: str) -> None:
    """Take over each member of `found`, unless it is null and there is a known value."""
    for name, value in found.items():
        if name not in without and (value is not None or name not in known):
            known[name] = value


def _is_lists(logprobs: Any) -> bool:
    if logprobs is None:
        return True
    return isinstance(logprobs, dict) and all(found is None or isinstance(found, list) for found in logprobs.values())


def _goes_on(part: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether a part of a call only extends the arguments of the part before it, see `ToolCalls`."""
    function, known = part["function"], before.get("function")
    if (
        part.get("id")
        or function.get("name")
        or not (isinstance(known, dict) and isinstance(known.get("arguments"), list))
    ):
        return False
    if not (part.keys() <= _CALL_MEMBERS and function.keys() <= _FUNCTION_MEMBERS):
        return False
    return part.get("type") in (None, "", before.get("type"))


def _joined(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not (isinstance(function, dict) and isinstance(function.get("arguments"), list)):
        return call
    return {**call, "function": {**function, "arguments": "".join(function["arguments"])}}
