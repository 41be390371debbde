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
# The same for limits, which the error names in its context.
_EXPECTED_BY_LIMIT: Final[Mapping[str, str]] = {
    "literal_error": "{expected}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "string_too_short": "{min_length} or more characters",
    "string_too_long": "{max_length} or fewer characters",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
}
_COUNTED: Final = frozenset({"string_too_short", "string_too_long", "too_short", "too_long"})


def told(error: ErrorDetails) -> str:
    """Return what is wrong, without the name of the field and without a full stop. The error must have its input."""
    if error["type"] == "extra_forbidden":
        return "Belfry does not know this field"
    if error["type"] == "missing":
        return "Expected this field, got an object without it"
    given = error["input"]
    if expected := _EXPECTED.get(error["type"]):
        return f"Expected {expected}, got {kind(given)}"
    if limit := _EXPECTED_BY_LIMIT.get(error["type"]):
        got = len(given) if error["type"] in _COUNTED else shown(given)
        return f"Expected {limit.format_map(error['ctx'])}, got {got}"
    return error["msg"].removeprefix("Value error, ")


def shown(value: Any) -> str:
    """Return a JSON value as it is if it is short, and otherwise what it is."""
    text = ascii(value[:SHOWN_MAX]) if isinstance(value, str) else ""
    return text if text and len(text) <= SHOWN_MAX else kind(value)


def kind(value: Any) -> str:
    """Return what a JSON value is. A short number, truth value or null is shown itself."""
    match value:
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_MAX else "a long number"
