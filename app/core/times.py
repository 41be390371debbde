"""How a time is written in every answer: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(unix_seconds: float) -> str:
    """For example `2026-11-21T01:50:00.000Z`, to the millisecond."""
    seconds, microseconds = divmod(round(unix_seconds * 1_000_000), 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds // 1_000:03d}Z"


@lru_cache(maxsize=8)  # a message after the other has the time of now
def _to_the_second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat().removesuffix("+00:00")
