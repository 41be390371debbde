"""Reads the headers in which an upstream says whether and when a request should be repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

NAMES = ("retry-after", "retry-after-ms", "x-should-retry")


def seconds_until(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the upstream asks to wait, from the Unix time `now`. Return None if it asks for nothing.

    `headers` has lower-case names. `Retry-After` may be a date, or a number with a fraction.
    """
    number = _number(headers.get("retry-after-ms", ""))
    if number is not None:
        return number / 1_000
    text = headers.get("retry-after", "")
    number = _number(text)
    if number is not None or not text:
        return number
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def verdict(headers: Mapping[str, str]) -> bool | None:
    """Return the value of `x-should-retry`, or None if the header is missing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
