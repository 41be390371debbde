"""The comparisons say what is wrong, not only that something is."""

from __future__ import annotations

import pytest

from app.conformance.verdict import FailedError, expect_header, expect_sequence


@pytest.mark.parametrize(
    ("got", "told"),
    [
        ([0, 2, 3], "1 lost"),
        ([0, 1, 1, 2, 3], "1 twice"),
        ([0, 2, 1, 3], "order 0, 2, 1, 3"),
        ([0, 1, 2, 3, 9], "9 out of place"),
        ([], "0, 1, 2, 3 lost"),
    ],
)
def test_a_sequence_that_is_not_whole_is_told_by_its_fault(got: list[int], told: str) -> None:
    with pytest.raises(FailedError) as failure:
        expect_sequence(range(4), got)
    assert (failure.value.expected, failure.value.got) == ("4 messages once and in order", told)


def test_a_whole_sequence_passes() -> None:
    expect_sequence(range(3), [0, 1, 2])


@pytest.mark.parametrize(
    "value", ["no-cache, no-transform", "No-Transform;no-cache", "no-store, no-cache, no-transform"]
)
def test_a_header_holds_its_words_in_any_order(value: str) -> None:
    expect_header({"Cache-Control": value}, "Cache-Control", "no-cache", "no-transform")


def test_a_header_without_a_word_is_shown() -> None:
    with pytest.raises(FailedError, match="expected Cache-Control: no-cache, got public"):
        expect_header({"Cache-Control": "public"}, "Cache-Control", "no-cache")
    with pytest.raises(FailedError, match="got none"):
        expect_header({}, "Cache-Control", "no-cache")
