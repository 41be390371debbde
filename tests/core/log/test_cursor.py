"""A cursor is the same text on both ways, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.log.cursor import MAX_BYTES, MAX_LOGS, Position, encode, parse, replace

EPOCHS = st.text("0123456789abcXYZ", min_size=1, max_size=6)
POSITIONS = st.builds(Position, EPOCHS, st.integers(0, 99_999_999))
VECTORS = st.lists(POSITIONS, min_size=1, max_size=MAX_LOGS, unique_by=lambda position: position.epoch).map(tuple)


@given(VECTORS)
def test_what_was_encoded_is_read_back(vector: tuple[Position, ...]) -> None:
    assert parse(encode(vector)) == vector


@given(VECTORS)
def test_eight_logs_of_a_hundred_million_messages_fit_into_a_safelisted_header(vector: tuple[Position, ...]) -> None:
    assert len(encode(vector)) <= MAX_BYTES
    assert all(char.isalnum() or char in "._-" for char in encode(vector))


@given(st.text(max_size=140))
def test_any_text_is_a_cursor_or_refused_by_name(text: str) -> None:
    try:
        again = encode(parse(text))
    except BelfryError as error:
        again = error.code
    assert again in {text, "bad_cursor"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "abc.",
        ".1",
        "abc.01",
        "abc.-1",
        "abc.1-",
        "-abc.1",
        "abc.1--def.2",
        "abc.1 ",
        "abc.1\n",
        "äbc.1",
        "abc.\N{ARABIC-INDIC DIGIT ONE}",
        "abc.1e3",
        "abc.1-abc.2",
        "abc." + "9" * 16,
        "-".join(f"e{n}.1" for n in range(MAX_LOGS + 1)),
        "a.1-" * 40 + "a.1",
    ],
)
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(BelfryError) as refusal:
        parse(text)
    assert (refusal.value.code, refusal.value.status) == ("bad_cursor", 400)


def test_one_position_is_exchanged_and_the_others_are_kept() -> None:
    a, b, c = Position("a", 1), Position("b", 2), Position("c", 3)
    assert replace((a, b, c), Position("b", 9), 1) == (a, Position("b", 9), c)
