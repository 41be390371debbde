"""Converts between the two forms of an answer: chunks, and one `chat.completion`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from .finish import any_reason_of, reason_of
from .json_text import written
from .pieces import Piece
from .tolerant import object_of, objects_of, place_of, text_of
from .tool_calls import ToolCalls, arguments_of, as_openai
from .usage import as_openai as openai_usage
from .usage import tokens_of

_CHUNK: Final = "chat.completion.chunk"
# Texts that come piece by piece. All other members come once.
_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning", "thinking", "reasoning_text", "thought")
_GROWING: Final = ("data", "transcript")  # members of `audio` that come piece by piece


def is_whole(piece: Piece) -> bool:
    """Return whether this is a whole answer and not a chunk."""
    value = piece.value
    choices = value.get("choices")
    if not isinstance(choices, list):
        return False
    for choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict) and not choice.get("delta"):
            return piece.is_body or not _is_part(value, choice)
    return value.get("object") == "chat.completion" and not objects_of(choices)


def _is_part(value: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Return whether the `message` of a choice is only a part of the text. It then stands for `delta`."""
    kind = value.get("object")
    return kind == _CHUNK or (kind != "chat.completion" and choice.get("finish_reason", "") is None)


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
        if not delta and isinstance(choice.get("text"), str):  # of the legacy completions API
            delta = {"content": choice["text"]}
        others = {name: value for name, value in choice.items() if name not in ("message", "text", "finish_reason")}
        first = {"index": number, **others, "delta": delta, "finish_reason": None}
        yield {**head, "choices": [first]}
        reason = any_reason_of(choice) or "stop"
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
        self._legacy = ToolCalls()  # of `function_call`, which came before tool calls
        self._lists: dict[str, list[Any]] = {}
        self._others: dict[str, Any] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None

    def text(self, name: str) -> str:
        return "".join(self._texts.get(name, ()))

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return self._calls.list

    @property
    def function_call(self) -> dict[str, Any] | None:
        """The call of the legacy API, if there is one."""
        return next((dict(call["function"]) for call in self._legacy.list), None)

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
        elif name == "function_call" and isinstance(value, dict):
            self._legacy.add({"index": 0, "function": value})
        elif isinstance(value, dict) and isinstance(self._others.get(name), dict):
            self._others[name] = _joined(self._others[name], value)
        elif isinstance(value, list):
            self._lists.setdefault(name, []).extend(value)
        elif value is not None:
            self._others[name] = value

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice as a `chat.completion` contains it."""
        texts = {name: self.text(name) for name in self._texts}
        calls = [{"type": "function", **call} for call in self.tool_calls]
        is_called = bool(calls or self.function_call)
        content = texts.get("content") if "content" in texts and (texts["content"] or not is_called) else None
        message = {"role": "assistant", **self._others, **texts, **self._lists, "content": content}
        legacy = {"function_call": self.function_call} if self.function_call else {}
        return {
            "index": index,
            "message": message | ({"tool_calls": calls} if calls else {}) | legacy,
            "logprobs": self._logprobs or None,
            "finish_reason": self.finish_reason or "stop",
        }


def _with_usage(value: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    """Return the usage of a whole answer under OpenAI's names, or `usage` if it has none."""
    own = object_of(value.get("usage"))
    found = openai_usage(own) if tokens_of(own) else usage
    return {"usage": found} if found else {}


def _with_texts(value: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer with the arguments of its tool calls as texts."""
    return {**value, "choices": [_choice_with_texts(choice) for choice in value["choices"]]}


def _choice_with_texts(choice: Any) -> Any:
    message = object_of(object_of(choice).get("message"))
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or all(map(_has_text, calls)):
        return choice
    return {**choice, "message": {**message, "tool_calls": [_with_text(call) for call in objects_of(calls)]}}


def _has_text(call: object) -> bool:
    function = object_of(object_of(call).get("function"))
    return not function or isinstance(function.get("arguments"), str)


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = object_of(call.get("function"))
    return call if _has_text(call) else {
        **call, "function": {**function, "arguments": arguments_of(function.get("arguments"))},
    }  # fmt: skip


def _joined(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return an object that comes in parts, such as `audio`. Its long texts are appended."""
    grown = {name: known[name] + found[name] for name in _GROWING if _is_text(known, name) and _is_text(found, name)}
    return {**known, **{name: value for name, value in found.items() if value is not None}, **grown}


def _is_text(value: dict[str, Any], name: str) -> bool:
    return isinstance(value.get(name), str)


class Gathered:
    """An answer in one piece: as the upstream sent it, or assembled from chunks."""

    def __init__(self) -> None:
        self._whole: Piece | None = None
        self._head: dict[str, Any] = {}
        self._choices: dict[int, Choice] = {}
        self.size = 0

    def whole(self, piece: Piece) -> None:
        """Take an answer that the upstream sent in one piece."""
        self._whole = piece

    def add(self, piece: Piece) -> None:
        """Add one chunk that `Answer.take` passed on."""
        self.size += len(piece.text)
        others = {name: value for name, value in piece.value.items() if name not in ("choices", "usage", "object")}
        self._head.update({name: value for name, value in others.items() if value or name not in self._head})
        for choice in objects_of(piece.value.get("choices")):
            self._choices.setdefault(place_of(choice), Choice()).add(choice)

    def text(self, usage: dict[str, Any]) -> str:
        """Return the `chat.completion` as text.

        An answer that the upstream sent in one piece stays unchanged, if it has what OpenAI's clients need.
        """
        if self._whole is not None:
            told, value = self._whole.text, self._whole.value
            fitting = _with_texts(value) | _with_usage(value, usage)
            is_fit = fitting == value and fitting.get("usage") is value.get("usage")  # `5.0 == 5`
            return told if told and is_fit else written(fitting)
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        return written({**self._head, "object": "chat.completion", "choices": choices, "usage": usage})


class Transcript:
    """The text of the first choice so far, and its tool calls. The first choice is the one with the lowest index."""

    def __init__(self) -> None:
        self._choice = Choice()
        self._place: int | None = None

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
        legacy = self._choice.function_call
        return [*self._choice.tool_calls, *([{"type": "function", "function": legacy}] if legacy else [])]

    @property
    def finish_reason(self) -> str | None:
        return self._choice.finish_reason

    def add(self, data: str) -> None:
        """Add one chunk that `Answer.take` passed on."""
        for choice in objects_of(json.loads(data).get("choices")):
            place = place_of(choice)
            if self._place is None or place < self._place:
                self._choice, self._place = Choice(), place
            if place == self._place:
                self._choice.add(choice)
