"""The checker finds each fault that is planted in records, and nothing in records that are right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.faults.checker import Kind, check
from tests.faults.records import Delivery, Erasure, Hearing, Outcome, Publication, Records, Reset

ALICE = "user:alice"
RESET = Reset()


def sent(number: int, *logs: str, outcome: Outcome = Outcome.ACKNOWLEDGED, seconds: float = 0.5) -> Publication:
    """Message `m<number>`, sent at that second and known `seconds` later."""
    offsets = dict.fromkeys(logs or (ALICE,), number) if outcome is Outcome.ACKNOWLEDGED else {}
    return Publication(f"m{number}", logs or (ALICE,), number, number + seconds, outcome, offsets)


def heard(*events: int | Reset, logs: Sequence[str] = (ALICE,), feed: Sequence[int] = ()) -> Hearing:
    return Hearing(
        "tab 1",
        tuple(logs),
        since=0.0,
        events=tuple(timed(events)),
        feed=tuple(f"m{number}" for number in feed),
    )


def timed(events: Sequence[int | Reset]) -> Iterator[Delivery | Reset]:
    """Each message comes soon after it was sent, `RESET` just before the next one."""
    at = 0.0
    for place, event in enumerate(events):
        following = next((each for each in events[place:] if isinstance(each, int)), at + 1)
        at = max(at, following + (0.5 if isinstance(event, Reset) else 0.6))
        if isinstance(event, Reset):
            at = event.at or at
            yield Reset(at)
        else:
            yield Delivery(f"m{event}", at)


def breaches(publications: Sequence[Publication], hearing: Hearing, *erasures: Erasure) -> list[tuple[Kind, str]]:
    verdict = check(Records(tuple(publications), (hearing,), erasures))
    return [(breach.kind, breach.subject) for breach in verdict.breaches]


FIVE = [sent(number) for number in range(1, 6)]


def test_each_message_once_and_in_order_is_what_was_promised() -> None:
    assert breaches(FIVE, heard(1, 2, 3, 4, 5)) == []


def test_a_planted_loss_is_found() -> None:
    assert breaches(FIVE, heard(1, 2, 3, 4)) == [(Kind.LOST, "m5")]


def test_a_subscriber_that_heard_nothing_lost_everything() -> None:
    assert breaches(FIVE, heard()) == [(Kind.LOST, publication.mark) for publication in FIVE]


def test_a_planted_silent_gap_is_found() -> None:
    assert breaches(FIVE, heard(1, 2, 4, 5)) == [(Kind.GAP, "m3")]


def test_a_planted_duplicate_is_found() -> None:
    assert breaches(FIVE, heard(1, 2, 3, 2, 4, 5)) == [(Kind.DOUBLED, "m2")]
    assert breaches(FIVE, heard(1, 2, 3, 4, 5, 5)) == [(Kind.DOUBLED, "m5")]


def test_a_planted_inversion_is_found() -> None:
    assert set(breaches(FIVE, heard(1, 3, 2, 4, 5))) == {(Kind.INVERTED, "m2")}


def test_an_inversion_is_found_by_the_clock_alone() -> None:
    without_offsets = [replace(publication, offsets={}) for publication in FIVE]
    assert breaches(without_offsets, heard(1, 3, 2, 4, 5)) == [(Kind.INVERTED, "m2")]


def test_an_inversion_of_messages_sent_at_the_same_time_is_found_by_their_offsets() -> None:
    together = [sent(1, seconds=10), sent(2, seconds=10)]
    assert breaches(together, heard(1, 2)) == []
    assert breaches(together, heard(2, 1)) == [(Kind.INVERTED, "m1")]


def test_messages_of_different_logs_have_no_order() -> None:
    other = sent(3, "everyone")
    assert breaches([sent(1), sent(2), other], heard(3, 1, 2, logs=(ALICE, "everyone"))) == []


def test_a_refused_message_that_was_delivered_is_found() -> None:
    refused = sent(6, outcome=Outcome.REFUSED)
    assert breaches([*FIVE, refused], heard(1, 2, 3, 4, 5)) == []
    assert breaches([*FIVE, refused], heard(1, 2, 3, 4, 5, 6)) == [(Kind.REFUSED, "m6")]


def test_a_refused_message_that_is_in_the_feed_is_found() -> None:
    refused = sent(6, outcome=Outcome.REFUSED)
    assert breaches([*FIVE, refused], heard(1, 2, 3, 4, 5, feed=[1, 6])) == [(Kind.REFUSED, "m6")]


@pytest.mark.parametrize("events", [(1,), (1, 2)])
def test_a_message_that_nobody_knows_of_may_come_or_not(events: tuple[int, ...]) -> None:
    assert breaches([sent(1), sent(2, outcome=Outcome.UNKNOWN)], heard(*events)) == []


def test_a_message_that_is_twice_in_the_feed_is_found() -> None:
    assert breaches(FIVE, heard(1, 2, 3, 4, 5, feed=[5, 4, 2, 3, 2, 1])) == [(Kind.DOUBLED, "m2")]
    under_way = [sent(1), sent(2, seconds=5)]
    assert breaches(under_way, heard(1, 2, feed=[2, 2, 1]), Erasure(3.0, 3.1)) == []


def test_a_message_that_is_in_a_strangers_feed_is_found() -> None:
    assert breaches([sent(1, "user:bob")], heard(feed=[1])) == [(Kind.STRANGER, "m1")]


def test_a_message_that_nobody_knows_of_must_not_come_twice() -> None:
    assert breaches([sent(2, outcome=Outcome.UNKNOWN)], heard(2, 2)) == [(Kind.DOUBLED, "m2")]


class TestAReset:
    def test_excuses_what_is_missing_in_its_place_and_kept_in_the_feed(self) -> None:
        assert breaches(FIVE, heard(1, RESET, 4, 5, feed=[1, 2, 3, 4, 5])) == []

    def test_excuses_nothing_that_the_feed_has_not(self) -> None:
        assert breaches(FIVE, heard(1, RESET, 4, 5, feed=[1, 2, 4, 5])) == [(Kind.NOT_IN_FEED, "m3")]

    def test_after_a_gap_does_not_excuse_it(self) -> None:
        assert breaches(FIVE, heard(1, 3, RESET, 4, 5, feed=[1, 2, 3, 4, 5])) == [(Kind.GAP, "m2")]

    def test_before_a_gap_does_not_excuse_it(self) -> None:
        assert breaches(FIVE, heard(1, RESET, 2, 4, 5, feed=[1, 2, 3, 4, 5])) == [(Kind.GAP, "m3")]

    def test_at_the_end_excuses_the_last_messages(self) -> None:
        assert breaches(FIVE, heard(1, 2, RESET, feed=[3, 4, 5])) == []

    def test_does_not_excuse_a_repetition(self) -> None:
        assert breaches(FIVE, heard(1, 2, RESET, 2, 3, 4, 5)) == [(Kind.DOUBLED, "m2")]

    def test_does_not_excuse_an_inversion(self) -> None:
        assert breaches(FIVE, heard(1, 3, RESET, 2, 4, 5)) == [(Kind.INVERTED, "m2")]

    def test_of_a_store_that_was_erased_excuses_the_feed_too(self) -> None:
        assert breaches(FIVE, heard(1, RESET, 4, 5), Erasure(3.7, 3.8)) == []

    def test_of_a_store_that_was_erased_excuses_nothing_sent_later(self) -> None:
        assert breaches(FIVE, heard(1, RESET, 5), Erasure(3.7, 3.8)) == [(Kind.NOT_IN_FEED, "m4")]

    def test_long_before_an_erasure_does_not_excuse_what_that_took(self) -> None:
        early = heard(1, Reset(at=1.7), 4, 5)
        assert breaches(FIVE, early, Erasure(3.7, 3.8)) == [(Kind.NOT_IN_FEED, "m2"), (Kind.NOT_IN_FEED, "m3")]
        assert breaches(FIVE, heard(1, Reset(at=1.7), Reset(at=3.75), 4, 5), Erasure(3.7, 3.8)) == []


class TestAnErasure:
    def test_without_a_reset_is_a_loss(self) -> None:
        assert breaches(FIVE, heard(1, 4, 5), Erasure(3.7, 3.8)) == [(Kind.GAP, "m2"), (Kind.GAP, "m3")]

    def test_of_the_known_ids_lets_a_message_under_way_come_again_after_a_reset(self) -> None:
        under_way = [sent(1), sent(2, seconds=5)]
        assert breaches(under_way, heard(1, 2, Reset(at=3.05), 2), Erasure(3.0, 3.1)) == []
        assert breaches(under_way, heard(1, 2, Reset(at=2.9), 2), Erasure(3.0, 3.1)) == [(Kind.DOUBLED, "m2")]
        assert breaches(under_way, heard(1, 2, 2), Erasure(3.0, 3.1)) == [(Kind.DOUBLED, "m2")]

    def test_lets_no_message_come_again_that_was_known_before(self) -> None:
        assert breaches([sent(1)], heard(1, RESET, 1), Erasure(3.0, 3.1)) == [(Kind.DOUBLED, "m1")]

    def test_lets_offsets_begin_anew(self) -> None:
        anew = Publication("m7", (ALICE,), 7, 7.5, Outcome.ACKNOWLEDGED, {ALICE: 1})
        assert breaches([*FIVE, anew], heard(1, 2, 3, 4, 5, RESET, 7), Erasure(6.0, 6.1)) == []
        assert (Kind.INVERTED, "m7") in breaches([*FIVE, anew], heard(1, 2, 3, 4, 5, 7), Erasure(6.0, 6.1))


def test_a_message_for_somebody_else_is_found() -> None:
    assert breaches([sent(1, "user:bob")], heard(1)) == [(Kind.STRANGER, "m1")]
    assert breaches([], heard(1)) == [(Kind.STRANGER, "m1")]


def test_what_was_sent_before_the_subscriber_came_may_come_or_not() -> None:
    late = replace(heard(3, 4, 5), since=2.2)
    assert breaches(FIVE, late) == []
    assert breaches(FIVE, replace(heard(2, 3, 4, 5), since=2.2)) == []


def test_what_was_sent_after_the_subscriber_left_is_not_missed() -> None:
    assert breaches(FIVE, replace(heard(1, 2, 3), until=4.2)) == []
    assert breaches(FIVE, replace(heard(1, 2), until=4.2)) == [(Kind.LOST, "m3")]


def test_a_subscriber_that_was_turned_away_is_found() -> None:
    away = replace(heard(1, 2, 3, 4, 5), turned_away=("400 bad_cursor",))
    assert breaches(FIVE, away) == [(Kind.TURNED_AWAY, "400 bad_cursor")]


def test_a_subscriber_that_was_never_let_in_is_found() -> None:
    away = replace(heard(), since=math.inf, turned_away=("401 token_invalid",))
    assert breaches(FIVE, away) == [
        (Kind.TURNED_AWAY, "401 token_invalid"),
        (Kind.TURNED_AWAY, "no `ready` ever came"),
    ]


def test_a_message_to_several_users_is_checked_for_each() -> None:
    both = sent(1, ALICE, "user:bob")
    bob = replace(heard(logs=("user:bob",)), subscriber="bob's")
    verdict = check(Records((both,), (heard(1), bob)))
    assert [(breach.kind, breach.subscriber) for breach in verdict.breaches] == [(Kind.LOST, "bob's")]


def test_a_verdict_tells_its_counts_and_its_breaches() -> None:
    verdict = check(Records((*FIVE, sent(6, outcome=Outcome.REFUSED)), (heard(1, 2, RESET, feed=[3, 4]),)))
    assert not verdict.kept
    assert (verdict.acknowledged, verdict.refused, verdict.deliveries, verdict.resets) == (5, 1, 2, 1)
    assert verdict.untold == ()
    assert str(verdict).startswith("BROKEN 1 times: 5 messages acknowledged, 1 refused, 0 unknown; 1 subscribers")
    assert "tab 1: m5 not in the feed after a reset" in str(verdict)


def test_a_verdict_names_who_heard_no_reset() -> None:
    told, untold = heard(1, RESET, RESET), replace(heard(1), subscriber="tab 2")
    verdict = check(Records((sent(1),), (told, untold)))
    assert (verdict.resets, verdict.subscribers, verdict.untold) == (2, 2, ("tab 2",))
