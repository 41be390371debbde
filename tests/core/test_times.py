"""Times in answers."""

from __future__ import annotations

from app.core.times import rfc3339


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
