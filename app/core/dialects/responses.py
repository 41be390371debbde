"""OpenAI's Responses API: the response object, and the events of its stream, made from chat chunks.

The events depend only on the chunks. So a run that is read again has the same events with the same `sequence_number`,
and a client can continue after any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..completion.finish import kind_of, reason_of
from ..completion.json_text import written
from ..completion.reasoning import thoughts_of
from ..completion.tolerant import object_of, objects_of, place_of, text_of
from ..completion.tool_calls import ToolCalls, parts_of
from ..wire.frames import END, stream_safe
from .blocks import events_of

Event = dict[str, Any]
PING: Final = b": ping\n\n"
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_DONE: Final = END.partition(b" ")[2]


@dataclass
class _Item:
    """An item of the output that is still growing. `kind` is the type of its only part. A tool call has no part."""

    index: int
    value: dict[str, Any]
    kind: str = ""
    texts: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, text: str) -> None:
        self.texts.append(text)
        self.size += len(text)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def place(self) -> dict[str, Any]:
        found = {"item_id": self.value["id"], "output_index": self.index}
        return {**found, "content_index": 0} if self.kind else found

    def part(self) -> dict[str, Any]:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.text}
        more: dict[str, Any] = {"annotations": [], "logprobs": []} if self.kind == "output_text" else {}
        return {"type": self.kind, "text": self.text, **more}


class Response:
    """One response, as far as its chunks have come. `echo` has the members of the request that it repeats."""

    def __init__(
        self, response_id: str, created_at: int, model: str, echo: dict[str, Any], *, background: bool
    ) -> None:
        self._head = {"id": response_id, "object": "response", "created_at": created_at, "model": model}
        self._echo = echo
        self._background = background
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: _Item | None = None  # the reasoning or message that is still growing
        self._calls = ToolCalls()
        self._call_items: list[_Item] = []  # by the numbers of the calls
        self._usage: dict[str, Any] | None = None
        self._reason = ""
        self._place: int | None = None  # the index of the choice that came first
        self._has_ended = False

    def begin(self) -> list[Event]:
        """Return the events before the first chunk."""
        return [
            self._event("response.created", response=self.object("in_progress")),
            self._event("response.in_progress", response=self.object("in_progress")),
        ]

    def take(self, chunk: dict[str, Any]) -> list[Event]:
        """Return the events of one chunk."""
        events: list[Event] = []
        if isinstance(chunk.get("usage"), dict):
            self._usage = _usage(chunk["usage"])
        for choice in objects_of(chunk.get("choices")):
            place = place_of(choice)
            self._place = place if self._place is None else self._place
            if place == self._place:
                events += self._take(choice)
        return events

    def end(self, status: str = "", error: dict[str, Any] | None = None) -> list[Event]:
        """Return the last events. `status` is empty if the answer ended normally."""
        if self._has_ended:
            return []
        self._has_ended = True
        why = _REASONS.get(kind_of(self._reason))
        status = status or ("incomplete" if why else "completed")
        events = [*self._close("completed" if status == "completed" else "incomplete")]
        incomplete = {"incomplete_details": {"reason": why}} if status == "incomplete" else {}
        # OpenAI has no event for `cancelled`. Its SDKs treat this event as an end.
        kind = "incomplete" if status == "cancelled" else status
        told = {**self.object(status), **incomplete, "error": error}
        return [*events, self._event(f"response.{kind}", response=told)]

    def object(self, status: str) -> dict[str, Any]:
        """Return the response object as it is now."""
        defaults: dict[str, Any] = {
            "instructions": None, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {},
            "temperature": None, "top_p": None, "max_output_tokens": None, "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None}, "text": {"format": {"type": "text"}},
            "truncation": "disabled", "user": None,
        }  # fmt: skip
        state = {"status": status, "error": None, "incomplete_details": None, "background": self._background}
        if self._open is not None:
            self._open.value["content"] = [self._open.part()]
        kept = {"store": self._background, "output": [dict(item) for item in self._output], "usage": self._usage}
        return {**self._head, **defaults, **self._echo, **state, **kept}

    def _take(self, choice: dict[str, Any]) -> Iterator[Event]:
        delta = object_of(choice.get("delta"))
        for kind, text in (
            ("reasoning_text", thoughts_of(delta)),
            ("output_text", text_of(delta.get("content"))),
            ("refusal", text_of(delta.get("refusal"))),
        ):
            if text:
                yield from self._say(kind, text)
        for part in parts_of(delta):
            yield from self._call(part)
        self._reason = reason_of(choice) or self._reason

    def _say(self, kind: str, text: str) -> Iterator[Event]:
        item = self._open
        if item is None or item.kind != kind:
            yield from self._close_text("completed")
            item = self._begin(kind)
            self._open = item
            yield self._event("response.output_item.added", output_index=item.index, item=dict(item.value))
            yield self._event("response.content_part.added", **item.place, part=item.part())
        item.add(text)
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        yield self._event(f"response.{kind}.delta", **item.place, delta=text, **more)

    def _begin(self, kind: str) -> _Item:
        if kind == "reasoning_text":
            value = {"id": self._name("rs"), "type": "reasoning", "summary": [], "content": [], "status": "in_progress"}
        else:
            value = {"id": self._name("msg"), "type": "message", "role": "assistant", "content": []}
            value["status"] = "in_progress"
        self._output.append(value)
        return _Item(len(self._output) - 1, value, kind)

    def _call(self, part: dict[str, Any]) -> Iterator[Event]:
        """Add one part of a tool call. Calls stay open until the end, because parts of several calls may alternate."""
        told = self._calls.add(part)
        function = object_of(told.get("function"))
        if told["index"] == len(self._call_items):
            yield from self._close_text("completed")
            item = self._begin_call(str(told.get("id") or ""))
            item.value["name"] = text_of(function.get("name"))
            yield self._event("response.output_item.added", output_index=item.index, item=dict(item.value))
        else:
            item = self._call_items[told["index"]]
            item.value["name"] += text_of(function.get("name"))
        more = text_of(function.get("arguments"))
        if more:
            item.add(more)
            yield self._event("response.function_call_arguments.delta", **item.place, delta=more)

    def _begin_call(self, call_id: str) -> _Item:
        own = self._name("fc")
        value = {"id": own, "type": "function_call", "status": "in_progress", "arguments": ""}
        value |= {"call_id": call_id or own.replace("fc_", "call_"), "name": ""}
        self._output.append(value)
        item = _Item(len(self._output) - 1, value)
        self._call_items.append(item)
        return item

    def _close(self, status: str) -> Iterator[Event]:
        yield from self._close_text(status)
        for item in self._call_items:
            item.value |= {"arguments": item.text, "status": status}
            told = {"arguments": item.text, "name": item.value["name"]}
            yield self._event("response.function_call_arguments.done", **item.place, **told)
            yield self._event("response.output_item.done", output_index=item.index, item=dict(item.value))

    def _close_text(self, status: str) -> Iterator[Event]:
        item, self._open = self._open, None
        if item is None:
            return
        part = item.part()
        item.value |= {"content": [part], "status": status}
        told = {key: value for key, value in part.items() if key in ("text", "refusal", "logprobs")}
        yield self._event(f"response.{item.kind}.done", **item.place, **told)
        yield self._event("response.content_part.done", **item.place, part=part)
        yield self._event("response.output_item.done", output_index=item.index, item=dict(item.value))

    def _name(self, prefix: str) -> str:
        own = self._head["id"]
        return f"{prefix}_{str(own).removeprefix('resp_')}_{len(self._output)}"

    def _event(self, kind: str, **members: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        return event


def encoded(events: list[Event]) -> bytes:
    """Return the events as blocks of an event stream."""
    datas = [(event["type"].encode(), stream_safe(written(event).encode())) for event in events]
    return b"".join([b"event: %b\ndata: %b\n\n" % (kind, data) for kind, data in datas])


def failure(code: str, detail: str) -> dict[str, Any]:
    """Return an error of Belfry in the form of a response."""
    limited = code in ("upstream_rate_limited", "rate_limited", "too_many_runs", "tokens_used_up")
    return {"code": "rate_limit_exceeded" if limited else "server_error", "message": detail}


class ResponseStream:
    """Translates a run's stream into the events of a response.

    Only events after the number `starting_after` are sent.
    """

    def __init__(self, response: Response, starting_after: int = -1) -> None:
        self.response = response
        self._after = starting_after
        self._has_begun = False

    def translate(self, blocks: bytes) -> bytes:
        """Translate blocks, see `BlockTranslator`."""
        found: list[bytes] = []
        for event, data in events_of(blocks):
            found.append(PING if event == "heartbeat" else encoded(self._later(self._events(event, data))))
        return b"".join(found)

    def _events(self, event: str, data: bytes) -> list[Event]:
        begun, self._has_begun = self._has_begun, True
        events = [] if begun else self.response.begin()
        if event == "message" and data == _DONE:
            events += self.response.end()
        elif event == "message":
            events += self.response.take(json.loads(data))
        elif event == "stopped":
            events += self.response.end("cancelled")
        elif event == "failed":
            told = json.loads(data)
            events += self.response.end("failed", failure(told.get("code", ""), told.get("detail", "")))
        elif event == "reset":
            told = "The store has lost a part of this response. Retrieve it again."
            events += self.response.end("failed", failure("answer_lost", told))
        return events

    def _later(self, events: list[Event]) -> list[Event]:
        return [event for event in events if event["sequence_number"] > self._after]


def _usage(told: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion's usage in the form of a response."""
    asked, said = told.get("prompt_tokens") or told.get("input_tokens"), told.get("completion_tokens")
    said = said or told.get("output_tokens") or 0
    cached = object_of(told.get("prompt_tokens_details")).get("cached_tokens") or 0
    thought = object_of(told.get("completion_tokens_details")).get("reasoning_tokens") or 0
    return {
        "input_tokens": asked or 0,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": told.get("total_tokens") or (asked or 0) + said,
    } | ({"estimated": True} if told.get("estimated") else {})
