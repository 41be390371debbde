"""Converts between the two forms of an answer: chunks, and one `chat.completion`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from .failure import reason_of
from .json_text import written
from .pieces import Piece
from .tolerant import object_of, objects_of, place_of, text_of
from .tool_calls import ToolCalls, as_openai

_CHUNK: Final = "chat.completion.chunk"
# Texts that come piece by piece. All other members come once.
_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


def is_whole(value: dict[str, Any]) -> bool:
    """Return whether this is a whole answer and not a chunk."""
    choices = value.get("choices")
    if not isinstance(choices, list):
        return False
    for choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict) and not choice.get("delta"):
            return True
    return value.get("object") == "chat.completion" and not objects_of(choices)


def without_messages(whole: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer that followed its chunks as the last chunk, without the repeated text."""
    choices = [
        {name: value for name, value in choice.items() if name != "message"} | {"delta": {}}
        for choice in objects_of(whole.get("choices"))
    ]
    return {**whole, "object": _CHUNK, "choices": choices}


def chunks_of(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the chunks that a stream of this answer would have."""
    head = {name: value for name, value in whole.items() if name not in ("choices", "usage")} | {"object": _CHUNK}
    for number, choice in enumerate(objects_of(whole.get("choices"))):
        delta = dict(object_of(choice.get("message")))
        if delta.get("tool_calls"):
            delta["tool_calls"] = as_openai(objects_of(delta["tool_calls"]))
        others = {name: value for name, value in choice.items() if name not in ("message", "finish_reason")}
        first = {"index": number, **others, "delta": delta, "finish_reason": None}
        yield {**head, "choices": [first]}
        reason = choice.get("finish_reason") or "stop"
        yield {**head, "choices": [{"index": first["index"], "delta": {}, "finish_reason": reason}]}
    if whole.get("usage"):
        yield {**head, "choices": [], "usage": whole["usage"]}


def usage_chunk(head: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    """Return the chunk that ends a stream whose client asked for usage."""
    return {**head, "object": _CHUNK, "choices": [], "usage": usage}


class Choice:
    """One choice of an answer, as far as it has come."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._calls = ToolCalls()
        self._lists: dict[str, list[Any]] = {}
        self._others: dict[str, Any] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None

    def text(self, name: str) -> str:
        return "".join(self._texts.get(name, ()))

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return self._calls.list

    def add(self, choice: dict[str, Any]) -> None:
        """Add the choice of one chunk."""
        for name, value in object_of(choice.get("delta")).items():
            self._member(name, value)
        if isinstance(choice.get("text"), str):
            self._member("content", choice["text"])
        for name, found in object_of(choice.get("logprobs")).items():
            if isinstance(found, list):
                self._logprobs.setdefault(name, []).extend(found)
        self.finish_reason = reason_of(choice) or self.finish_reason

    def _member(self, name: str, value: Any) -> None:
        if name in _TEXTS:
            if value is not None:
                self._texts.setdefault(name, []).append(text_of(value))
        elif name == "tool_calls":
            for call in objects_of([value] if isinstance(value, dict) else value):
                self._calls.add(call)
        elif isinstance(value, list):
            self._lists.setdefault(name, []).extend(value)
        elif value is not None:
            self._others[name] = value

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice as a `chat.completion` contains it."""
        texts = {name: self.text(name) for name in self._texts}
        calls = [{"type": "function", **call} for call in self.tool_calls]
        content = texts.get("content") if "content" in texts and (texts["content"] or not calls) else None
        message = {"role": "assistant", **self._others, **texts, **self._lists, "content": content}
        return {
            "index": index,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "logprobs": self._logprobs or None,
            "finish_reason": self.finish_reason or "stop",
        }


class Gathered:
    """An answer in one piece: as the upstream sent it, or assembled from chunks."""

    def __init__(self) -> None:
        self._whole = ""
        self._head: dict[str, Any] = {}
        self._choices: dict[int, Choice] = {}
        self.size = 0

    def whole(self, piece: Piece) -> None:
        """Take an answer that the upstream sent in one piece."""
        self._whole = piece.text or written(piece.value)

    def add(self, piece: Piece) -> None:
        """Add one chunk that `Answer.take` passed on."""
        self.size += len(piece.text)
        others = {name: value for name, value in piece.value.items() if name not in ("choices", "usage", "object")}
        self._head.update({name: value for name, value in others.items() if value or name not in self._head})
        for choice in objects_of(piece.value.get("choices")):
            self._choices.setdefault(place_of(choice), Choice()).add(choice)

    def text(self, usage: dict[str, Any]) -> str:
        """Return the `chat.completion` as text. An answer that the upstream sent in one piece stays unchanged."""
        if self._whole:
            return self._whole
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        return written({**self._head, "object": "chat.completion", "choices": choices, "usage": usage})


class Transcript:
    """The text of the first choice so far, and its tool calls."""

    def __init__(self) -> None:
        self._choice = Choice()

    @property
    def text(self) -> str:
        return self._choice.text("content")

    @property
    def refusal(self) -> str:
        return self._choice.text("refusal")

    @property
    def reasoning(self) -> str:
        return self._choice.text("reasoning_content") or self._choice.text("reasoning")

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return self._choice.tool_calls

    @property
    def finish_reason(self) -> str | None:
        return self._choice.finish_reason

    def add(self, data: str) -> None:
        """Add one chunk that `Answer.take` passed on."""
        for choice in objects_of(json.loads(data).get("choices")):
            if place_of(choice) == 0:
                self._choice.add(choice)
