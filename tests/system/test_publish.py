"""`POST /publish`: every way to say who gets a message, and every way to get it wrong."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from app.store.keys import Keys, user_log
from tests.servers import Api, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

KIB = 1_024
MAX_BODY = 64 * KIB
MAX_BATCH = 16 * KIB * KIB
LINES_BETWEEN_CUTS = 1_000  # two round trips are under way, of 200 lines each
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def feed_titles(belfry: Belfry, user: str) -> list[str]:
    """Newest first."""
    return [message.get("title", "") for message in belfry.reader(user).feed()["messages"]]


def refusal(answer: requests.Response) -> tuple[int, str]:
    """Status and code of a refusal, which is a problem (RFC 9457) in every case."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() >= {"type", "title", "status", "detail", "code"}
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"]


class TestReceipts:
    def test_one_user(self, belfry: Belfry, alice: str) -> None:
        answer = belfry.publisher.publish({"to": alice, "title": "hello"})
        assert answer.status_code == 201
        receipt = answer.json()
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", receipt["id"])
        assert receipt["deliveries"] == [{"to": alice, "offset": 1, "duplicate": False, "online": False}]
        assert feed_titles(belfry, alice) == ["hello"]

    def test_every_user_of_a_list_in_its_order(self, belfry: Belfry, alice: str, bob: str) -> None:
        belfry.publish({"to": bob})
        receipt = belfry.publish({"to": [bob, alice], "title": "both"})
        assert [(d["to"], d["offset"]) for d in receipt["deliveries"]] == [(bob, 2), (alice, 1)]
        assert feed_titles(belfry, alice) == ["both"]
        assert feed_titles(belfry, bob)[0] == "both"

    def test_a_user_listed_twice_gets_it_once(self, belfry: Belfry, alice: str) -> None:
        receipt = belfry.publish({"to": [alice, alice], "title": "once"})
        assert [delivery["duplicate"] for delivery in receipt["deliveries"]] == [False]
        assert feed_titles(belfry, alice) == ["once"]

    def test_a_thousand_users(self, belfry: Belfry, alice: str) -> None:
        users = [f"{alice}-{number}" for number in range(1_000)]
        receipt = belfry.publish({"to": users, "title": "all"})
        assert [delivery["to"] for delivery in receipt["deliveries"]] == users
        assert feed_titles(belfry, users[-1]) == ["all"]

    def test_a_topic(self, belfry: Belfry, topic: str) -> None:
        (delivery,) = belfry.publish({"topic": topic, "title": "news"})["deliveries"]
        assert delivery["offset"] == 1
        assert topic in delivery["to"]

    def test_everyone(self, start_belfry: StartBelfry) -> None:
        belfry = start_belfry()
        (first,) = belfry.publish({"everyone": True, "title": "one"})["deliveries"]
        (second,) = belfry.publish({"everyone": True, "title": "two"})["deliveries"]
        assert second["offset"] == first["offset"] + 1

    def test_online_tells_whether_somebody_is_connected(self, belfry: Belfry, alice: str, bob: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            deliveries = belfry.publish({"to": [alice, bob]})["deliveries"]
        assert [delivery["online"] for delivery in deliveries] == [True, False]

    @pytest.mark.parametrize("user", ["ü-🔔", "a/b?c#d", "a:b", "%41", "a" * 128, "'\"\\<>"])
    def test_user_ids_are_any_printable_text(self, belfry: Belfry, user: str) -> None:
        name = user[: 128 - 9] + "-" + secrets.token_hex(4) if len(user) < 100 else user[:-8] + secrets.token_hex(4)
        with belfry.stream(name) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": name, "title": "hello"})
            assert stream.wait_for_messages(1)[0]["title"] == "hello"

    def test_every_field_comes_through(self, belfry: Belfry, alice: str) -> None:
        content: dict[str, Any] = {
            "title": "Build 7 failed",
            "body": "two\nlines",
            "url": "https://ci.example.com/7",
            "level": "error",
            "tags": ["ci", "main"],
            "actions": [{"label": "Open", "url": "/builds/7"}],
            "data": {"nested": [1, 2.5, None, True, {"": ""}]},
        }
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "id": f"{alice}:1", "key": "build", "ttl": 3_600, **content})
            (streamed,) = stream.wait_for_messages(1)
        (kept,) = belfry.reader(alice).feed()["messages"]
        for message in (streamed, kept):
            assert {name: message[name] for name in content} == content
            assert message["id"] == f"{alice}:1"
            assert message["time"].endswith("Z")


