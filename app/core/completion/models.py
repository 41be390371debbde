"""Reads a list of models in every shape that upstreams use."""

from __future__ import annotations

import json
from typing import Any, Final

from .json_text import read, text_in
from .tolerant import object_of

Model = dict[str, Any]  # OpenAI's object: id, object, created, owned_by and other members of the upstream
_LISTS: Final = ("data", "models", "result", "results", "items")
_IDS: Final = ("id", "name", "model", "slug")


def models_in(body: bytes) -> dict[str, Model]:
    """Return the models by their ids. An entry without an id is left out. A missing list counts as empty.

    Raises ValueError if the body is not a list of models.
    """
    value, _ = read(text_in(body))
    entries = _entries(value)
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        told = json.dumps(value)[:80]
        raise ValueError(f"expected a list of models, got {told}")  # noqa: TRY004 - a wrong document, no wrong call
    found = [_model(entry) for entry in entries]
    return {model["id"]: model for model in found if model["id"]}


def _entries(value: Any) -> Any:
    """Return the list of models in a document. If several members may be the list, return the one that has entries."""
    if not isinstance(value, dict):
        return value
    named = [value[name] for name in _LISTS if name in value]
    found = next((each for each in named if isinstance(each, (list, dict)) and each), named[0] if named else value)
    if found is value or not isinstance(found, dict):
        return found
    inner = [found[name] for name in _LISTS if isinstance(found.get(name), list)]
    return inner[0] if inner else [{"id": name, **object_of(entry)} for name, entry in found.items()]


def _model(entry: object) -> Model:
    if isinstance(entry, str):
        return {"id": entry, "object": "model", "created": 0, "owned_by": "upstream"}
    given = object_of(entry)
    if isinstance(given.get("id"), str) and given["id"]:
        return given
    name = next((given[name] for name in _IDS if isinstance(given.get(name), (str, int)) and given[name] != ""), "")
    return {"object": "model", "created": 0, "owned_by": "upstream", **given, "id": str(name)}
