"""Assembles tool calls from the parts in which an upstream sends them.

A call's `index` should say which call a part belongs to. Many upstreams omit it, or send 0 for each call. So a new
`id`, another name, or arguments that begin again after they were complete also begin a new call.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from .json_text import written
from .tolerant import index_of, object_of, objects_of

# The member of a call that names the tool, and the member of that one that grows.
_BODIES: Final = {"function": "arguments", "custom": "input"}
# What opens and closes objects, lists and strings in JSON, and each escaped character.
_MARK: Final = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


def parts_of(delta: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of calls in a delta or message, also of the legacy `function_call`."""
    found: list[dict[str, Any]] = []
    if "tool_calls" in delta:
        calls = delta["tool_calls"]
        found = objects_of([calls] if isinstance(calls, dict) else calls)
    legacy = delta.get("function_call")
    return [*found, {"index": 0, "function": legacy}] if isinstance(legacy, dict) else found


class ToolCalls:
    """The calls of one choice, in the order in which they began.

    Of the arguments of each call, at most `limit` characters are kept.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self._limit = limit
        self._calls: list[_Call] = []
        self._places: dict[int, _Call] = {}
        self._ids: dict[str, _Call] = {}

    @property
    def list(self) -> list[dict[str, Any]]:
        """Each whole call, in the order of the indexes."""
        return [call.whole() for call in sorted(self._calls, key=lambda call: (call.order, call.number))]

    def add(self, part: dict[str, Any]) -> dict[str, Any]:
        """Add one part of one call. Return it in the form that a reader can append without further checks.

        Its index is the number of its call. It has an id and a name only if they are new. Its arguments are a text.
        """
        kind = next((name for name in _BODIES if isinstance(part.get(name), dict)), "function")
        body = object_of(part.get(kind))
        if not body and "name" in part:  # some upstreams leave out the object
            body = {name: part[name] for name in ("name", "arguments") if name in part}
            part = {name: value for name, value in part.items() if name not in body}
        call = self._call_of(part, kind, body)
        return call.add(part, kind, body, self._limit)

    def _call_of(self, part: dict[str, Any], kind: str, body: dict[str, Any]) -> _Call:
        place, name, said = index_of(part), _name(body), arguments_of(body.get(_BODIES[kind]))
        call_id = part["id"] if isinstance(part.get("id"), str) else ""
        known = self._places.get(place) if place is not None else (self._calls[-1] if self._calls else None)
        same = self._ids.get(call_id) if call_id else None
        if same is not None and not same.is_other(place, name):
            known = same
        elif known is not None and known.ends_before(call_id, name, said):
            known = None
        if known is None:
            known = _Call(len(self._calls), place)
            self._calls.append(known)
        if place is not None:
            self._places[place] = known
        if call_id and not known.id:
            self._ids[call_id] = known
        return known


class _Arguments:
    """The text of one call's arguments so far. It reads no part twice to tell whether the text is complete."""

    def __init__(self) -> None:
        self.size = 0
        self._texts: list[str] = []
        self._followed = 0  # texts that `_follow` has read
        self._depth = 0
        self._is_quoted = False
        self._is_escaped = False
        self._ended = False  # whether the first object ended
        self._is_object: bool | None = None  # None: unknown as long as it has not ended

    def __str__(self) -> str:
        return "".join(self._texts)

    def add(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self.size += len(text)

    @property
    def is_complete(self) -> bool:
        """Whether the text is one JSON object."""
        for text in self._texts[self._followed :]:
            self._follow(text)
        self._followed = len(self._texts)
        if self._ended and self._is_object is None:
            self._is_object = _is_object(str(self))
        return bool(self._is_object)

    def _follow(self, text: str) -> None:
        rest = text
        if not self._ended:
            rest = text[self._end_in(text) :]
        if self._ended and rest.strip():
            self._is_object = False  # something follows the object

    def _end_in(self, text: str) -> int:
        """Return where the first object ends in the next text. It is the length of the text if it goes on."""
        start = int(self._is_escaped)
        self._is_escaped = False
        for found in _MARK.finditer(text, start):
            mark = found[0]
            if mark[0] == "\\":
                self._is_escaped = len(mark) == 1
            elif mark == '"':
                self._is_quoted = not self._is_quoted
            elif not self._is_quoted:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    self._ended = True
                    return found.end()
        return len(text)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


class _Call:
    """One call so far. `place` is the index that the upstream gave it."""

    def __init__(self, number: int, place: int | None) -> None:
        self.number = number
        self.order = number if place is None else place
        self.name = ""
        self._place = place
        self._arguments = _Arguments()
        self._members: dict[str, Any] = {}
        self._kind = "function"
        self._others: dict[str, Any] = {}  # of the function

    @property
    def id(self) -> str:
        return str(self._members.get("id") or "")

    def add(self, part: dict[str, Any], kind: str, body: dict[str, Any], limit: float) -> dict[str, Any]:
        """Add a part of this call, and return it as `ToolCalls.add` says."""
        text_name, name, is_first = _BODIES[kind], _name(body), not self._members and not self.name
        if kind == "function" and self._repeats(arguments_of(body.get(text_name))):
            body = {**body, text_name: ""}
        told = {**part, "index": self.number}
        if self.id and part.get("id"):
            del told["id"]  # readers append a repeated id to the first one
        more = name.removeprefix(self.name)
        said = arguments_of(body.get(text_name))
        told_body = dict(body)
        if name and not more:
            del told_body["name"]
        elif name:
            told_body["name"] = more
        if text_name in body and not isinstance(body[text_name], str) and (said or is_first):
            told_body[text_name] = said
        self._take(told, kind, told_body)
        self.name += more
        if self._arguments.size <= limit:
            self._arguments.add(said)
        return told | ({kind: told_body} if told_body or kind in part else {})

    def _take(self, told: dict[str, Any], kind: str, body: dict[str, Any]) -> None:
        self._kind = kind
        self._members |= {name: value for name, value in told.items() if name not in ("index", kind) and value}
        self._others |= {name: value for name, value in body.items() if name not in ("name", _BODIES[kind])}

    def whole(self) -> dict[str, Any]:
        """Return the call as a whole answer contains it."""
        body = {"name": self.name, _BODIES[self._kind]: str(self._arguments), **self._others}
        return {**self._members, self._kind: body}

    def is_other(self, place: int | None, name: str) -> bool:
        """Return whether a part with this call's id belongs to another call, because some upstreams repeat ids."""
        if not name or place is None or self._place is None or place == self._place:
            return False
        return name != self.name or self._arguments.is_complete

    def ends_before(self, call_id: str, name: str, said: str) -> bool:
        """Return whether a part at the place of this call belongs to another call.

        `call_id` is another id than this call's, or empty. Some upstreams send a new id with each part. Such a part has
        arguments, but no name or the same name.
        """
        has_said = self._arguments.size > 0
        if call_id and self.id:
            return not said if not name else (name != self.name or not has_said or self._arguments.is_complete)
        if not (has_said and name):
            return False
        return name != self.name or (bool(said) and self._arguments.is_complete)

    def _repeats(self, said: str) -> bool:
        """Return whether `said` only repeats the whole arguments, or is an empty object behind them.

        Some upstreams send the arguments once more at the end.
        """
        if said == "{}":
            return self._arguments.is_complete
        return 1 < len(said) == self._arguments.size and self._arguments.is_complete and said == str(self._arguments)


def _name(body: dict[str, Any]) -> str:
    name = body.get("name")
    return name if isinstance(name, str) else ""


def arguments_of(value: object) -> str:
    """Return the arguments as a text of JSON, as OpenAI has them. Some upstreams send the object itself."""
    if isinstance(value, str):
        return value
    return written(value) if isinstance(value, (dict, list)) else ""


def as_openai(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls of a whole answer in the form of a chunk: each with its own index."""
    return [{**call, "index": index} for index, call in enumerate(calls)]