class TestTheSameIdAgain:
    def test_with_the_same_content_is_a_duplicate_and_sends_nothing(self, belfry: Belfry, alice: str) -> None:
        message = {"to": alice, "id": f"{alice}-1", "title": "once", "data": {"a": 1, "b": 2}}
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            first = belfry.publisher.publish(message)
            again = belfry.publisher.publish({**message, "data": {"b": 2, "a": 1}})
            belfry.publish({"to": alice, "title": "next"})
            stream.wait_for_messages(2)
            assert [message["title"] for message in stream.messages] == ["once", "next"]
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["deliveries"][0] | {"online": False} == {
            "to": alice,
            "offset": first.json()["deliveries"][0]["offset"],
            "duplicate": True,
            "online": False,
        }
        assert feed_titles(belfry, alice) == ["next", "once"]

    def test_may_be_given_as_an_idempotency_key(self, belfry: Belfry, alice: str) -> None:
        """Also over one connection, where a publisher that sends the same head again is answered in a shorter way."""
        message = {"to": alice, "title": "once"}
        keys = [f"{alice}-1", f"{alice}-1", f"{alice}-2", f"{alice}-2"]
        answers = [belfry.publisher.post("/publish", json=message, headers={"Idempotency-Key": key}) for key in keys]
        assert [answer.status_code for answer in answers] == [201, 200, 201, 200]
        assert [answer.json()["id"] for answer in answers] == keys
        differs = belfry.publisher.post(
            "/publish", json={**message, "id": "other"}, headers={"Idempotency-Key": keys[0]}
        )
        assert (differs.status_code, differs.json()["code"]) == (400, "ambiguous_id")
        assert feed_titles(belfry, alice) == ["once", "once"]

    def test_with_other_content_is_refused(self, belfry: Belfry, alice: str) -> None:
        belfry.publish({"to": alice, "id": f"{alice}-1", "title": "one"})
        answer = belfry.publisher.publish({"to": alice, "id": f"{alice}-1", "title": "other"})
        assert refusal(answer) == (409, "id_reused")
        assert feed_titles(belfry, alice) == ["one"]

    def test_with_other_content_to_a_list_it_is_refused_to_those_alone_who_had_it(
        self, belfry: Belfry, alice: str, bob: str
    ) -> None:
        belfry.publish({"to": alice, "id": f"{alice}-1", "title": "one"})
        answer = belfry.publisher.publish({"to": [alice, bob], "id": f"{alice}-1", "title": "other"})
        assert refusal(answer) == (409, "id_reused")
        assert [(told["to"], told["duplicate"]) for told in answer.json()["deliveries"]] == [(bob, False)]
        assert (feed_titles(belfry, alice), feed_titles(belfry, bob)) == (["one"], ["other"])

    def test_a_list_that_was_cut_short_can_be_sent_again(self, belfry: Belfry, alice: str, bob: str) -> None:
        message = {"id": f"{alice}-1", "title": "once"}
        belfry.publish({**message, "to": [alice]})
        answer = belfry.publisher.publish({**message, "to": [alice, bob]})
        assert answer.status_code == 201
        assert [delivery["duplicate"] for delivery in answer.json()["deliveries"]] == [True, False]
        assert feed_titles(belfry, alice) == feed_titles(belfry, bob) == ["once"]


