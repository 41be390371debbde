"""When a scheduled message is due: what publishers may write, and what they are told of anything else."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.due import Due, read
from app.core.errors import BelfryError
from app.core.message import Message, parse


def parsed(**fields: object) -> Message:
    return parse(json.dumps({"to": "a", **fields}).encode(), now=1.0, new_id="n", max_recipients=1)


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ("2026-12-24T18:00:00+01:00", Due(1_798_131_600_000)),
        ("2026-12-24t17:00:00z", Due(1_798_131_600_000)),
        ("2026-12-24T17:00:00.0015Z", Due(1_798_131_600_002)),
        (0, Due(0, relative=True)),
        (1.5, Due(1_500, relative=True)),
    ],
)
def test_a_moment_is_read(given: object, due: Due) -> None:
    assert parsed(deliver_at=given).due == due


@pytest.mark.parametrize(
    "given",
    [
        "", "now", "2026-12-24", "2026-12-24T17:00:00", "2026-12-24 17:00:00Z", "2026-13-24T17:00:00Z", "2026-W52-4",
        "2026-12-24T17:00:60Z", "2026-12-24T17:00Z", "٢٠٢٦-12-24T17:00:00Z", "{braces}", -1, True, [], {}, "60",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_was_expected(given: object) -> None:
    with pytest.raises(BelfryError, match="expected a time such as") as caught:
        parsed(deliver_at=given)
    assert caught.value.code == "bad_deliver_at"


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-14, 14))  # noqa: DTZ001 - the zone comes as text
def test_the_zone_counts_and_no_message_is_early(moment: datetime, hours: int) -> None:
    text = f"{moment.isoformat()}{'-' if hours < 0 else '+'}{abs(hours):02d}:00"
    exact = datetime.fromisoformat(text).timestamp() * 1_000
    assert 0 <= read(text).milliseconds - exact < 1.001


def test_the_content_is_the_same_whenever_it_is_delivered() -> None:
    """So that a retry with another number of seconds is a duplicate."""
    assert parsed(title="t", deliver_at=5).digest == parsed(title="t", deliver_at=6).digest == parsed(title="t").digest


def test_a_message_to_deliver_at_once_keeps_no_text() -> None:
    assert (parsed().due, parsed().text) == (None, b"")
