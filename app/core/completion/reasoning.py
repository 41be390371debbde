"""Finds the reasoning in a delta or message. Upstreams have many names for it."""

from __future__ import annotations

from typing import Any, Final

from .tolerant import objects_of, text_of

# Besides `reasoning_content` and `reasoning`, which most clients know.
_TEXTS: Final = ("thinking", "reasoning_text", "thought")
_LISTS: Final = ("reasoning_details", "thinking_blocks")
REASONING: Final = frozenset({*_TEXTS, *_LISTS})
_KINDS: Final = frozenset({"thinking", "reasoning"})  # of a part of the content


def thoughts_of(delta: dict[str, Any]) -> str:
    """Return the reasoning that a delta or message contains, under any name."""
    for name in ("reasoning_content", "reasoning", *_TEXTS):
        if name in delta and (text := text_of(delta[name])):
            return text
    found = [part for name in _LISTS if name in delta for part in objects_of(delta[name])]
    if isinstance(delta.get("content"), list):
        found += [part for part in objects_of(delta["content"]) if part.get("type") in _KINDS]
    return "".join([_text(part) for part in found])


def _text(part: dict[str, Any]) -> str:
    return next(
        (text for name in ("thinking", "text", "summary", "reasoning") if (text := text_of(part.get(name)))), ""
    )
