"""Reads a list of models in every shape that upstreams use."""

from __future__ import annotations

import json
from typing import Any, Final

from .json_text import BOM, read
from .tolerant import object_of

Model = dict[str, Any]  # OpenAI's object: id, object, created, owned_by and other members of the upstream
_LISTS: Final = ("data", "models", "result")
_IDS: Final = ("id", "name", "model", "slug")


def models_in(body: bytes) -> dict[str, Model]:
    """Return the models by their ids. An entry without an id is left out. A missing list counts as empty.

    Raises ValueError if the body is not a list of models.
    """
    value, _ = read(body.decode().lstrip(BOM))
    entries = value
    if isinstance(value, dict):
        entries = next((value[name] for name in _LISTS if name in value), value)
    if isinstance(entries, dict) and entries is not value:
        entries = [{"id": name, **object_of(entry)} for name, entry in entries.items()]
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        told = json.dumps(value)[:80]
        raise ValueError(f"expected a list of models, got {told}")  # noqa: TRY004 - a wrong document, no wrong call
    found = [_model(entry) for entry in entries]
    return {model["id"]: model for model in found if model["id"]}


def _model(entry: object) -> Model:
    if isinstance(entry, str):
        return {"id": entry, "object": "model", "created": 0, "owned_by": "upstream"}
    given = object_of(entry)
    if isinstance(given.get("id"), str) and given["id"]:
        return given
    name = next((given[name] for name in _IDS if isinstance(given.get(name), (str, int)) and given[name] != ""), "")
    return {"object": "model", "created": 0, "owned_by": "upstream", **given, "id": str(name)}
