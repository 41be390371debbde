"""Assembles tool calls from the parts in which an upstream sends them.

A call's `index` should say which call a part belongs to. Many upstreams omit it, or send 0 for each call. So a new
`id`, another name, or arguments that begin again after they were complete also begin a new call.
"""

from __future__ import annotations

import json
from typing import Any

from .json_text import written
from .tolerant import object_of


class ToolCalls:
    """The calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._places: dict[object, dict[str, Any]] = {}
        self._begun: list[tuple[int, int]] = []

    @property
    def list(self) -> list[dict[str, Any]]:
        """Each whole call, in the order of the indexes."""
        order = sorted(range(len(self._calls)), key=lambda number: self._begun[number])
        return [self._calls[number] for number in order]

    def add(self, part: dict[str, Any]) -> None:
        """Add one part of one call."""
        function = object_of(part.get("function"))
        call = self._call_of(part, function)
        call.update({name: part[name] for name in part if name not in ("index", "function") and part[name]})
        own = call["function"]
        name = function.get("name")
        if isinstance(name, str) and name != own["name"]:
            own["name"] = name if name.startswith(own["name"]) else own["name"] + name
        own["arguments"] += arguments_of(function.get("arguments"))
        own.update({key: value for key, value in function.items() if key not in ("name", "arguments")})

    def _call_of(self, part: dict[str, Any], function: dict[str, Any]) -> dict[str, Any]:
        index = part.get("index")
        place = index if isinstance(index, int) else None
        known = self._places.get(place) if place is not None else self._last()
        if part.get("id") and (found := self._by_id(part["id"])) is not None:
            known = found
        elif known is not None and _begins_anew(known, part, function):
            known = None
        if known is None:
            known = {"function": {"name": "", "arguments": ""}}
            self._begun.append((len(self._calls) if place is None else place, len(self._calls)))
            self._calls.append(known)
        if place is not None:
            self._places[place] = known
        return known

    def _last(self) -> dict[str, Any] | None:
        return self._calls[-1] if self._calls else None

    def _by_id(self, call_id: object) -> dict[str, Any] | None:
        return next((call for call in self._calls if call.get("id") == call_id), None)


def _begins_anew(call: dict[str, Any], part: dict[str, Any], function: dict[str, Any]) -> bool:
    """Return whether a part at the place of `call` belongs to another call."""
    if part.get("id"):
        return bool(call.get("id"))  # another call, because a call with this id was already searched
    name, arguments = function.get("name"), arguments_of(function.get("arguments"))
    if not call["function"]["arguments"] or not isinstance(name, str) or not name:
        return False
    return name != call["function"]["name"] or (bool(arguments) and _is_object(call["function"]["arguments"]))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def arguments_of(value: object) -> str:
    """Return the arguments as a text of JSON, as OpenAI has them. Some upstreams send the object itself."""
    if isinstance(value, str):
        return value
    return written(value) if isinstance(value, (dict, list)) else ""


def as_openai(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls of a whole answer in the form of a chunk: each with its index, and its arguments as text."""
    found = []
    for index, call in enumerate(calls):
        function = object_of(call.get("function"))
        found.append(
            {"index": index, **call, "function": {**function, "arguments": arguments_of(function.get("arguments"))}}
        )
    return found
