"""How long an upstream may take."""

from __future__ import annotations

import pytest

from app.core.completion.answer_deadline import AnswerDeadline, AnswerLimits

LIMITS = AnswerLimits(connect=5, first_token=60, idle=30, comments=600, whole=900, total=3_600, end=2)


def test_a_stream_waits_for_its_first_token_and_then_for_each() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=False)
    assert patience.deadline == 60
    patience.opened(10, is_stream=True)
    assert patience.deadline == 70
    patience.said(20)
    assert patience.deadline == 50
    assert "no token" in patience.timeout_text(50)


def test_comments_are_a_sign_of_life_and_hold_nothing_for_ever() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=False)
    patience.opened(0, is_stream=True)
    patience.heard(590)
    assert patience.deadline == 600
    assert "only comments" in patience.timeout_text(600)
    patience.said(590)
    patience.heard(610)
    assert patience.deadline == 640


def test_a_whole_answer_has_its_own_limit_until_tokens_come() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=True)
    patience.opened(100, is_stream=False)
    assert patience.deadline == 900
    assert "not complete after 900 s" in patience.timeout_text(900)
    patience.opened(100, is_stream=True)
    patience.said(100)
    assert patience.deadline == 130


def test_a_stream_that_is_answered_in_one_piece_has_that_limit_too() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=False)
    patience.opened(10, is_stream=False)
    assert patience.deadline == 900


def test_a_slow_taker_is_not_the_upstream_s_fault() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=False)
    patience.said(0)
    patience.hold()
    assert patience.deadline == 3_600
    patience.go_on(1_000)
    assert patience.deadline == 1_030


def test_little_is_waited_for_behind_the_last_finish_reason() -> None:
    patience = AnswerDeadline(LIMITS, 0, whole=False)
    patience.said(10)
    patience.finished()
    assert patience.deadline == 12


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_outlasts_the_total(whole: bool) -> None:
    patience = AnswerDeadline(AnswerLimits(5, 60, 30, 600, 900, 20, 2), 0, whole=whole)
    patience.opened(1, is_stream=True)
    patience.said(19)
    assert patience.deadline == 20
    assert "not complete after 20 s" in patience.timeout_text(20)
