"""The form of a time in every answer: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(unix_seconds: float) -> str:
    """Return the time to the millisecond, for example `2026-11-21T01:50:00.000Z`."""
    return _to_the_millisecond(round(unix_seconds * 1_000_000) // 1_000)


@lru_cache(maxsize=8)  # many messages of a batch have the same time
def _to_the_millisecond(unix_milliseconds: int) -> str:
    seconds, milliseconds = divmod(unix_milliseconds, 1_000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)
def _to_the_second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat().removesuffix("+00:00")
