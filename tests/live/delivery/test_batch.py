"""What readers take of several entries, and that it is byte for byte what each of them alone would be."""

from __future__ import annotations

import pytest

from app import metrics
from app.core.insight.figures import bucket_of
from app.core.log.cursor import Position, replace
from app.core.wire import frames
from app.live.delivery.batch import PLANS_MAX, Batch, Heard
from app.live.streams.subscriber import OpenLog, Subscriber
from tests.live.delivery.test_fan_out import Nobody, Recorded, claims

NOW = 1_800_000_000.0
TIME = '"time":"2027-01-15T07:59:59.500Z"'
TYPING = (Position("e", 0), b'typing {"id":"t",%b}' % TIME.encode())
FIGURES = (Position("e", 0), b'belfry.figures {"id":"f",%b}' % TIME.encode())


@pytest.fixture
def everyone() -> OpenLog:
    return OpenLog("everyone")


def reader(open_log: OpenLog, own: int = 7, offset: int = 0) -> Subscriber:
    """It stands at `own` of its user's log, and at `offset` of the one that everybody reads."""
    logs, vector = (OpenLog("user:alice"), open_log), (Position("a", own), Position("v", offset))
    return Subscriber(Nobody(), claims(), logs, vector, Recorded())


def said(*offsets: int) -> list[Heard]:
    return [(Position("v", n), b'message {"id":"m%d",%b}' % (n, TIME.encode())) for n in offsets]


def alone(one: Subscriber, heard: list[Heard]) -> bytes:
    """What it gets when each entry is a batch of its own."""
    data = b""
    for entry in heard:
        frame, one.vector, _ = Batch(one.logs[1], [entry]).plan(one)
        data += frame
    return data


def test_a_piece_is_what_its_entries_are_one_by_one(everyone: OpenLog) -> None:
    heard = [*said(1), TYPING, *said(2, 2, 3)]
    frame, after, _ = Batch(everyone, heard).plan(reader(everyone))
    one = reader(everyone)
    assert frame == alone(one, heard)
    assert after == one.vector
    assert frame.count(b"\nid: ") + frame.startswith(b"id: ") == 3, "what is not kept has none"


def test_one_entry_is_the_frame_of_its_place(everyone: OpenLog) -> None:
    who, ((live, record),) = reader(everyone), said(1)
    frame, after, _ = Batch(everyone, [(live, record)]).plan(who)
    assert after == replace(who.vector, live, 1)
    assert frame == frames.message(after, record)


def test_who_has_read_it_takes_nothing_and_keeps_its_very_vector(everyone: OpenLog) -> None:
    for heard in (said(1), said(1, 2)):
        who = reader(everyone, offset=2)
        frame, after, share = Batch(everyone, heard).plan(who)
        assert (frame, share.rest.gap) == (b"", False)
        assert after is who.vector


def test_readers_in_one_place_get_the_same_bytes_and_others_what_they_lack(everyone: OpenLog) -> None:
    batch, readers = Batch(everyone, said(1, 2)), [reader(everyone), reader(everyone), reader(everyone, offset=1)]
    first, second, third = [batch.plan(each) for each in readers]
    assert first[0] is second[0]
    assert third[0] == alone(readers[2], said(2))


def test_a_reader_of_unnamed_messages_gets_its_own_frame_and_counts(everyone: OpenLog) -> None:
    order = (Position("v", 1), b'order {"id":"m1",%b,"event":"order"}' % TIME.encode())
    others, unnamed = reader(everyone), reader(everyone)
    unnamed.unnamed = True
    for heard in ([order], [order, *said(2), TYPING]):
        batch = Batch(everyone, heard)
        named_frame, _, share = batch.plan(others)
        frame, after, own_share = batch.plan(unnamed)
        assert (b"event: order\n" in named_frame, b"event:" in frame) == (True, False)
        assert after == replace(unnamed.vector, heard[-1][0] if len(heard) == 1 else Position("v", 2), 1)
        assert own_share is share
        share.readers = 5
        before = metrics.TALLY.deliveries
        batch.count(lambda: NOW)
        assert metrics.TALLY.deliveries - before == 5 * len(heard)


def test_where_no_message_has_a_type_all_readers_take_the_same_bytes(everyone: OpenLog) -> None:
    others, unnamed = reader(everyone), reader(everyone)
    unnamed.unnamed = True
    batch = Batch(everyone, said(1, 2))
    assert batch.plan(others) is batch.plan(unnamed)


def test_many_places_take_the_room_of_a_few(everyone: OpenLog) -> None:
    batch = Batch(everyone, said(1, 2))
    for own in range(3 * PLANS_MAX):
        frame, _, _ = batch.plan(reader(everyone, own))
        assert b"id: a.%d-v.2\n" % own in frame
    assert len(batch._plans) <= PLANS_MAX


def test_each_message_counts_as_often_as_it_was_taken_and_a_dashboards_point_never(everyone: OpenLog) -> None:
    metrics.TALLY.take()
    batch = Batch(everyone, [*said(1, 2), TYPING, FIGURES])
    for offset, readers in ((0, 2), (1, 3), (2, 1)):
        batch.plan(reader(everyone, offset=offset))[2].readers += readers
    batch.count(lambda: NOW)
    assert metrics.TALLY.take() == {"deliveries": 2 + (2 + 3) + (2 + 3 + 1), f"l{bucket_of(0.5)}": 3}
