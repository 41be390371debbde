"""Brings chunks into the form that the official clients of OpenAI's API rely on.

Those clients read `choices`, `index`, `delta` and the index of a tool call without a check. They append each name, id
and argument of a call to the one before. So a chunk without these members, or with repeated ones, would break a program
that works with OpenAI. A chunk in the right form stays unchanged, and no member is lost.
"""

from __future__ import annotations

from typing import Any, Final

from .finish import any_reason_of
from .json_text import written
from .reasoning import REASONING, thoughts_of
from .tolerant import object_of, objects_of, place_of
from .tool_calls import ToolCalls, parts_of

ARGUMENTS_MAX_CHARS: Final = 1_000_000  # kept of one tool call, to see where the next one begins
# Members that may need a change. Most choices and deltas have none of them.
_OF_CHOICE: Final = frozenset({"text", "message", "finishReason", "stop_reason"})
_OF_DELTA: Final = frozenset({"tool_calls", "function_call", *REASONING})


class Regular:
    """The chunks of one answer. `by_messages` is whether its pieces come as `message` instead of `delta`."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCalls] = {}
        self._legacy: dict[int, ToolCalls] = {}
        self.by_messages = False

    def of(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return the chunk in the right form. It is the same object if nothing had to change."""
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if not _is_regular(choice):
                    break
            else:
                return chunk
        found = [choices] if isinstance(choices, dict) else objects_of(choices)
        regular = [choice if _is_regular(choice) else self._choice(choice) for choice in found]
        # Compared as text, because `0 == 0.0 == False`.
        return chunk if written(regular) == written(choices) else {**chunk, "choices": regular}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        delta = choice.get("delta")
        found = {**choice, "index": place_of(choice), "delta": self._delta(choice, delta)}
        if not isinstance(delta, dict):
            for name in ("text", "message"):
                found.pop(name, None)
        reason = any_reason_of(choice)
        return found | ({"finish_reason": reason} if reason and not choice.get("finish_reason") else {})

    def _delta(self, choice: dict[str, Any], delta: object) -> dict[str, Any]:
        found = delta if isinstance(delta, dict) else self._other_delta(choice, delta)
        changed = self._with_calls(place_of(choice), found)
        if not (found.get("reasoning_content") or found.get("reasoning")) and (thoughts := thoughts_of(found)):
            changed["reasoning_content"] = thoughts
        return {**found, **changed}

    def _other_delta(self, choice: dict[str, Any], delta: object) -> dict[str, Any]:
        """Return what stands for the delta of a choice that has no object there."""
        if isinstance(choice.get("message"), dict):
            self.by_messages = True
            return dict(choice["message"])
        said = delta if isinstance(delta, str) else choice.get("text")
        return {"content": said} if isinstance(said, str) else {}

    def _with_calls(self, place: int, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the members of the delta that have tool calls, in the right form."""
        changed: dict[str, Any] = {}
        parts = parts_of({name: value for name, value in delta.items() if name == "tool_calls"})
        if parts:
            calls = self._calls.setdefault(place, ToolCalls(ARGUMENTS_MAX_CHARS))
            changed["tool_calls"] = [calls.add(part) for part in parts]
        elif delta.get("tool_calls"):  # something that no client can read
            changed["tool_calls"] = None
        if isinstance(delta.get("function_call"), dict):
            calls = self._legacy.setdefault(place, ToolCalls(ARGUMENTS_MAX_CHARS))
            told = calls.add({"index": 0, "function": delta["function_call"]})
            changed["function_call"] = object_of(told.get("function"))
        return changed


def _is_regular(choice: object) -> bool:
    """Return whether a choice is in the right form, as nearly all are."""
    if not isinstance(choice, dict) or type(choice.get("index")) is not int or not _OF_CHOICE.isdisjoint(choice):
        return False
    delta = choice.get("delta")
    return isinstance(delta, dict) and _OF_DELTA.isdisjoint(delta) and not isinstance(delta.get("content"), list)
