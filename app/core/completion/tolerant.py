"""Reads members of JSON that may be missing or have a wrong type. They then count as empty."""

from __future__ import annotations

from typing import Any, Final

INDEX_MAX_DIGITS: Final = 6


def object_of(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    """Return a text, also if it is a list of parts such as `{"type": "text", "text": "…"}`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return text_of(value.get("text") or value.get("content") or value.get("refusal") or value.get("value"))
    return "".join([text_of(part) for part in value]) if isinstance(value, list) else ""


def index_of(item: dict[str, Any]) -> int | None:
    """Return the `index` of a choice or tool call in any notation, or None if it has none."""
    index = item.get("index")
    if type(index) is int:  # nearly always; a bool is no index
        return index
    if isinstance(index, float) and index.is_integer():
        return int(index)
    return int(index) if isinstance(index, str) and index.isdecimal() and len(index) <= INDEX_MAX_DIGITS else None


def place_of(item: dict[str, Any]) -> int:
    """Return the `index` of a choice or tool call, or 0 if it has none."""
    return index_of(item) or 0