class TestKeysAndTimeToLive:
    def test_a_later_message_with_the_same_key_takes_the_earlier_ones_place(self, belfry: Belfry, alice: str) -> None:
        for title, key in [("10 %", "upload"), ("other", "else"), ("50 %", "upload"), ("100 %", "upload")]:
            belfry.publish({"to": alice, "title": title, "key": key})
        assert feed_titles(belfry, alice) == ["100 %", "other"]

    def test_a_replaced_message_is_still_streamed_in_order(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            for title in ("10 %", "50 %"):
                belfry.publish({"to": alice, "title": title, "key": "upload"})
            assert [message["title"] for message in stream.wait_for_messages(2)] == ["10 %", "50 %"]

    def test_who_resumes_after_a_replacement_is_not_reset(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
        for title in ("10 %", "50 %", "100 %"):
            belfry.publish({"to": alice, "title": title, "key": "upload"})
        belfry.publish({"to": alice, "title": "after"})
        with belfry.stream(alice, cursor=stream.cursor) as stream:
            stream.wait_for(lambda event: "after" in event.data)
            assert "reset" not in {event.event for event in stream.events}
            assert [message["title"] for message in stream.messages][-2:] == ["100 %", "after"]

    def test_a_message_leaves_the_feed_when_its_time_is_over(self, belfry: Belfry, alice: str) -> None:
        belfry.publish({"to": alice, "title": "short-lived", "ttl": 1})
        belfry.publish({"to": alice, "title": "stays"})
        assert feed_titles(belfry, alice)[0] == "stays"
        wait_until(lambda: feed_titles(belfry, alice) == ["stays"])

    def test_an_expired_message_is_not_caught_up(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
        belfry.publish({"to": alice, "title": "short-lived", "ttl": 1})
        wait_until(lambda: feed_titles(belfry, alice) == [])
        belfry.publish({"to": alice, "title": "stays"})
        with belfry.stream(alice, cursor=stream.cursor) as stream:
            stream.wait_for_messages(1)
            assert [message["title"] for message in stream.messages] == ["stays"]
            assert "reset" not in {event.event for event in stream.events}


BAD_MESSAGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown field": ({"to": "a", "colour": "red"}, 422, "unknown_field"),
    "no target": ({"title": "x"}, 422, "missing_target"),
    "to and topic": ({"to": "a", "topic": "news"}, 422, "ambiguous_target"),
    "to and everyone": ({"to": "a", "everyone": True}, 422, "ambiguous_target"),
    "topic and everyone": ({"topic": "news", "everyone": True}, 422, "ambiguous_target"),
    "empty list": ({"to": []}, 422, "empty_recipients"),
    "1,001 recipients": ({"to": [f"u{n}" for n in range(1_001)]}, 422, "too_many_recipients"),
    "empty user id": ({"to": ""}, 422, "bad_user_id"),
    "user id with a space": ({"to": "a b"}, 422, "bad_user_id"),
    "user id with a no-break space": ({"to": "a\u00a0b"}, 422, "bad_user_id"),
    "user id with a newline": ({"to": "a\nb"}, 422, "bad_user_id"),
    "user id with NUL": ({"to": "a\0b"}, 422, "bad_user_id"),
    "user id with a brace": ({"to": "{a}"}, 422, "bad_user_id"),
    "user id of 129 bytes": ({"to": "ü" * 64 + "x"}, 422, "bad_user_id"),
    "user id with an invisible character": ({"to": "a\u200bb"}, 422, "bad_user_id"),
    "user id as a number": ({"to": 7}, 422, "bad_user_id"),
    "one bad user id in a list": ({"to": ["a", "b c"]}, 422, "bad_user_id"),
    "topic with a space": ({"topic": "a b"}, 422, "bad_topic"),
    "empty topic": ({"topic": ""}, 422, "bad_topic"),
    "empty id": ({"to": "a", "id": ""}, 422, "bad_message_id"),
    "id with CR": ({"to": "a", "id": "a\rb"}, 422, "bad_message_id"),
    "id with LF": ({"to": "a", "id": "ab\n"}, 422, "bad_message_id"),
    "id with NUL": ({"to": "a", "id": "a\0"}, 422, "bad_message_id"),
    "id of 129 characters": ({"to": "a", "id": "x" * 129}, 422, "bad_message_id"),
    "id with a letter outside ASCII": ({"to": "a", "id": "ä"}, 422, "bad_message_id"),
    "event with CR": ({"to": "a", "event": "a\rdata: x"}, 422, "bad_event"),
    "event with LF": ({"to": "a", "event": "a\n"}, 422, "bad_event"),
    "event with NUL": ({"to": "a", "event": "a\0"}, 422, "bad_event"),
    "empty event": ({"to": "a", "event": ""}, 422, "bad_event"),
    "ttl of 0": ({"to": "a", "ttl": 0}, 422, "bad_ttl"),
    "negative ttl": ({"to": "a", "ttl": -1}, 422, "bad_ttl"),
    "absurd ttl": ({"to": "a", "ttl": 10**15}, 422, "bad_ttl"),
    "ttl beyond 64 bits": ({"to": "a", "ttl": 10**30}, 422, "bad_ttl"),
    "ttl as text": ({"to": "a", "ttl": "60"}, 422, "bad_ttl"),
    "javascript url": ({"to": "a", "url": "javascript:alert(1)"}, 422, "bad_url"),
    "url of another host without a scheme": ({"to": "a", "url": "//evil.example"}, 422, "bad_url"),
    "url with a backslash": ({"to": "a", "url": "/\\evil.example"}, 422, "bad_url"),
    "data url": ({"to": "a", "url": "data:text/html,x"}, 422, "bad_url"),
    "unknown level": ({"to": "a", "level": "fatal"}, 422, "invalid_message"),
    "title as a number": ({"to": "a", "title": 7}, 422, "invalid_message"),
    "tags as text": ({"to": "a", "tags": "ci"}, 422, "invalid_message"),
    "everyone: false": ({"everyone": False}, 422, "invalid_message"),
}
for event in ("open", "error", "ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"):
    BAD_MESSAGES[f"reserved event {event}"] = ({"to": "a", "event": event}, 422, "reserved_event")

BAD_BODIES = {
    "nothing": (b"", 400, "malformed_json"),
    "half an object": (b'{"to": "a"', 400, "malformed_json"),
    "two objects": (b'{"to": "a"} {"to": "b"}', 400, "malformed_json"),
    "NaN": (b'{"to": "a", "data": NaN}', 400, "malformed_json"),
    "Infinity": (b'{"to": "a", "data": -Infinity}', 400, "malformed_json"),
    "bytes that are not UTF-8": (b'{"to": "a", "title": "\xff"}', 400, "malformed_json"),
    "half a surrogate pair": (b'{"to": "a", "title": "\\ud800"}', 400, "malformed_json"),
    "nesting without end": (b'{"to": "a", "data": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", 400, "malformed_json"),
    "a list": (b"[]", 422, "invalid_message"),
    "null": (b"null", 422, "invalid_message"),
    "a string": (b'"x"', 422, "invalid_message"),
}


class TestRefusals:
    @pytest.mark.parametrize(("message", "status", "code"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
    def test_a_bad_message_has_a_code_of_its_own(
        self, belfry: Belfry, message: dict[str, Any], status: int, code: str
    ) -> None:
        assert refusal(belfry.publisher.publish(message)) == (status, code)

    @pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES)
    def test_a_bad_body_has_a_code_of_its_own(self, belfry: Belfry, body: bytes, status: int, code: str) -> None:
        assert refusal(belfry.publisher.post("/publish", data=body, headers=JSON)) == (status, code)

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    )
    def test_another_content_type(self, belfry: Belfry, content_type: str) -> None:
        answer = belfry.publisher.post("/publish", data=b'{"to": "a"}', headers={"Content-Type": content_type})
        assert refusal(answer) == (415, "unsupported_media_type")

    def test_a_charset_after_the_content_type_is_fine(self, belfry: Belfry, alice: str) -> None:
        body = json.dumps({"to": alice}).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        assert belfry.publisher.post("/publish", data=body, headers=headers).status_code == 201

    def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(self, belfry: Belfry, alice: str) -> None:
        body = json.dumps({"to": alice, "body": ""}).encode()
        full = body.replace(b'""', b'"' + b"x" * (MAX_BODY - len(body)) + b'"')
        assert len(full) == MAX_BODY
        assert belfry.publisher.post("/publish", data=full, headers=JSON).status_code == 201
        assert refusal(belfry.publisher.post("/publish", data=full + b" ", headers=JSON)) == (413, "body_too_large")

    def test_a_body_without_a_length_is_bounded_too(self, belfry: Belfry) -> None:
        chunks = iter([b'{"to": "a", "body": "', b"x" * MAX_BODY, b'"}'])
        answer = belfry.publisher.post("/publish", data=chunks, headers=JSON)
        assert refusal(answer) == (413, "body_too_large")

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_another_method(self, belfry: Belfry, method: str) -> None:
        answer = belfry.publisher.request(method, "/publish")
        assert refusal(answer) == (405, "method_not_allowed")
        assert "POST" in answer.headers["Allow"]

    def test_options_names_the_methods(self, belfry: Belfry) -> None:
        assert "POST" in belfry.api().options("/publish").headers["Allow"]

    def test_an_unknown_path(self, belfry: Belfry) -> None:
        assert refusal(belfry.publisher.post("/publisch")) == (404, "not_found")


class TestCredentials:
    def publish_with(self, belfry: Belfry, token: str) -> tuple[int, str]:
        return refusal(belfry.api(token).publish({"to": "a"}))

    def test_none(self, belfry: Belfry) -> None:
        answer = belfry.api().publish({"to": "a"})
        assert refusal(answer) == (401, "token_missing")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo5OTk5OTk5OTk5fQ."])
    def test_a_forged_one(self, belfry: Belfry, token: str) -> None:
        assert self.publish_with(belfry, token) == (401, "token_invalid")

    def test_one_with_a_changed_signature(self, belfry: Belfry) -> None:
        head, payload, signature = belfry.token("a", "publish").split(".")
        forged = f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        assert self.publish_with(belfry, forged) == (401, "token_invalid")

    def test_an_expired_one(self, belfry: Belfry) -> None:
        assert self.publish_with(belfry, belfry.token("a", "publish", seconds=-1)) == (401, "token_expired")

    def test_the_wrong_scope(self, belfry: Belfry) -> None:
        assert self.publish_with(belfry, belfry.token("a", "feed", "complete")) == (403, "scope_missing")

    @pytest.mark.parametrize("message", [{"to": "bob"}, {"to": ["team-1", "bob"]}, {"topic": "x"}, {"everyone": True}])
    def test_a_recipient_that_is_not_granted(self, belfry: Belfry, message: dict[str, Any]) -> None:
        token = belfry.token("bot", "publish", to=["team-*", "user:alice", "topic:news"])
        assert refusal(belfry.api(token).publish(message)) == (403, "target_forbidden")

    @pytest.mark.parametrize("message", [{"to": ["team-1", "alice"]}, {"topic": "news"}])
    def test_a_recipient_that_is_granted(self, belfry: Belfry, message: dict[str, Any]) -> None:
        token = belfry.token("bot", "publish", to=["team-*", "user:alice", "topic:news"])
        assert belfry.api(token).publish(message).status_code == 201


class TestBatches:
    def test_every_line_gets_its_result_in_order_and_a_bad_one_costs_only_itself(
        self, belfry: Belfry, alice: str
    ) -> None:
        good = [json.dumps({"to": alice, "title": str(number), "id": f"{alice}-{number}"}) for number in range(3)]
        results = belfry.publisher.publish_lines(
            [
                good[0],
                "{",
                good[1],
                json.dumps({"to": alice, "colour": "red"}),
                json.dumps({"to": alice, "title": "x" * MAX_BODY}),
                json.dumps({"to": alice, "title": "other", "id": f"{alice}-0"}),
                good[0],
                good[2],
            ]
        )
        codes = [result.get("code") for result in results]
        assert codes == [None, "malformed_json", None, "unknown_field", "line_too_large", "id_reused", None, None]
        assert [result["deliveries"][0]["offset"] for result in results if "code" not in result] == [1, 2, 1, 3]
        assert results[6]["deliveries"][0]["duplicate"] is True
        assert feed_titles(belfry, alice) == ["2", "1", "0"]

    def test_a_line_may_address_many(self, belfry: Belfry, alice: str, bob: str) -> None:
        (result,) = belfry.publisher.publish_lines([json.dumps({"to": [alice, bob], "title": "both"})])
        assert [delivery["to"] for delivery in result["deliveries"]] == [alice, bob]

    def test_the_last_line_may_end_with_a_line_end_and_crlf_is_fine(self, belfry: Belfry, alice: str) -> None:
        line = json.dumps({"to": alice}).encode()
        answer = belfry.publisher.post("/publish", data=line + b"\r\n" + line + b"\n", headers=NDJSON)
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        assert len(answer.content.strip().split(b"\n")) == 2

    def test_a_batch_with_an_idempotency_key_can_be_repeated(self, belfry: Belfry, alice: str) -> None:
        """Each line without an id gets one of its own. A line's own id stays."""
        body = b"".join(
            [
                json.dumps({"to": alice, "title": "one"}).encode() + b"\n\n",
                json.dumps({"to": alice, "title": "two", "id": f"{alice}-own"}).encode() + b"\n",
                json.dumps({"to": alice, "title": "three"}).encode(),
            ]
        )
        headers = {**NDJSON, "Idempotency-Key": f'"{alice}"'}
        for status in (201, 200):
            answer = belfry.publisher.post("/publish", data=body, headers=headers)
            results = [json.loads(line) for line in answer.content.splitlines()]
            assert [result["status"] for result in results] == [status] * 3
            assert [result["id"] for result in results] == [f"{alice}.1", f"{alice}-own", f"{alice}.3"]
        assert feed_titles(belfry, alice) == ["three", "two", "one"]

    @pytest.mark.parametrize("key", ["a b", "x" * 125])
    def test_a_batch_with_a_bad_idempotency_key_is_refused_as_a_whole(
        self, belfry: Belfry, alice: str, key: str
    ) -> None:
        line = json.dumps({"to": alice, "title": "one"}).encode()
        answer = belfry.publisher.post("/publish", data=line, headers={**NDJSON, "Idempotency-Key": key})
        assert refusal(answer) == (422, "bad_message_id")
        assert feed_titles(belfry, alice) == []

    def test_an_empty_batch_has_no_results(self, belfry: Belfry) -> None:
        answer = belfry.publisher.post("/publish", data=b"", headers=NDJSON)
        assert (answer.status_code, answer.content.strip()) == (200, b"")

    def test_a_line_with_a_recipient_that_is_not_granted_costs_only_itself(self, belfry: Belfry, alice: str) -> None:
        publisher = belfry.api(belfry.token("bot", "publish", to=[alice]))
        results = publisher.publish_lines([json.dumps({"to": "someone"}), json.dumps({"to": alice})])
        assert results[0]["code"] == "target_forbidden"
        assert results[1]["deliveries"][0]["to"] == alice

    def test_ten_thousand_lines_arrive_in_order(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_HISTORY_LENGTH="20000")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            results = belfry.publish_all([{"to": alice, "data": number} for number in range(10_000)])
            assert [result["deliveries"][0]["offset"] for result in results] == list(range(1, 10_001))
            assert [message["data"] for message in stream.wait_for_messages(10_000, 60)] == list(range(10_000))

    def test_lines_keep_their_order_while_the_connections_to_redis_are_cut(
        self, start_belfry: StartBelfry, redis_server: RedisServer, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_HISTORY_LENGTH="20000")
        lines = [json.dumps({"to": alice, "id": f"{alice}-{number}"}) for number in range(4_000)]
        with cutting(redis_server, belfry, alice) as cuts:
            results = belfry.publisher.publish_lines(lines)
        assert cuts
        offsets = [result["deliveries"][0]["offset"] for result in results if "code" not in result]
        assert offsets == sorted(offsets)
        assert len(offsets) > len(lines) / 2
        assert {result["code"] for result in results if "code" in result} <= {"store_unavailable"}
        again = belfry.publish_all([json.loads(line) for line in lines])
        assert len({result["deliveries"][0]["offset"] for result in again}) == len(lines), "nothing lost or doubled"

    def test_a_batch_beyond_16_mib_is_refused(self, belfry: Belfry) -> None:
        line = json.dumps({"to": "a", "body": "x" * 60_000}).encode() + b"\n"
        answer = post_all_at_once(belfry.publisher, line * (MAX_BATCH // len(line) + 1))
        assert refusal(answer) == (413, "body_too_large")


@contextmanager
def cutting(server: RedisServer, belfry: Belfry, user: str) -> Iterator[list[int]]:
    """Close every connection to Redis whenever the user has so many more messages; answers how many there were.

    A slow machine writes fewer in a given time. So it is cut as often as a quick one.
    """
    done, cuts = threading.Event(), list[int]()
    log = Keys(belfry.settings_environment["BELFRY_REDIS_PREFIX"]).log(user_log(user))

    def cut() -> None:
        with server.client() as client:
            while not done.wait(0.001):
                written = client.xlen(log)
                if written >= (cuts[-1] if cuts else 0) + LINES_BETWEEN_CUTS:
                    client.client_kill_filter(_type="normal", skipme=True)
                    cuts.append(written)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        yield cuts
    finally:
        done.set()
        cutter.join()


def post_all_at_once(api: Api, body: bytes) -> requests.Response:
    """The server may answer before it read everything, which a client sees as a broken connection at worst."""
    assert len(body) > MAX_BATCH
    return api.post("/publish", data=body, headers=NDJSON)


def test_without_a_key_web_push_is_off_and_a_message_for_it_is_refused(belfry: Belfry, alice: str) -> None:
    with belfry.reader(alice) as api:
        for method, path in (("GET", "/push/key"), ("POST", "/push/subscriptions"), ("DELETE", "/push/subscriptions")):
            answer = api.request(method, path, json={})
            assert (answer.status_code, answer.json()["code"]) == (404, "push_off")
            assert "BELFRY_PUSH_PRIVATE_KEY" in answer.json()["detail"]
    answer = belfry.publisher.publish({"to": alice, "push": True})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_push")
    assert belfry.publisher.publish({"to": alice, "push": False}).status_code == 201
