"""Times in answers."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.core.wire.times import rfc3339


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(st.floats(min_value=-62_000_000_000, max_value=250_000_000_000))
def test_it_is_what_the_library_says(seconds: float) -> None:
    written = datetime.fromisoformat(rfc3339(seconds))
    exact = datetime.fromtimestamp(seconds, UTC)
    assert abs((written - exact).total_seconds()) < 0.001_002
