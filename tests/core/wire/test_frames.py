"""What Belfry writes is what the standard's parser reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.log.cursor import Position, replace
from app.core.wire import frames
from app.core.wire.frames import FeedCounts, Goodbye
from app.core.wire.sse import Decoder, Event

VECTOR = (Position("k3f9q2", 42), Position("b71x0a", 7))


def decoded(data: bytes) -> Event:
    (event,) = Decoder().feed(data)
    return event


def test_a_message_has_its_place_as_id_and_its_json_as_data() -> None:
    event = decoded(frames.message(VECTOR, b'message {"id":"m1","title":"Hi there"}'))
    assert (event.event, event.id, event.data) == ("message", "k3f9q2.42-b71x0a.7", '{"id":"m1","title":"Hi there"}')


def test_many_messages_of_one_log_are_written_as_each_by_itself() -> None:
    vector = (*VECTOR, Position("zz9Q01", 1))
    for at in range(3):
        place = frames.LogFramer(vector, at, "n3w3p0")
        after = replace(vector, Position("n3w3p0", 43), at)
        for record in (b'message {"id":"m1"}', b"order {}"):
            assert place.message(43, record) == frames.message(after, record)
    assert frames.LogFramer(VECTOR[:1], 0, "a").message(1, b"message {}") == b"id: a.1\ndata: {}\n\n"


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_safe_in_a_stream_and_means_the_same(value: object) -> None:
    """Neither markup for a page that inserts it as HTML, nor a line end for a reader that is built on `splitlines`."""
    raw = json.dumps(value, ensure_ascii=False).encode()
    safe = frames.stream_safe(raw)
    assert json.loads(safe) == value
    assert not set(b"<>&") & set(safe)
    assert len(safe.decode().splitlines()) == 1
    assert frames.stream_safe(safe) == safe


@pytest.mark.parametrize("character", ["<", ">", "&", "\x85", "\u2028", "\u2029"])
def test_each_character_that_readers_misread_is_escaped(character: str) -> None:
    text = f"a{character}b"
    assert frames.compact({text: text}) == json.dumps({text: text}, separators=(",", ":")).replace(
        character, f"\\u{ord(character):04x}"
    )
    assert character.encode() not in frames.ready(VECTOR, 1, text, FeedCounts(0, 0), 0, "c")
    assert frames.compact("\u00e9\u2027\u202a\xa0") == '"\u00e9\u2027\u202a\xa0"', "its neighbours stay as they are"


def test_a_message_of_another_type_says_so() -> None:
    assert decoded(frames.message(VECTOR, b"order.shipped {}")).event == "order.shipped"


def test_the_default_type_is_not_written() -> None:
    assert b"event:" not in frames.message(VECTOR, b"message {}")


@pytest.mark.parametrize("event", ["order.shipped", "belfry", "belfryx.figures", "toString", "ready-2", "Heartbeat"])
def test_a_reader_of_unnamed_messages_gets_every_type_as_message(event: str) -> None:
    data = f'{{"id":"m1","event":"{event}","body":"event: x"}}'
    heard = decoded(frames.message(VECTOR, frames.unnamed(f"{event} {data}".encode())))
    assert (heard.event, heard.data) == ("message", data)


@pytest.mark.parametrize("event", ["message", *sorted(frames.RESERVED_EVENTS)])
def test_belfrys_own_types_keep_their_names_for_such_a_reader(event: str) -> None:
    assert decoded(frames.message(VECTOR, frames.unnamed(f"{event} {{}}".encode()))).event == event


def test_a_live_only_message_leaves_the_clients_cursor_alone() -> None:
    decoder = Decoder()
    decoder.feed(frames.message(VECTOR, b"message {}"))
    (event,) = decoder.feed(frames.live_only(b'typing {"who":"bob"}'))
    assert (event.event, event.id) == ("typing", "k3f9q2.42-b71x0a.7")
    assert b"id:" not in frames.live_only(b"typing {}")


def test_ready_tells_delay_place_and_state() -> None:
    event = decoded(frames.ready(VECTOR, 2_500, "álice", FeedCounts(3, 9), 2, "0badcafe"))
    assert (event.event, event.id, event.retry) == ("ready", "k3f9q2.42-b71x0a.7", 2_500)
    assert json.loads(event.data) == {
        "user": "álice",
        "unread": 3,
        "revision": 9,
        "connection": "0badcafe",
        "behind": 2,
    }


def test_a_change_is_told_with_the_readers_counts() -> None:
    event = decoded(frames.changed(b'read {"ids":["a"],"read":true}', FeedCounts(3, 9)))
    assert (event.event, event.id) == ("read", "")
    assert json.loads(event.data) == {"ids": ["a"], "read": True, "unread": 3, "revision": 9}
    assert json.loads(decoded(frames.changed(frames.UPDATED, FeedCounts(0, 1))).data) == {"unread": 0, "revision": 1}


def test_a_heartbeat_has_data_so_that_pages_see_it_and_no_id() -> None:
    assert decoded(frames.HEARTBEAT).event == "heartbeat"
    assert decoded(frames.HEARTBEAT).data
    assert b"id:" not in frames.HEARTBEAT


def test_a_reset_moves_the_clients_cursor() -> None:
    assert (decoded(frames.reset(VECTOR)).event, decoded(frames.reset(VECTOR)).id) == ("reset", "k3f9q2.42-b71x0a.7")


def test_a_goodbye_gives_its_reason_and_a_delay() -> None:
    event = decoded(frames.goodbye(Goodbye.SHUTDOWN, 1_234))
    assert (event.event, json.loads(event.data), event.retry) == ("goodbye", {"reason": "shutdown"}, 1_234)


def test_every_type_of_belfry_is_reserved() -> None:
    written = [frames.ready(VECTOR, 1, "u", FeedCounts(0, 0), 0, ""), frames.HEARTBEAT, frames.reset(VECTOR)]
    written += [frames.goodbye(reason, 1) for reason in Goodbye]
    assert {decoded(frame).event for frame in written} <= frames.RESERVED_EVENTS
    assert {"open", "error"} <= frames.RESERVED_EVENTS


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_json_is_written_the_same_as_text_and_as_bytes(value: object) -> None:
    assert frames.stream_safe(frames.compact_bytes(value)) == frames.compact(value).encode()
