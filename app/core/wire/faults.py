"""Says in plain words what is wrong with a JSON value that a model refused: what was expected, and what came.

Pydantic's own texts name Python's types and our classes, which mean nothing to a client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SHOWN_MAX: Final = 40  # characters of a value that a refusal repeats

_EXPECTED: Final[Mapping[str, str]] = {
    "model_type": "one JSON object",
    "model_attributes_type": "one JSON object",
    "dict_type": "a JSON object",
    "list_type": "a list",
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
}


def told(error: ErrorDetails) -> str:
    """Return what is wrong, without the name of the field and without a full stop. The error must have its input."""
    if error["type"] == "extra_forbidden":
        return "Belfry does not know this field"
    expected = _EXPECTED.get(error["type"])
    return (
        error["msg"].removeprefix("Value error, ")
        if expected is None
        else f"Expected {expected}, got {kind(error['input'])}"
    )


def kind(value: Any) -> str:
    """Return what a JSON value is. A short number, truth value or null is shown itself."""
    match value:
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
    shown = json.dumps(value)
    return shown if len(shown) <= SHOWN_MAX else "a long number"
