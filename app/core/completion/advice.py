"""Reads the headers in which an upstream says whether and when a request should be repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from .tolerant import object_of

DAY_SECONDS: Final = 86_400

NAMES = ("retry-after", "retry-after-ms", "x-should-retry")


def seconds_until(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the upstream asks to wait, from the Unix time `now`. Return None if it asks for nothing.

    `headers` has lower-case names. `Retry-After` may be a date of HTTP or of ISO 8601, or a number with a fraction or
    with the unit `s`.
    """
    number = _number(headers.get("retry-after-ms", ""))
    if number is not None:
        return number / 1_000
    text = headers.get("retry-after", "")
    number = _number(text.strip().removesuffix("s"))
    if number is not None or not text:
        return number
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, OverflowError):
            date = parse(text.strip())
            return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    return None


def wait_in(told: Mapping[str, Any]) -> str:
    """Return the seconds that Google's `RetryInfo` in an error asks to wait, as `Retry-After` writes them, or ""."""
    details = told.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = object_of(detail).get("retryDelay")
        seconds = _number(delay.removesuffix("s")) if isinstance(delay, str) else None
        if seconds is not None and 0 < seconds <= DAY_SECONDS:  # more is no advice
            return str(math.ceil(seconds))
    return ""


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def verdict(headers: Mapping[str, str]) -> bool | None:
    """Return the value of `x-should-retry`, or None if the header is missing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
