"""A message can't exist invalid, and what is wrong with one is told by a code of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.message import ACTIONS_MAX, ERRORS_TOLD, TAGS_MAX, TTL_MAX_SECONDS, Message, parse, published_at
from app.core.wire.frames import RESERVED_EVENTS

NOW = 1_700_000_000.25


def read(body: bytes | dict[str, Any], new_id: str = "made") -> Message:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(text, now=NOW, new_id=new_id, max_recipients=3)


def refused(body: bytes | dict[str, Any]) -> BelfryError:
    with pytest.raises(BelfryError) as refusal:
        read(body)
    return refusal.value


def shown(message: Message) -> tuple[str, Any]:
    event, _, data = message.record.decode().partition(" ")
    return event, json.loads(data)


def test_a_record_is_the_event_and_one_line_of_json() -> None:
    message = read({"to": "alice", "id": "m1", "title": "Hi", "body": "two\nlines", "level": "info", "tags": ["a"]})
    assert shown(message) == (
        "message",
        {
            "id": "m1",
            "time": "2023-11-14T22:13:20.250Z",
            "title": "Hi",
            "body": "two\nlines",
            "level": "info",
            "tags": ["a"],
        },
    )
    assert b"\n" not in message.record
    assert (message.logs, message.own_id, message.expires_ms) == (("user:alice",), False, 0)


def test_a_record_is_safe_in_a_stream_and_its_digest_is_that_of_the_text_as_sent() -> None:
    """The digest is the one that versions without the escapes made: whoever retries across an update gets 200."""
    message = read({"to": "a", "id": "x", "title": "<b>R&D</b>\u2028"})
    assert message.record.endswith(rb'"title":"\u003cb\u003eR\u0026D\u003c/b\u003e\u2028"}')
    assert message.digest == b"3d95b796450e164c6c3fd7b6a990ddc9"


@pytest.mark.parametrize(
    ("target", "logs", "told"),
    [
        ({"to": "alice"}, ("user:alice",), {}),
        ({"to": ["alice", "bob", "alice"]}, ("user:alice", "user:bob"), {}),
        ({"topic": "news"}, ("topic:news",), {"topic": "news"}),
        ({"everyone": True}, ("everyone",), {"everyone": True}),
    ],
)
def test_a_target_becomes_logs_each_once_and_is_told_unless_it_is_the_reader(
    target: dict[str, Any], logs: tuple[str, ...], told: dict[str, Any]
) -> None:
    message = read(target)
    assert message.logs == logs
    assert {name: value for name, value in shown(message)[1].items() if name not in {"id", "time"}} == told


def test_a_message_without_an_id_gets_one_and_says_so() -> None:
    message = read({"to": "a"}, new_id="fresh")
    assert (message.id, message.own_id) == ("fresh", True)


def test_a_record_tells_when_it_was_published() -> None:
    forged = '"time":"2001-01-01T00:00:00.000Z"'
    for message in (read({"to": "alice", "title": forged}), read({"to": "alice", "event": "time", "body": forged})):
        assert published_at(message.record) == NOW
    assert published_at(b"message [DONE]") is None


def test_a_ttl_becomes_the_time_of_expiry() -> None:
    assert read({"to": "a", "ttl": 10}).expires_ms == 1_700_000_010_250


CONTENT = {"to": "a", "id": "x", "title": "t", "data": {"a": 1, "b": [1, 2]}}


@pytest.mark.parametrize(
    "same",
    [CONTENT, {**CONTENT, "data": {"b": [1, 2], "a": 1}}, dict(reversed(CONTENT.items())), {**CONTENT, "to": "b"}],
)
def test_the_same_content_has_the_same_digest_however_it_is_written(same: dict[str, Any]) -> None:
    assert read(same).digest == read(CONTENT).digest


@pytest.mark.parametrize(
    "other",
    [
        {**CONTENT, "title": "u"},
        {**CONTENT, "data": {"a": 1, "b": [2, 1]}},
        {**CONTENT, "ttl": 5},
        {**CONTENT, "transient": True},
        {**CONTENT, "event": "e"},
        {**CONTENT, "key": "k"},
    ],
)
def test_other_content_has_another_digest(other: dict[str, Any]) -> None:
    assert read(other).digest != read(CONTENT).digest


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"to":"a","data":NaN}', "malformed_json"),
        (b'{"to":"a","data":-Infinity}', "malformed_json"),
        (b'{"to":"a","data":[1e999]}', "malformed_json"),
        (b'{"to":"a","title":"\\ud800"}', "malformed_json"),
        (b"[]", "invalid_message"),
        (b'"text"', "invalid_message"),
        ({}, "missing_target"),
        ({"title": "x"}, "missing_target"),
        ({"to": "a", "topic": "b"}, "ambiguous_target"),
        ({"to": "a", "everyone": True}, "ambiguous_target"),
        ({"everyone": False}, "invalid_message"),
        ({"to": []}, "empty_recipients"),
        ({"to": ["a", "b", "c", "d"]}, "too_many_recipients"),
        ({"to": ""}, "bad_user_id"),
        ({"to": "a b"}, "bad_user_id"),
        ({"to": "a{b"}, "bad_user_id"),
        ({"to": "a\r\nb"}, "bad_user_id"),
        ({"to": "é" * 65}, "bad_user_id"),
        ({"to": ["a", 7]}, "bad_user_id"),
        ({"topic": "a\x00"}, "bad_topic"),
        ({"to": "a", "id": ""}, "bad_message_id"),
        ({"to": "a", "id": "x\r\nevent: goodbye"}, "bad_message_id"),
        ({"to": "a", "id": "x\x00"}, "bad_message_id"),
        ({"to": "a", "id": "x" * 129}, "bad_message_id"),
        ({"to": "a", "event": "x\ny"}, "bad_event"),
        ({"to": "a", "event": "x\ry"}, "bad_event"),
        ({"to": "a", "event": "x\x00"}, "bad_event"),
        ({"to": "a", "event": "two words"}, "bad_event"),
        ({"to": "a", "event": ""}, "bad_event"),
        ({"to": "a", "ttl": 0}, "bad_ttl"),
        ({"to": "a", "ttl": -1}, "bad_ttl"),
        ({"to": "a", "ttl": 1.5}, "bad_ttl"),
        ({"to": "a", "ttl": True}, "bad_ttl"),
        ({"to": "a", "ttl": TTL_MAX_SECONDS + 1}, "bad_ttl"),
        ({"to": "a", "url": "javascript:alert(1)"}, "bad_url"),
        ({"to": "a", "url": "//evil.example"}, "bad_url"),
        ({"to": "a", "url": "/\\evil.example"}, "bad_url"),
        ({"to": "a", "url": "https:///nowhere"}, "bad_url"),
        ({"to": "a", "url": "/a b"}, "bad_url"),
        ({"to": "a", "url": "/" + "a" * 2_048}, "bad_url"),
        ({"to": "a", "level": "fatal"}, "invalid_message"),
        ({"to": "a", "title": 7}, "invalid_message"),
        ({"to": "a", "key": "k k"}, "invalid_message"),
        ({"to": "a", "tags": ["x"] * (TAGS_MAX + 1)}, "invalid_message"),
        ({"to": "a", "tags": [""]}, "invalid_message"),
        ({"to": "a", "actions": [{"label": "x"}] * (ACTIONS_MAX + 1)}, "invalid_message"),
        ({"to": "a", "actions": [{"url": "/"}]}, "invalid_message"),
        ({"to": "a", "actions": [{"label": "x", "url": "data:text/html,x"}]}, "bad_url"),
        ({"to": "a", "colour": "red"}, "unknown_field"),
    ],
)
def test_bad_input_is_refused_by_its_own_code(body: bytes | dict[str, Any], code: str) -> None:
    assert refused(body).code == code


@pytest.mark.parametrize("event", sorted(RESERVED_EVENTS))
def test_a_reserved_event_is_refused(event: str) -> None:
    assert refused({"to": "a", "event": event}).code == "reserved_event"


@pytest.mark.parametrize("url", ["/", "/orders/17?a=b#c", "https://shop.example/x", "HTTP://shop.example"])
def test_a_path_or_web_address_is_a_url(url: str) -> None:
    assert shown(read({"to": "a", "url": url}))[1]["url"] == url


def test_a_refusal_names_every_field_that_is_wrong() -> None:
    refusal = refused({"to": "a", "ttl": -1, "level": "fatal"})
    assert {error["field"] for error in refusal.extra["errors"]} == {"ttl", "level"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


TITLES = st.just("") | st.tuples(st.text(), st.text()).map("x".join)  # a title of blanks alone is refused


@given(title=TITLES, data=JSON)
def test_whatever_is_said_comes_out_as_it_went_in(title: str, data: Any) -> None:
    body = json.dumps({"to": "a", "title": title, "data": data}).encode()
    message = shown(read(body))[1]
    assert message["title"] == title
    assert message.get("data") == data


class TestTheIdempotencyKey:
    def read(self, key: str, **fields: Any) -> Message:
        body = json.dumps({"to": "a", **fields}).encode()
        return parse(body, now=NOW, new_id="made", max_recipients=3, key=key)

    @pytest.mark.parametrize("key", ["order-1", '"order-1"'])
    def test_is_the_id_of_a_message_that_brings_none(self, key: str) -> None:
        message = self.read(key)
        assert (message.id, message.own_id) == ("order-1", False)
        assert self.read(key, id="order-1").id == "order-1"

    def test_must_not_differ_from_the_id(self) -> None:
        with pytest.raises(BelfryError, match="order-2") as refusal:
            self.read("order-1", id="order-2")
        assert (refusal.value.code, refusal.value.status) == ("ambiguous_id", 400)

    @pytest.mark.parametrize("key", ["a b", '""', "x" * 129, "ä"])
    def test_is_held_to_the_rules_of_an_id(self, key: str) -> None:
        with pytest.raises(BelfryError, match="Idempotency-Key") as refusal:
            self.read(key)
        assert refusal.value.code == "bad_message_id"


@pytest.mark.parametrize(
    ("to", "field", "told"),
    [
        (17, "to", "to: Expected a user id, which is a string, or a list of user ids."),
        ({"user": "a"}, "to", "to: Expected a user id, which is a string, or a list of user ids."),
        (["a", 17], "to.1", "to.1: Expected a user id, which is a string."),
    ],
)
def test_a_recipient_of_another_type_is_refused_in_plain_words(to: object, field: str, told: str) -> None:
    error = refused({"to": to})
    assert (error.code, error.detail) == ("bad_user_id", told)
    assert [each["field"] for each in error.extra["errors"]] == [field]


def test_recipients_and_topics_are_named_in_normal_form_c() -> None:
    assert read({"to": ["J\u00f6rg", "Jo\u0308rg"]}).logs == ("user:J\u00f6rg",)
    message = read({"topic": "cafe\u0301"})
    assert message.logs == ("topic:caf\u00e9",)
    assert shown(message)[1]["topic"] == "caf\u00e9"


def _large(beginning: str, item: str, end: str) -> bytes:
    """A message of 64 KB in which `item` is repeated; `%d` in it is its number."""
    items = ",".join([item.replace("%d", str(number)) for number in range(60_000 // (len(item) + 5))])
    return f"{beginning}{items}{end}".encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (_large('{"to":[', "1", "]}"), "to.0"),
        (_large("{", '"x%d":1', "}"), "x0"),
        (_large('{"to":"a","actions":[{"label":"l",', '"x%d":1', "}]}"), "actions.0.x0"),
        (_large('{"to":"a","tags":[', "1", "]}"), "tags"),
    ],
    ids=["recipients", "fields", "fields of an action", "tags"],
)
def test_the_refusal_of_a_message_with_thousands_of_faults_tells_a_few(body: bytes, field: str) -> None:
    seconds = []
    for _ in range(3):  # the collector of a long test run may fall into one of them
        started = time.thread_time()
        refusal = refused(body)
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.05
    told = refusal.extra["errors"]
    assert told[0]["field"] == field
    assert len(told) <= ERRORS_TOLD
    assert len(json.dumps(refusal.problem())) < 4_096


@pytest.mark.parametrize("blank", [" ", "\t\n", "\u00a0", "\u200b", "\u3000", "\u2800", "\u00ad\u2060", "\ufeff"])
@pytest.mark.parametrize(
    "fields", [lambda text: {"title": text}, lambda text: {"tags": [text]}, lambda text: {"actions": [{"label": text}]}]
)
def test_a_text_that_nobody_can_see_is_refused(blank: str, fields: Callable[[str], dict[str, Any]]) -> None:
    refusal = refused({"to": "alice", **fields(blank)})
    assert refusal.code == "invalid_message"
    assert "must have a character that can be seen" in refusal.detail
    assert read({"to": "alice", **fields(f"{blank}x{blank}")})
