"""The decisions of catching up, one by one; `tests/live/test_promise.py` lets them meet."""

from __future__ import annotations

import pytest

from app.core.log.catch_up import LIVE_ONLY, Entry, Page, Rest, caught_up, newest, on_live, on_page, start
from app.core.log.cursor import Position

A, B = "aaaaaa", "bbbbbb"


def page(epoch: str = A, top: int = 10, oldest: int = 1, after: int | None = None, offsets: range = range(0)) -> Page:
    entries = tuple(Entry(offset, b"message {}", 0) for offset in offsets)
    return Page(epoch, top, oldest, top - oldest + 1, after, entries)


def run(*offsets: int, epoch: str = A) -> list[Position]:
    return [Position(epoch if offset else "", offset) for offset in offsets]


class TestOnLive:
    def test_the_very_next_offset_is_taken(self) -> None:
        assert on_live(Position(A, 4), run(5)) == Rest(Position(A, 5), (0,), gap=False)

    @pytest.mark.parametrize("offset", [1, 3, 4])
    def test_an_offset_that_was_read_before_is_a_duplicate(self, offset: int) -> None:
        assert on_live(Position(A, 4), run(offset)) == Rest(Position(A, 4), (), gap=False)

    def test_an_offset_further_on_is_a_gap(self) -> None:
        assert on_live(Position(A, 4), run(6)) == Rest(Position(A, 4), (), gap=True)

    def test_another_epoch_is_a_gap_whatever_its_offset(self) -> None:
        assert on_live(Position(A, 4), run(5, epoch=B)) == Rest(Position(A, 4), (), gap=True)

    def test_a_run_is_taken_whole_by_who_stands_right_before_it(self) -> None:
        assert on_live(Position(A, 4), run(5, 6, 7)) == Rest(Position(A, 7), (0, 1, 2), gap=False)

    def test_who_stands_inside_a_run_takes_its_rest(self) -> None:
        assert on_live(Position(A, 6), run(5, 6, 7)) == Rest(Position(A, 7), (2,), gap=False)

    def test_who_has_read_a_run_takes_nothing_of_it(self) -> None:
        assert on_live(Position(A, 9), run(5, 6, 7)) == Rest(Position(A, 9), (), gap=False)

    def test_what_was_heard_twice_is_taken_once(self) -> None:
        assert on_live(Position(A, 4), run(5, 5, 6, 5, 7)) == Rest(Position(A, 7), (0, 2, 4), gap=False)

    def test_a_run_is_taken_up_to_its_hole(self) -> None:
        assert on_live(Position(A, 4), run(5, 7, LIVE_ONLY, 8)) == Rest(Position(A, 5), (0,), gap=True)

    def test_a_run_is_taken_up_to_another_epoch(self) -> None:
        assert on_live(Position(A, 4), run(5) + run(6, epoch=B)) == Rest(Position(A, 5), (0,), gap=True)

    def test_what_is_not_kept_comes_in_its_place(self) -> None:
        assert on_live(Position(A, 4), run(LIVE_ONLY, 5, LIVE_ONLY, 6, LIVE_ONLY)).taken == (0, 1, 2, 3, 4)

    def test_what_is_not_kept_does_not_come_after_what_followed_it(self) -> None:
        assert on_live(Position(A, 5), run(LIVE_ONLY, 5, LIVE_ONLY, 6)).taken == (2, 3)


class TestOnPage:
    def test_the_entries_after_the_position_are_taken(self) -> None:
        reading = on_page(Position(A, 3), page(after=2, offsets=range(3, 7)))
        assert [entry.offset for entry in reading.entries] == [4, 5, 6]
        assert (reading.position, reading.lost) == (Position(A, 6), False)

    def test_an_empty_page_leads_to_the_tail_since_what_lies_between_was_deleted(self) -> None:
        assert on_page(Position(A, 8), page(after=8)) == (Position(A, 10), (), False)

    def test_the_entry_before_the_oldest_is_still_a_good_place(self) -> None:
        assert not on_page(Position(A, 4), page(oldest=5, after=4, offsets=range(5, 11))).lost

    @pytest.mark.parametrize(
        ("position", "of"),
        [
            pytest.param(Position(A, 3), page(oldest=5), id="trimmed"),
            pytest.param(Position(A, 11), page(), id="set back"),
            pytest.param(Position(B, 3), page(), id="another epoch"),
        ],
    )
    def test_lost_history_leads_to_the_tail_and_says_so(self, position: Position, of: Page) -> None:
        assert on_page(position, of) == (Position(A, 10), (), True)


class TestStart:
    def test_without_a_cursor_it_begins_at_the_tails(self) -> None:
        assert start([page(A, 10), page(B, 20)], None) == ((Position(A, 10), Position(B, 20)), False)

    def test_a_cursor_decides_log_by_log_whatever_its_order(self) -> None:
        cursor = (Position(B, 5), Position(A, 3))
        assert start([page(A, after=3), page(B, after=5)], cursor) == ((Position(A, 3), Position(B, 5)), False)

    def test_a_log_that_is_new_to_the_reader_begins_at_its_tail_without_a_loss(self) -> None:
        assert start([page(A, after=3), page(B, 20)], (Position(A, 3),)) == ((Position(A, 3), Position(B, 20)), False)

    def test_a_log_that_the_reader_left_is_no_loss(self) -> None:
        assert start([page(A, after=3)], (Position(A, 3), Position(B, 20))) == ((Position(A, 3),), False)

    def test_a_position_of_an_epoch_that_is_gone_is_a_loss(self) -> None:
        cursor = (Position("cccccc", 7), Position(B, 5))
        assert start([page(A, 10), page(B, after=5)], cursor) == ((Position(A, 10), Position(B, 5)), True)


class TestNewest:
    def test_an_answer_is_the_authority_over_what_was_known_when_it_was_asked_for(self) -> None:
        known = Position(A, 9)
        assert newest(known, known, Position(A, 4)) == Position(A, 4)
        assert newest(known, known, Position(B, 0)) == Position(B, 0)
        assert newest(None, None, Position(A, 4)) == Position(A, 4)

    def test_what_became_known_meanwhile_is_not_forgotten(self) -> None:
        assert newest(Position(A, 9), Position(A, 3), Position(A, 4)) == Position(A, 9)
        assert newest(Position(A, 9), Position(A, 3), Position(A, 12)) == Position(A, 12)
        assert newest(Position(B, 1), Position(A, 3), Position(A, 4)) == Position(B, 1)


class TestCaughtUp:
    def test_every_log_must_have_been_read_to_what_is_known_of_it(self) -> None:
        vector = (Position(A, 4), Position(B, 7))
        assert caught_up(vector, [Position(A, 4), Position(B, 6)])
        assert not caught_up(vector, [Position(A, 5), Position(B, 7)])
        assert not caught_up(vector, [Position(A, 4), Position("cccccc", 1)])
        assert not caught_up(vector, [Position(A, 4), None])
