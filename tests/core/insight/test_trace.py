"""A message's way to a user follows from where the user's connections began, ended and are now."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.insight.trace import Sent, steps
from app.core.log.catch_up import Page
from app.core.log.cursor import Position

LOG = "user:alice"
PAGE = Page("abc", 9, 1, 9, None, ())
SENT = Sent("m1", LOG, 5, PAGE, "10:00")


def event(time: str, what: str, offset: int | None = None, connection: str = "c1", **more: Any) -> dict[str, Any]:
    places = {} if offset is None else {LOG: f"abc.{offset}", "everyone": "xyz.1"}
    return {"time": time, "what": what, "connection": connection, "places": places, **more}


def present(told: str, offset: int, since: str = "09:00", connection: str = "c1") -> dict[str, Any]:
    return {"id": connection, "since": since, "told": told, "places": {LOG: f"abc.{offset}"}}


def told(*events: dict[str, Any], connections: tuple[dict[str, Any], ...] = (), sent: Sent = SENT) -> list[str]:
    return [f"{step['time']} {step['what']}" for step in steps(sent, events, connections)]


def test_what_was_published_while_a_connection_was_open_was_sent_then() -> None:
    events = event("09:00", "connected", 3), event("11:00", "closed", 7)
    assert told(*events) == ["10:00 published", "10:00 sent"]
    (_, sent) = steps(SENT, events, ())
    assert (sent["connection"], sent["until"], sent["caught_up"]) == ("c1", "11:00", False)


def test_what_was_published_before_was_sent_when_the_connection_began() -> None:
    events = event("10:30", "resumed", 4), event("11:00", "closed", 5)
    assert told(*events) == ["10:00 published", "10:30 sent"]
    assert steps(SENT, events, ())[1]["caught_up"]


def test_a_connection_that_ended_before_it_was_sent_is_told() -> None:
    assert told(event("09:00", "connected", 3), event("10:01", "closed", 4)) == [
        "10:00 published",
        "10:01 ended_before",
    ]


def test_a_push_tells_how_many_devices_it_went_to() -> None:
    pushed = event("10:02", "pushed", ids=["m1"], devices=2)
    of_another = event("10:03", "pushed", ids=["m2"], devices=1)
    assert steps(SENT, (pushed, of_another), ())[1:] == [{"time": "10:02", "what": "pushed", "devices": 2}]


def test_what_ended_before_the_message_was_published_is_not() -> None:
    assert told(event("09:00", "connected", 3), event("09:59", "closed", 4)) == ["10:00 published"]


def test_an_open_connection_tells_where_it_stands() -> None:
    begun = event("09:00", "connected", 3)
    assert told(begun, connections=(present("10:02", 5),)) == ["10:00 published", "10:00 sent"]
    assert told(begun, connections=(present("10:02", 4),)) == ["10:00 published", "10:02 not_yet"]
    assert told(connections=(present("10:02", 5),)) == ["10:00 published", "10:00 sent"], "its beginning is forgotten"


def test_a_later_connection_whose_beginning_is_not_known_is_not_said_to_have_been_sent_it() -> None:
    """Where it stands is told within a second, and so is how it began: one of them comes first."""
    later = present("10:31", 9, since="10:30")
    assert told(connections=(later,)) == ["10:00 published"]
    assert told(event("10:30", "resumed", 9), connections=(later,)) == ["10:00 published", "10:30 acknowledged"]


def test_a_closed_connection_is_not_taken_for_an_open_one() -> None:
    events = event("09:00", "connected", 3), event("10:01", "closed", 4)
    assert told(*events, connections=(present("10:00", 3),)) == ["10:00 published", "10:01 ended_before"]


def test_a_client_that_comes_back_with_a_later_cursor_has_it() -> None:
    events = event("10:30", "resumed", 5), event("10:40", "resumed", 9, "c2")
    assert told(*events) == ["10:00 published", "10:30 acknowledged"]


def test_a_client_without_a_cursor_begins_after_it() -> None:
    assert told(event("10:30", "connected", 5)) == ["10:00 published", "10:30 began_after"]


def test_who_has_it_already_does_not_begin_after_it() -> None:
    events = event("10:30", "resumed", 5), event("10:40", "connected", 9, "c2")
    assert told(*events) == ["10:00 published", "10:30 acknowledged"]
    assert told(
        event("10:30", "connected", 5), event("10:40", "connected", 9, "c2"), event("10:50", "resumed", 9, "c3")
    ) == [
        "10:00 published",
        "10:30 began_after",
        "10:50 acknowledged",
    ]


def test_a_history_that_was_lost_is_told() -> None:
    events = event("09:00", "connected", 3, lost=True), event("10:30", "resumed", 5, "c2", lost=True)
    assert told(*events, event("10:50", "reset", 9)) == [
        "10:00 published",
        "10:30 acknowledged",
        "10:30 reset",
        "10:50 reset",
    ]


@pytest.mark.parametrize("what", ["read", "unread", "archived", "unarchived", "removed", "retracted"])
def test_what_the_user_did_is_told(what: str) -> None:
    of_others = {"time": "10:05", "what": what, "ids": ["m2"]}
    earlier = {"time": "09:05", "what": what, "all": True}
    by_id = {"time": "10:06", "what": what, "ids": ["m1", "m2"]}
    of_all = {"time": "10:07", "what": what, "all": True}
    assert told(earlier, of_others, by_id, of_all) == ["10:00 published", f"10:06 {what}", f"10:07 {what}"]


def test_a_place_in_another_history_says_nothing() -> None:
    events = event("09:00", "connected", 3), event("11:00", "closed", 7)
    assert told(*events, sent=Sent("m1", LOG, 5, PAGE._replace(epoch="new"), "10:00")) == ["10:00 published"]
    assert told(*events, sent=Sent("m1", "topic:news", 5, PAGE, "10:00")) == ["10:00 published"]


def test_a_place_in_an_earlier_epoch_of_the_history_counts_as_far_as_that_is_valid() -> None:
    events = event("09:00", "connected", 3), event("11:00", "closed", 7)
    restarted = PAGE._replace(epoch="new", history="abc", former=(Position("abc", 7),))
    assert told(*events, sent=Sent("m1", LOG, 5, restarted, "10:00")) == ["10:00 published", "10:00 sent"]
    set_back = restarted._replace(former=(Position("abc", 6),))
    assert told(*events, sent=Sent("m1", LOG, 5, set_back, "10:00")) == ["10:00 published"]


def test_without_an_offset_only_changes_are_known() -> None:
    events = event("09:00", "connected", 3), {"time": "11:00", "what": "retracted", "ids": ["m1"]}
    assert told(*events, sent=Sent("m1", LOG, None, PAGE, "")) == ["11:00 retracted"]
