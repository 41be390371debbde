"""The AI SDK's UI message stream, version 1, and the messages of its `useChat`, turned into a chat request.

The stream follows `UIMessageChunk` of the npm package `ai`: parts with a start, deltas and an end, then `finish`, then
`[DONE]`. It always begins at the start of the answer, because `useChat` replaces what it had when it resumes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..completion import DONE, finite_json
from ..completion.finish import kind_of, reason_of
from ..completion.json_text import read, written
from ..completion.reasoning import thoughts_of
from ..completion.tolerant import object_of, objects_of, place_of, text_of
from ..completion.tool_calls import ToolCalls, parts_of
from ..errors import BelfryError
from ..wire import strict_json
from ..wire.frames import END, stream_safe
from .blocks import events_of

FORMAT: Final = "ui-message-stream"
HEADER: Final = {"x-vercel-ai-ui-message-stream": "v1"}
PING: Final = b": ping\n\n"
_DONE: Final = END.partition(b" ")[2]
_REASONS: Final = {
    "stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls",
}  # fmt: skip
_OF_CHAT: Final = frozenset({"id", "messages", "trigger", "messageId", "format"})  # for `useChat`, not for the model
_ROLES: Final = ("system", "user", "assistant")

Chunk = dict[str, Any]


@dataclass
class _Call:
    """A tool call so far."""

    id: str
    name: str
    texts: list[str] = field(default_factory=list)


class UIMessages:
    """Translates a run's stream into one UI message, whose id is the run's id."""

    def __init__(self, message_id: str) -> None:
        self._id = message_id
        self._has_begun = False
        self._has_ended = False
        self._open: tuple[str, str] | None = None  # the kind and the id of the part that is still growing
        self._parts = 0
        self._calls = ToolCalls()
        self._told: list[_Call] = []  # by the numbers of the calls
        self._reason = ""
        self._place: int | None = None  # the index of the choice that came first

    def translate(self, blocks: bytes) -> bytes:
        """Translate blocks, see `BlockTranslator`."""
        found: list[bytes] = []
        for event, data in events_of(blocks):
            if event == "heartbeat":
                found.append(PING)
            else:
                found += [_block(chunk) for chunk in self._chunks(event, data)]
                if event == "message" and data == _DONE:
                    found.append(f"data: {DONE}\n\n".encode())
        return b"".join(found)

    def _chunks(self, event: str, data: bytes) -> Iterator[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            yield {"type": "start", "messageId": self._id}
            yield {"type": "start-step"}
        if event == "message":
            yield from self._end() if data == _DONE else self._take(json.loads(data))
        elif event in ("stopped", "failed", "reset"):
            yield from self._break_off(event, data)

    def _break_off(self, event: str, data: bytes) -> Iterator[Chunk]:
        yield from self._close()
        self._has_ended = True
        if event == "stopped":
            yield {"type": "abort", "reason": "stopped"}
        else:
            lost = "The store has lost a part of this answer."
            yield {"type": "error", "errorText": str(json.loads(data).get("detail") or lost)}

    def _take(self, chunk: dict[str, Any]) -> Iterator[Chunk]:
        for choice in objects_of(chunk.get("choices")):
            place = place_of(choice)
            self._place = place if self._place is None else self._place
            if place != self._place:
                continue
            delta = object_of(choice.get("delta"))
            yield from self._say("reasoning", thoughts_of(delta))
            yield from self._say("text", text_of(delta.get("content")))
            yield from self._say("refusal", text_of(delta.get("refusal")))
            for part in parts_of(delta):
                yield from self._call(part)
            self._reason = reason_of(choice) or self._reason

    def _say(self, kind: str, text: str) -> Iterator[Chunk]:
        if not text:
            return
        shown = "text" if kind == "refusal" else kind  # the SDK has no part for a refusal, so it becomes a marked text
        if self._open is None or self._open[0] != kind:
            yield from self._close()
            self._open = (kind, self._new_id())
            mark = {"providerMetadata": {"belfry": {"refusal": True}}} if kind == "refusal" else {}
            yield {"type": f"{shown}-start", "id": self._open[1], **mark}
        yield {"type": f"{shown}-delta", "id": self._open[1], "delta": text}

    def _close(self) -> Iterator[Chunk]:
        if self._open is not None:
            kind, part_id = self._open
            self._open = None
            yield {"type": f"{'text' if kind == 'refusal' else kind}-end", "id": part_id}

    def _call(self, part: dict[str, Any]) -> Iterator[Chunk]:
        told = self._calls.add(part)
        function = object_of(told.get("function"))
        name, said = text_of(function.get("name")), text_of(function.get("arguments"))
        if told["index"] == len(self._told):
            yield from self._close()
            call = _Call(str(told.get("id") or self._new_id()), name)
            self._told.append(call)
            yield {"type": "tool-input-start", "toolCallId": call.id, "toolName": name}
        else:
            call = self._told[told["index"]]
            call.name += name
        if said:
            call.texts.append(said)
            yield {"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": said}

    def _end(self) -> Iterator[Chunk]:
        if self._has_ended:
            return
        self._has_ended = True
        yield from self._close()
        for call in self._told:
            arguments = "".join(call.texts)
            named = {"toolCallId": call.id, "toolName": call.name}
            try:
                yield {"type": "tool-input-available", **named, "input": read(arguments or "{}")[0]}
            except ValueError:
                told = "The model's arguments are not valid JSON."
                yield {"type": "tool-input-error", **named, "input": arguments, "errorText": told}
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": _REASONS.get(kind_of(self._reason), "other")}

    def _new_id(self) -> str:
        self._parts += 1
        return f"{self._id}-{self._parts}"


def _block(chunk: Chunk) -> bytes:
    return b"data: %b\n\n" % stream_safe(written(chunk).encode())


def chat_of(text: bytes) -> tuple[str, bytes]:
    """Return the chat's id in the body that `useChat` posts, and the equivalent request for a completion.

    Raises `BelfryError` `malformed_json` or `invalid_completion`.
    """
    given = strict_json.read(text, lone_surrogate="invalid_completion")
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    messages = given.get("messages")
    if not (isinstance(messages, list) and messages):
        raise _invalid("messages", "a list of at least one UI message", messages)
    told = [part for number, message in enumerate(messages) for part in _messages(message, f"messages[{number}]")]
    others = {name: value for name, value in given.items() if name not in _OF_CHAT}
    return str(given.get("id") or ""), finite_json({**others, "messages": told}).encode()


def _messages(message: Any, place: str) -> Iterator[dict[str, Any]]:
    """Yield the chat messages of one UI message.

    Each step with tool calls is one message, followed by the outputs of the tools.
    """
    parts, role = object_of(message).get("parts"), object_of(message).get("role")
    if role not in _ROLES:
        raise _invalid(f"{place}.role", "system, user or assistant", role)
    if not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
        raise _invalid(f"{place}.parts", "a list of objects", parts)
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for part in [*parts, {"type": "step-start"}]:
        kind = str(part.get("type"))
        if kind == "step-start":
            if content or calls:
                yield {"role": role, "content": _content(content), **({"tool_calls": calls} if calls else {})}
                yield from outputs
            content, calls, outputs = [], [], []
        elif kind == "text":
            content.append({"type": "text", "text": text_of(part.get("text"))})
        elif kind == "file":
            content.append(_file(part, place))
        elif (kind.startswith("tool-") or kind == "dynamic-tool") and str(part.get("state")).startswith("output-"):
            call_id = str(part.get("toolCallId"))
            name = part.get("toolName") or kind.removeprefix("tool-")
            function = {"name": name, "arguments": written(part.get("input") or {})}
            calls.append({"id": call_id, "type": "function", "function": function})
            output = part.get("output") if "output" in part else part.get("errorText")
            said = output if isinstance(output, str) else written(output)
            outputs.append({"role": "tool", "tool_call_id": call_id, "content": said})


def _content(content: list[dict[str, Any]]) -> Any:
    if all(part["type"] == "text" for part in content):
        return "".join([part["text"] for part in content]) or None
    return content


def _file(part: dict[str, Any], place: str) -> dict[str, Any]:
    kind, url = part.get("mediaType"), part.get("url")
    if not (isinstance(kind, str) and kind.startswith("image/") and isinstance(url, str)):
        raise _invalid(f"{place}.parts", "files of a mediaType image/* with a url", kind)
    return {"type": "image_url", "image_url": {"url": url}}


def _invalid(name: str, expected: str, got: object) -> BelfryError:
    return BelfryError("invalid_completion", f"{name}: expected {expected}, got {written(got)[:60]}.", param=name)
