"""The wire, held to WHATWG HTML 9.2.5 and 9.2.6: its examples first, then its rules, then properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.wire.sse import Decoder, Event, encode


def decode(stream: bytes) -> list[Event]:
    return Decoder().feed(stream)


def message(data: str, last_id: str = "") -> Event:
    return Event("message", data, last_id)


def in_pieces(stream: bytes, size: int) -> list[Event]:
    decoder = Decoder()
    return [event for start in range(0, len(stream), size) for event in decoder.feed(stream[start : start + size])]


# Every example of sections 9.2.1 and 9.2.6, in their order.
EXAMPLES = {
    "messages of one and two lines": (
        b"data: First message.\n\ndata: Second message, it\ndata: has two lines.\n\ndata: Third message.\n\n",
        [
            message("First message."),
            message("Second message, it\nhas two lines."),
            message("Third message."),
        ],
    ),
    "named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [Event("add", "73857293", ""), Event("remove", "2153", ""), Event("add", "113411", "")],
    ),
    "stock ticker": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
    "comment, id, id reset, leading space": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [message("first event", "1"), message("second event"), message(" third event")],
    ),
    "empty data, a lone newline, an unfinished block": (
        b"data\n\ndata\ndata\n\ndata:",
        [message(""), message("\n")],
    ),
    "one optional space": (b"data:test\n\ndata: test\n\n", [message("test"), message("test")]),
}


@pytest.mark.parametrize(("stream", "events"), EXAMPLES.values(), ids=EXAMPLES)
class TestExamplesOfTheStandard:
    def test_whole(self, stream: bytes, events: list[Event]) -> None:
        assert decode(stream) == events

    def test_one_byte_at_a_time(self, stream: bytes, events: list[Event]) -> None:
        assert in_pieces(stream, 1) == events

    @pytest.mark.parametrize("end", [b"\r", b"\r\n"], ids=["CR", "CRLF"])
    @pytest.mark.parametrize("size", [1, 2, 3, 1_000])
    def test_with_the_other_line_ends(self, stream: bytes, events: list[Event], end: bytes, size: int) -> None:
        assert in_pieces(stream.replace(b"\n", end), size) == events


def test_line_ends_may_be_mixed() -> None:
    assert decode(b"data: a\rdata: b\ndata: c\r\ndata: d\n\r\n") == [message("a\nb\nc\nd")]


def test_a_cr_dispatches_at_once_and_takes_a_late_lf_with_it() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\r") == [message("a")]
    assert decoder.feed(b"\ndata: b\r\n") == []
    assert decoder.feed(b"\r\n") == [message("b")]


def test_an_incomplete_character_between_cr_and_lf_starts_a_line() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\xc3") == []
    assert decoder.feed(b"\xa4\n\n") == [message("a")]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_nothing_else_ends_a_line(separator: str) -> None:
    text = f"one{separator}data: two"
    assert decode(encode(text)) == [message(text)]


@pytest.mark.parametrize("size", [1, 2, 1_000])
def test_one_bom_at_the_very_start_is_dropped(size: int) -> None:
    assert in_pieces(b"\xef\xbb\xbfdata: a\n\n", size) == [message("a")]


def test_a_second_bom_belongs_to_the_field_name() -> None:
    assert decode(b"\xef\xbb\xbf\xef\xbb\xbfdata: lost\n\ndata: a\n\n") == [message("a")]


def test_a_bom_after_the_start_is_data() -> None:
    assert decode(b"data: \xef\xbb\xbfa\n\n") == [message("\ufeffa")]


@pytest.mark.parametrize("text", ["naïve", "日本語", "🔔🔕", "e\u0301", "\U0010ffff"])
def test_a_character_may_be_split_between_any_two_bytes(text: str) -> None:
    stream = encode(text)
    for cut in range(len(stream)):
        decoder = Decoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == [message(text)]


@pytest.mark.parametrize(
    ("invalid", "replaced"),
    [
        (b"\xff", "\ufffd"),
        (b"\xc3", "\ufffd"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xe2\x82", "\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
def test_bytes_that_are_not_utf8_become_replacement_characters(invalid: bytes, replaced: str, size: int) -> None:
    assert in_pieces(b"data: <" + invalid + b">\n\n", size) == [message(f"<{replaced}>")]


def test_a_block_without_data_dispatches_nothing_but_keeps_its_id() -> None:
    decoder = Decoder()
    assert decoder.feed(b"event: silent\nid: 7\n\n") == []
    assert decoder.last_event_id == "7"
    assert decoder.feed(b"data: a\n\n") == [message("a", "7")]


def test_the_id_stays_until_another_one_comes() -> None:
    assert decode(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n") == [
        message("a", "1"),
        message("b", "1"),
        message("c", "2"),
    ]


def test_an_id_counts_only_once_its_block_ended() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: cut o")
    assert decoder.last_event_id == "1"


def test_an_id_with_nul_is_ignored() -> None:
    assert decode(b"id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n") == [message("a", "1"), message("b", "1")]


@pytest.mark.parametrize("value", [b"0", b"2500", b"007"])
def test_retry_takes_digits(value: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(b"retry: " + value + b"\ndata: a\n\n") == [Event("message", "a", "", int(value))]
    assert decoder.reconnection_ms == int(value)


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "1e3", "1_000", " 10", "10 ", "x", "٣", "²", "9" * 5_000])
def test_retry_ignores_everything_else(value: str) -> None:
    decoder = Decoder()
    assert decoder.feed(f"retry: {value}\ndata: a\n\n".encode()) == [message("a")]
    assert decoder.reconnection_ms is None


def test_retry_takes_effect_without_data_and_stays() -> None:
    decoder = Decoder()
    assert decoder.feed(b"retry: 30000\n\n") == []
    assert decoder.feed(b"data: a\n\n") == [message("a")]
    assert decoder.reconnection_ms == 30_000


def test_the_event_type_holds_for_its_block_only() -> None:
    assert decode(b"event: add\n\ndata: a\n\n") == [message("a")]


def test_the_last_event_type_of_a_block_wins_and_an_empty_one_means_message() -> None:
    assert decode(b"event: a\nevent: b\ndata: 1\n\nevent: a\nevent\ndata: 2\n\n") == [Event("b", "1", ""), message("2")]


@pytest.mark.parametrize("line", [b":", b":data: no", b"Data: no", b" data: no", b"data : no", b"topic: no", b"dat"])
def test_comments_and_unknown_fields_are_ignored(line: bytes) -> None:
    assert decode(line + b"\ndata: a\n" + line + b"\n\n") == [message("a")]


def test_a_value_may_hold_colons() -> None:
    assert decode(b"data:a:b: c\n\n") == [message("a:b: c")]


def test_an_unfinished_block_is_never_dispatched() -> None:
    assert decode(b"data: a\n\ndata: b\n") == [message("a")]


def test_encode_writes_the_fields_in_one_order_and_ends_with_a_blank_line() -> None:
    encoded = encode("a\nb", event="note", id="k3.1", retry=2_000)
    assert encoded == b"retry: 2000\nevent: note\nid: k3.1\ndata: a\ndata: b\n\n"


def test_encode_leaves_out_what_is_not_given() -> None:
    assert encode("a") == b"data: a\n\n"


def test_encode_dispatches_an_event_for_empty_data() -> None:
    assert decode(encode("")) == [message("")]


def test_encode_can_reset_the_last_event_id() -> None:
    assert decode(encode("a", id="1") + encode("b", id="")) == [message("a", "1"), message("b")]


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_encode_refuses_an_event_or_id_that_could_write_fields_of_its_own(field: str, character: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be free of CR, LF and NUL"):
        encode("a", **{field: f"x{character}data: injected"})  # type: ignore[arg-type]  # one of two names


def test_encode_refuses_a_negative_retry() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        encode("a", retry=-1)


single_lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n: "))
events = st.tuples(texts, single_lines, st.none() | single_lines, st.none() | st.integers(0, 10**17))
line_noise = st.lists(
    st.sampled_from(
        [b"data", b"id", b"event", b"retry", b":", b" ", b"\r", b"\n", b"\r\n", b"\0", b"7", b"\xef\xbb\xbf"]
    )
    | st.binary(max_size=4)
).map(b"".join)


@given(st.lists(events))
def test_whatever_is_encoded_is_read_back(written: list[tuple[str, str, str | None, int | None]]) -> None:
    decoder, last_id = Decoder(), ""
    for data, event, event_id, retry in written:
        last_id = last_id if event_id is None else event_id
        expected = Event(event or "message", data.replace("\r\n", "\n").replace("\r", "\n"), last_id, retry)
        assert decoder.feed(encode(data, event=event, id=event_id, retry=retry)) == [expected]


@given(line_noise, st.lists(st.integers(1, 5), min_size=1))
def test_how_the_bytes_are_cut_makes_no_difference(stream: bytes, sizes: list[int]) -> None:
    decoder, pieces, start = Decoder(), [], 0
    while start < len(stream):
        size = sizes[start % len(sizes)]
        pieces += decoder.feed(stream[start : start + size])
        start += size
    whole = Decoder()
    assert pieces == whole.feed(stream)
    assert (decoder.last_event_id, decoder.reconnection_ms) == (whole.last_event_id, whole.reconnection_ms)
