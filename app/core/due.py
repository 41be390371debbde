"""When a scheduled message is due, as its publisher wrote it. Pure: the store's clock decides whether it is due now."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

CODE = "bad_deliver_at"
EXPECTED = "expected a time such as '2026-12-24T18:00:00+01:00', or a number of seconds from now"
FARTHEST_SECONDS = 31_536_000  # a year

# RFC 3339 section 5.6. `fromisoformat` alone would also accept week dates and times without a zone.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Due(NamedTuple):
    """A moment in Unix ms. With `relative`, a number of ms from now, by the clock of the store."""

    milliseconds: int
    relative: bool = False


def read(given: object) -> Due:
    """Return the moment that `deliver_at` names. Raises `PydanticCustomError` `bad_deliver_at`."""
    if isinstance(given, str):
        return Due(_moment(given))
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise _refusal(f"{EXPECTED}, got {type(given).__name__}")
    if not 0 <= given < math.inf:
        raise _refusal(f"{EXPECTED}, 0 or more, got {given}")
    return Due(math.ceil(min(given, 10 * FARTHEST_SECONDS) * 1_000), relative=True)


def _moment(text: str) -> int:
    upper = text.upper()
    if not _RFC3339.fullmatch(upper):
        lacks_zone = _RFC3339.fullmatch(f"{upper}Z") is not None
        raise _refusal(f"{EXPECTED}, got {text[:64]!a}{', which has no time zone' if lacks_zone else ''}")
    try:
        return math.ceil(datetime.fromisoformat(upper).timestamp() * 1_000)
    except (ValueError, OverflowError) as error:
        raise _refusal(f"{EXPECTED}, got {text[:64]!a}: {error}") from None


def _refusal(told: str) -> PydanticCustomError:
    # pydantic treats the text as a template, so braces in it must be passed as a value.
    return PydanticCustomError(CODE, "{told}", {"told": told})


DeliverAt = Annotated[
    Due,
    PlainValidator(read),
    WithJsonSchema(
        {
            "description": "When the message is delivered: RFC 3339 with a time zone, or a number of seconds from now.",
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}],
        }
    ),
]
