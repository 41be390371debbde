"""Sets of offsets as bit strings count what they hold, whatever their bases are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.core.log.catch_up import Page
from app.core.log.marks import NO_MARKS, NO_OFFSETS, Marks, Offsets

offsets = st.sets(st.integers(1, 300))
bases = st.integers(0, 40).map(lambda n: n * 8)


def stored(members: set[int], base: int) -> bytes:
    bits = bytearray(64)
    for member in members:
        if member >= base:
            bits[(member - base) // 8] |= 1 << (member - base) % 8
    return bytes(bits)


@given(offsets, bases, st.integers(0, 310), st.integers(0, 310))
def test_a_set_counts_its_members_between_two_offsets(members: set[int], base: int, first: int, last: int) -> None:
    loaded = Offsets.load(base, stored(members, base))
    assert loaded.count_between(first, last) == sum(first <= member <= last for member in members if member >= base)


@given(offsets, offsets, bases, bases, st.integers(1, 300))
def test_a_union_has_what_either_has(one: set[int], other: set[int], base: int, other_base: int, offset: int) -> None:
    left, right = Offsets.load(base, stored(one, base)), Offsets.load(other_base, stored(other, other_base))
    assert left.union(right).has(offset) == (left.has(offset) or right.has(offset))


def test_nothing_stored_means_nothing_marked() -> None:
    assert Marks.load(None) == NO_MARKS
    assert Marks.load(b"k3f9q2 0 0 ").handled == NO_OFFSETS


def test_stored_marks_are_three_bit_strings_of_one_size() -> None:
    marks = Marks.load(b"k3f9q2 8 2 " + bytes([1, 0, 2, 0, 0, 128]))
    assert [marks.read.has(8), marks.archived.has(9), marks.removed.has(23)] == [True, True, True]
    assert marks.handled.count_between(0, 100) == 3


def page(marks: Marks = NO_MARKS, gone: Offsets = NO_OFFSETS) -> Page:
    return Page("k3f9q2", top=10, oldest=4, kept=7, after=None, entries=(), gone=gone, marks=marks)


def test_what_is_kept_and_not_marked_is_unread() -> None:
    read = Marks("k3f9q2", Offsets(0, 1 << 3 | 1 << 5), NO_OFFSETS, NO_OFFSETS)
    assert page().unread(10) == 7
    assert page(read).unread(10) == 6  # 3 was trimmed
    assert page(read, gone=Offsets(0, 1 << 5 | 1 << 6)).unread(10) == 5


def test_marks_of_another_history_count_for_nothing() -> None:
    assert page(Marks("other1", Offsets(0, 1 << 5), NO_OFFSETS, NO_OFFSETS)).unread(10) == 7


def test_a_reader_counts_up_to_where_it_stands() -> None:
    assert page().unread(6) == 3
    assert page().unread(12) == 9  # two came after the page was read
    assert page().unread(2) == 0


def test_what_lies_behind_a_reader_is_not_between_it_and_the_newest() -> None:
    assert page(gone=Offsets(0, 1 << 9)).between(7) == 2
    assert page().between(0) == 7
    assert page().between(10) == 0
