"""`GET /stream` over real sockets: what a browser sees from the first byte to the goodbye."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

import pytest
import requests

from tests.servers import Belfry
from tests.stream_client import StreamClient
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

FIRST_BYTES_SECONDS = 0.02  # the promise on loopback; a timer or a buffer would delay every try
FIRST_BYTES_TRIES = 50
CURSOR = re.compile(r"[0-9A-Za-z]+\.[0-9]+(-[0-9A-Za-z]+\.[0-9]+)*")


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_HEARTBEAT_SECONDS": "1", "BELFRY_MAX_CONNECTIONS_PER_USER": "3"}


def titles(stream: StreamClient) -> list[str]:
    return [message["title"] for message in stream.messages]


class TestTheFirstBlock:
    def test_it_tells_the_delay_the_cursor_and_the_user(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            ready = stream.next_event()
        assert ready.event == "ready"
        assert ready.retry is not None
        assert 1_000 <= ready.retry <= 3_000  # 2,000 ms, jittered by half
        assert CURSOR.fullmatch(ready.id)
        assert json.loads(ready.data).keys() >= {"user", "unread", "revision"}
        assert json.loads(ready.data)["user"] == alice

    def test_the_cursor_is_a_position_in_the_users_and_in_everyones_log(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            ready = stream.next_event()
        assert ready.id.count("-") == 1
        assert ready.id.startswith(ready.id.partition(".")[0] + ".0-")

    def test_the_headers_forbid_buffering_caching_and_sniffing(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            headers = stream.headers
        assert stream.status == 200
        assert headers["content-type"].lower().replace(" ", "") in (
            "text/event-stream",
            "text/event-stream;charset=utf-8",
        )
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in headers

    def test_it_leaves_at_once(self, belfry: Belfry, alice: str) -> None:
        belfry.stream(alice).close()  # the first connection of a worker also opens the log
        delays: list[float] = []
        while not delays or min(delays) > FIRST_BYTES_SECONDS:
            assert len(delays) < FIRST_BYTES_TRIES, delays
            with belfry.stream(alice) as stream:
                stream.next_event()
                delays.append(stream.first_byte_seconds)

    @pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
    def test_both_http_versions_get_a_stream(self, belfry: Belfry, alice: str, version: str) -> None:
        with belfry.stream(alice, version=version) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "title": "hello"})
            assert stream.wait_for_messages(1)[0]["title"] == "hello"

    def test_a_chrome_like_accept_header_changes_nothing(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, headers={"Accept": "text/event-stream", "Cache-Control": "no-cache"}) as stream:
            assert stream.next_event().event == "ready"


class TestOtherMethods:
    def test_head_answers_without_starting_a_stream(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, method="HEAD", headers={"Connection": "close"}) as stream:
            assert stream.status == 200
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.read_to_end() == []
        wait_until(lambda: not belfry.is_online(alice), what="nobody to be there")

    def test_head_says_what_a_stream_would_be_refused_for(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_MAX_CONNECTIONS="1")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            answer = belfry.reader(alice).head("/stream")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")

    def test_options_names_the_methods(self, belfry: Belfry) -> None:
        answer = belfry.api().options("/stream")
        assert answer.status_code in (200, 204)
        assert {method.strip() for method in answer.headers["Allow"].split(",")} >= {"GET", "HEAD", "OPTIONS"}

    def test_post_is_refused(self, belfry: Belfry, alice: str) -> None:
        answer = belfry.reader(alice).post("/stream")
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert "GET" in answer.headers["Allow"]


class TestMessages:
    def test_a_message_arrives_with_id_and_one_line_of_json(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            receipt = belfry.publish(
                {"to": alice, "title": "Grüße 🔔", "body": "one\ntwo\r\n\u2028three", "data": {"n": [1, None, "x"]}}
            )
            event = stream.wait_for("message")
        sent = json.loads(event.data)
        assert "\n" not in event.data
        assert (sent["title"], sent["body"], sent["data"]) == (
            "Grüße 🔔",
            "one\ntwo\r\n\u2028three",
            {"n": [1, None, "x"]},
        )
        assert sent["id"] == receipt["id"]
        assert CURSOR.fullmatch(event.id)
        assert datetime.fromisoformat(sent["time"]).utcoffset() is not None
        assert receipt["deliveries"] == [{"to": alice, "offset": 1, "duplicate": False, "online": True}]

    def test_the_event_type_of_a_message_is_the_events(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "event": "invoice.paid", "title": "paid"})
            assert json.loads(stream.wait_for("invoice.paid").data)["title"] == "paid"

    def test_nobody_gets_what_is_for_another_user(self, belfry: Belfry, alice: str, bob: str) -> None:
        with belfry.stream(alice) as to_alice, belfry.stream(bob) as to_bob:
            to_alice.wait_for("ready"), to_bob.wait_for("ready")
            belfry.publish({"to": bob, "title": "for bob"})
            belfry.publish({"to": [alice, bob], "title": "for both"})
            to_alice.wait_for_messages(1), to_bob.wait_for_messages(2)
            assert titles(to_alice) == ["for both"]
            assert titles(to_bob) == ["for bob", "for both"]

    def test_every_connection_of_a_user_gets_it(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as phone, belfry.stream(alice) as laptop:
            phone.wait_for("ready"), laptop.wait_for("ready")
            belfry.publish({"to": alice, "title": "hello"})
            assert phone.wait_for_messages(1) == laptop.wait_for_messages(1)
            assert phone.cursor == laptop.cursor

    def test_everyone_gets_what_is_for_everyone(self, start_belfry: StartBelfry, alice: str, bob: str) -> None:
        belfry = start_belfry()
        with belfry.stream(alice) as to_alice, belfry.stream(bob) as to_bob:
            to_alice.wait_for("ready"), to_bob.wait_for("ready")
            belfry.publish({"everyone": True, "title": "maintenance"})
            assert to_alice.wait_for_messages(1) == to_bob.wait_for_messages(1)
            assert titles(to_bob) == ["maintenance"]

    def test_two_publishers_at_once_are_heard_once_and_in_their_order(self, belfry: Belfry, alice: str) -> None:
        count = 200
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            publishers = [threading.Thread(target=publish_numbers, args=(belfry, alice, name, count)) for name in "ab"]
            for publisher in publishers:
                publisher.start()
            stream.wait_for_messages(2 * count, 60)
            for publisher in publishers:
                publisher.join()
            for name in "ab":
                assert [m["data"] for m in stream.messages if m["title"] == name] == list(range(count))
            assert offsets(stream) == list(range(1, 2 * count + 1))


def publish_numbers(belfry: Belfry, user: str, name: str, count: int) -> None:
    with belfry.api(belfry.token(f"publisher-{name}", "publish")) as api:
        for number in range(count):
            assert api.publish({"to": user, "title": name, "data": number}).status_code == 201


def offsets(stream: StreamClient) -> list[int]:
    """Where each message stands in the user's own log, which is the first of the cursor."""
    return [int(event.id.split("-")[0].split(".")[1]) for event in stream.events if event.event == "message"]


class TestTransientMessages:
    def test_they_reach_who_is_there_and_leave_the_cursor_alone(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            before = stream.next_event().id
            belfry.publish({"to": alice, "title": "typing", "transient": True})
            assert stream.wait_for("message").id == before
            assert titles(stream) == ["typing"]

    def test_they_carry_no_id(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "title": "typing", "transient": True})
            belfry.publish({"to": alice, "title": "typed"})
            stream.wait_for_messages(2)
            assert offsets(stream) == [0, 1]

    def test_they_are_not_kept(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
        belfry.publish({"to": alice, "title": "typing", "transient": True})
        belfry.publish({"to": alice, "title": "typed"})
        with belfry.stream(alice, cursor=stream.cursor) as stream:
            stream.wait_for_messages(1)
            assert titles(stream) == ["typed"]
        assert [message["title"] for message in belfry.reader(alice).feed()["messages"]] == ["typed"]


class TestHeartbeats:
    def test_silence_is_broken_by_an_event_that_page_code_can_see(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            cursor = stream.next_event().id
            heartbeat = stream.next_event()
            assert heartbeat.event == "heartbeat"
            assert heartbeat.data
            assert heartbeat.id == cursor

    def test_they_go_on(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            stream.next_event()
            assert [stream.next_event().event for _ in range(3)] == ["heartbeat"] * 3


class TestResuming:
    def missed(self, belfry: Belfry, user: str) -> str:
        """The cursor of a client that saw "one" and missed "two" and "three"."""
        with belfry.stream(user) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": user, "title": "one"})
            stream.wait_for_messages(1)
        belfry.publish_all([{"to": user, "title": "two"}, {"to": user, "title": "three"}])
        return stream.cursor

    def test_by_header(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, cursor=self.missed(belfry, alice)) as stream:
            assert stream.next_event().event == "ready"
            stream.wait_for_messages(2)
            belfry.publish({"to": alice, "title": "four"})
            stream.wait_for_messages(3)
            assert titles(stream) == ["two", "three", "four"]
            assert offsets(stream) == [2, 3, 4]

    def test_by_query_parameter(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, query=f"last_event_id={self.missed(belfry, alice)}") as stream:
            stream.wait_for_messages(2)
            assert titles(stream) == ["two", "three"]

    def test_the_header_is_newer_than_the_query_of_the_address(self, belfry: Belfry, alice: str) -> None:
        old = self.missed(belfry, alice)
        with belfry.stream(alice, cursor=old) as stream:
            stream.wait_for_messages(1)
            newer = next(event.id for event in stream.events if event.event == "message")
        with belfry.stream(alice, cursor=newer, query=f"last_event_id={old}") as stream:
            stream.wait_for_messages(1)
            assert titles(stream)[0] == "three"

    @pytest.mark.parametrize(
        "name",
        [
            "lastEventId",
            "lastEventID",
            "Last-Event-ID",
            "last-event-id",
            "LAST_EVENT_ID",
            "last_event_id",
            "evs_last_event_id",
        ],
    )
    def test_by_every_spelling_of_the_parameter(self, belfry: Belfry, alice: str, name: str) -> None:
        with belfry.stream(alice, query=f"{name}={self.missed(belfry, alice)}") as stream:
            stream.wait_for_messages(2)
            assert titles(stream) == ["two", "three"]

    @pytest.mark.parametrize(
        "query",
        [
            "last_event_id={old}&lastEventId={new}",
            "lastEventId={new}&last_event_id={old}",
            "lastEventId={old}&lastEventId={new}",
            "last_event_id={old}&last_event_id={new}",
            "last_event_id={new}&lastEventId=",
            "lastEventId={new}&lastEventId=",
            "last_event_id=nonsense&lastEventId={new}",
        ],
    )
    def test_the_newest_of_several_positions_counts(self, belfry: Belfry, alice: str, query: str) -> None:
        """A polyfill appends its own to an address that has one already. An empty one counts as absent."""
        old = self.missed(belfry, alice)
        new = belfry.reader(alice).get("/feed").json()["cursor"]
        belfry.publish({"to": alice, "title": "four"})
        with belfry.stream(alice, query=query.format(old=old, new=new)) as stream:
            stream.wait_for_messages(1)
            assert titles(stream)[0] == "four"

    def test_of_a_repeated_header_the_last_one_counts(self, belfry: Belfry, alice: str) -> None:
        old = self.missed(belfry, alice)
        new = belfry.reader(alice).get("/feed").json()["cursor"]
        belfry.publish({"to": alice, "title": "four"})
        with belfry.stream(alice, cursor=f"{old}\r\nLast-Event-ID: {new}") as stream:
            stream.wait_for_messages(1)
            assert titles(stream)[0] == "four"

    def test_an_empty_header_leaves_the_word_to_the_query(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, cursor="", query=f"lastEventId={self.missed(belfry, alice)}") as stream:
            stream.wait_for_messages(2)
            assert titles(stream) == ["two", "three"]

    def test_a_long_poll_understands_them_too(self, belfry: Belfry, alice: str) -> None:
        cursor = self.missed(belfry, alice)
        reader = belfry.reader(alice)
        by_parameter = reader.get("/feed", params={"wait": "0", "lastEventId": cursor})
        by_header = reader.get("/feed", params={"wait": "0"}, headers={"Last-Event-ID": cursor})
        for answer in (by_parameter, by_header):
            assert [message["title"] for message in answer.json()["messages"]] == ["two", "three"]

    def test_a_page_of_the_feed_is_no_long_poll(self, belfry: Belfry, alice: str) -> None:
        cursor = self.missed(belfry, alice)
        page = belfry.reader(alice).get("/feed", headers={"Last-Event-ID": cursor}).json()
        assert [message["title"] for message in page["messages"]] == ["three", "two", "one"]

    def test_the_first_blocks_cursor_repeats_what_it_resumes_from(self, belfry: Belfry, alice: str) -> None:
        """A client cut off between `ready` and the first message must not skip what it never got."""
        cursor = self.missed(belfry, alice)
        with belfry.stream(alice, cursor=cursor) as stream:
            assert stream.next_event().id == cursor

    def test_without_a_cursor_only_what_comes_is_sent(self, belfry: Belfry, alice: str) -> None:
        belfry.publish({"to": alice, "title": "before"})
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "title": "after"})
            stream.wait_for_messages(1)
            assert titles(stream) == ["after"]

    def test_an_empty_last_event_id_is_none(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, query="last_event_id=") as stream:
            assert (stream.status, stream.next_event().event) == (200, "ready")

    def test_what_everyone_missed_is_caught_up_too(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry()
        cursor = self.missed(belfry, alice)
        belfry.publish({"everyone": True, "title": "maintenance"})
        with belfry.stream(alice, cursor=cursor) as stream:
            stream.wait_for_messages(3)
            assert sorted(titles(stream)) == ["maintenance", "three", "two"]


class TestLostHistory:
    def assert_reset(self, belfry: Belfry, user: str, cursor: str) -> None:
        """A `reset` comes before any message, and with an id that works: live messages follow, also after a resume."""
        with belfry.stream(user, cursor=cursor) as stream:
            reset = stream.wait_for("reset")
            assert stream.messages == []
            assert CURSOR.fullmatch(reset.id)
            assert reset.id != cursor
            belfry.publish({"to": user, "title": "live"})
            stream.wait_for_messages(1)
            assert titles(stream) == ["live"]
        belfry.publish({"to": user, "title": "later"})
        with belfry.stream(user, cursor=stream.cursor) as stream:
            stream.wait_for_messages(1)
            assert titles(stream) == ["later"]
            assert "reset" not in [event.event for event in stream.events]

    def test_of_another_epoch(self, belfry: Belfry, alice: str) -> None:
        self.assert_reset(belfry, alice, "zzzzzz.3-yyyyyy.1")

    def test_of_another_user(self, belfry: Belfry, alice: str, bob: str) -> None:
        with belfry.stream(bob) as stream:
            cursor = stream.next_event().id
        self.assert_reset(belfry, alice, cursor)

    def test_in_the_future(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            mine, _, everyones = stream.next_event().id.partition("-")
        self.assert_reset(belfry, alice, f"{mine.split('.')[0]}.999-{everyones}")

    def test_trimmed_away(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_HISTORY_LENGTH="10")
        with belfry.stream(alice) as stream:
            cursor = stream.next_event().id
        belfry.publish_all([{"to": alice, "title": str(number)} for number in range(11)])
        self.assert_reset(belfry, alice, cursor)

    def test_nothing_is_lost_as_long_as_the_next_message_is_kept(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_HISTORY_LENGTH="10")
        with belfry.stream(alice) as stream:
            cursor = stream.next_event().id
        belfry.publish_all([{"to": alice, "title": str(number)} for number in range(10)])
        with belfry.stream(alice, cursor=cursor) as stream:
            stream.wait_for_messages(10)
            assert titles(stream) == [str(number) for number in range(10)]
            assert "reset" not in [event.event for event in stream.events]

    @pytest.mark.parametrize(
        "cursor",
        [
            "x",
            "1",
            "a.b",
            "a.-1",
            "a.1-",
            "-a.1",
            "a.1--b.2",
            "a.1.2",
            "a 1",
            "a.1,b.2",
            "ä.1",
            "a.01x",
            "a." + "9" * 200,
        ],
    )
    def test_a_malformed_cursor_is_refused(self, belfry: Belfry, alice: str, cursor: str) -> None:
        answer = belfry.reader(alice).get("/stream", params={"last_event_id": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_malformed_cursor_in_the_header_is_refused(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice, cursor="no cursor") as stream:
            assert (stream.status, stream.body()["code"]) == (400, "bad_cursor")


class TestTopics:
    def test_granted_topics_come_with_the_users_own_messages(self, belfry: Belfry, alice: str, topic: str) -> None:
        topics = [f"{topic}-a", f"{topic}-b"]
        with belfry.stream(alice, topics=topics) as stream:
            stream.wait_for("ready")
            belfry.publish({"topic": topics[0], "title": "a"})
            belfry.publish({"topic": topics[1], "title": "b"})
            belfry.publish({"topic": f"{topic}-c", "title": "c"})
            belfry.publish({"to": alice, "title": "own"})
            stream.wait_for_messages(3)
            assert titles(stream) == ["a", "b", "own"]
            assert stream.messages[0]["topic"] == topics[0]

    def test_a_cursor_resumes_all_of_them(self, belfry: Belfry, alice: str, topic: str) -> None:
        topics = [f"{topic}-a", f"{topic}-b"]
        with belfry.stream(alice, topics=topics) as stream:
            stream.wait_for("ready")
            belfry.publish({"topic": topics[0], "title": "a1"})
            stream.wait_for_messages(1)
        for target in ({"topic": topics[0]}, {"topic": topics[1]}, {"to": alice}):
            belfry.publish({**target, "title": "missed"})
        with belfry.stream(alice, topics=topics, cursor=stream.cursor) as stream:
            stream.wait_for_messages(3)
            assert titles(stream) == ["missed"] * 3

    def test_a_topic_that_is_new_to_the_client_starts_live_without_a_reset(
        self, belfry: Belfry, alice: str, topic: str
    ) -> None:
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
        belfry.publish({"to": alice, "title": "missed"})
        belfry.publish({"topic": topic, "title": "before it was asked for"})
        with belfry.stream(alice, topics=[topic], cursor=stream.cursor) as stream:
            stream.wait_for_messages(1)
            belfry.publish({"topic": topic, "title": "live"})
            stream.wait_for_messages(2)
            assert titles(stream) == ["missed", "live"]
            assert "reset" not in [event.event for event in stream.events]

    @pytest.mark.parametrize("granted", [[], ["other"], ["new"], ["newsx*"]])
    def test_a_topic_that_is_not_granted_is_refused(self, belfry: Belfry, alice: str, granted: list[str]) -> None:
        answer = belfry.reader(alice, topics=granted).get("/stream", params={"topics": "news"})
        assert (answer.status_code, answer.json()["code"]) == (403, "topic_forbidden")

    @pytest.mark.parametrize("granted", ["*", "new*", "news"])
    def test_a_pattern_grants_what_it_fits(self, belfry: Belfry, alice: str, granted: str) -> None:
        with belfry.stream(alice, query="topics=news", token=belfry.token(alice, "feed", topics=[granted])) as stream:
            assert stream.next_event().event == "ready"

    def test_a_connection_reads_at_most_eight_logs(self, belfry: Belfry, alice: str) -> None:
        reader = belfry.reader(alice, topics=["t*"])
        answer = reader.get("/stream", params={"topics": ",".join(f"t{number}" for number in range(7))})
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many_topics")
        with belfry.stream(alice, topics=[f"t{number}" for number in range(6)]) as stream:
            ready = stream.next_event()
            assert ready.id.count("-") == 7
            assert len(ready.id) <= 128

    def test_a_token_with_more_topics_than_a_connection_reads_costs_none_that_it_can_read(
        self, belfry: Belfry, alice: str
    ) -> None:
        granted = [f"t{number}" for number in range(8)]
        token = belfry.token(alice, "feed", topics=granted)
        with belfry.stream(alice, token=token) as stream:
            left_out = json.loads(stream.next_event().data)["left_out"]
            assert left_out == [{"topic": topic, "code": "too_many_topics"} for topic in granted[6:]]
            belfry.publish({"to": alice, "title": "mine"})
            belfry.publish({"topic": "t5", "title": "sixth topic"})
            stream.wait_for_messages(2)
            assert titles(stream) == ["mine", "sixth topic"]
        reader = belfry.api(token)
        assert [message["title"] for message in reader.feed()["messages"]] == ["sixth topic", "mine"]
        assert reader.post("/feed/read", json={"all": True}).json()["unread"] == 0

    def test_a_connection_that_asks_for_a_part_reads_what_it_can(self, belfry: Belfry, alice: str) -> None:
        token = belfry.token(alice, "feed", topics=["t*"])
        asked = ["other", "a%20b", *[f"t{number}" for number in range(7)]]
        with belfry.stream(alice, query=f"topics={','.join(asked)}&partial=true", token=token) as stream:
            ready = stream.next_event()
            assert json.loads(ready.data)["left_out"] == [
                {"topic": "other", "code": "topic_forbidden"},
                {"topic": "a b", "code": "bad_topic"},
                {"topic": "t6", "code": "too_many_topics"},
            ]
            assert ready.id.count("-") == 7
        answer = belfry.api(token).get("/feed", params={"topics": "other", "partial": "perhaps"})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")

    @pytest.mark.parametrize("topics", ["a b", "a%00", "%7Ba%7D", "a" * 129, "a%0A"])
    def test_a_bad_topic_is_refused(self, belfry: Belfry, alice: str, topics: str) -> None:
        answer = belfry.reader(alice, topics=["*"]).get(f"/stream?topics={topics}")
        assert answer.status_code in (400, 422)
        assert answer.json()["code"] in ("bad_topic", "bad_parameter")


class TestCredentials:
    def refusal(self, answer: requests.Response) -> tuple[int, str]:
        assert answer.headers["Content-Type"] == "application/problem+json"
        return answer.status_code, answer.json()["code"]

    def test_none_is_refused_without_a_redirect(self, belfry: Belfry) -> None:
        answer = belfry.api().get("/stream", allow_redirects=False)
        assert self.refusal(answer) == (401, "token_missing")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_forged_one_is_refused(self, belfry: Belfry, start_belfry: StartBelfry, alice: str) -> None:
        forged = start_belfry(BELFRY_SECRET=secrets.token_hex(32)).token(alice, "feed")
        assert self.refusal(belfry.api(forged).get("/stream")) == (401, "token_invalid")

    def test_an_expired_one_is_refused(self, belfry: Belfry, alice: str) -> None:
        expired = belfry.token(alice, "feed", seconds=-1)
        assert self.refusal(belfry.api(expired).get("/stream")) == (401, "token_expired")

    def test_the_scope_must_be_feed(self, belfry: Belfry, alice: str) -> None:
        token = belfry.token(alice, "publish", "complete", "admin")
        assert self.refusal(belfry.api(token).get("/stream")) == (403, "scope_missing")


class TestLimits:
    def test_a_full_worker_says_so_and_takes_others_again_later(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_MAX_CONNECTIONS="2")
        with belfry.stream(alice) as first, belfry.stream(alice) as second:
            first.wait_for("ready"), second.wait_for("ready")
            answer = belfry.reader(alice).get("/stream")
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_connections")
            assert int(answer.headers["Retry-After"]) >= 1
            cursor = belfry.reader(alice).get("/feed").json()["cursor"]
            belfry.publish({"to": alice, "title": "missed"})
            page = belfry.reader(alice).get("/feed", params={"after": cursor})  # it doesn't stay, so needs no room
            assert [message["title"] for message in page.json()["messages"]] == ["missed"]
        with wait_until(lambda: self.connected(belfry, alice)) as stream:
            assert stream.next_event().event == "ready"

    def test_a_full_worker_takes_no_more_of_those_who_come_at_once(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_MAX_CONNECTIONS="2")
        with ThreadPoolExecutor(20) as pool:
            streams = list(pool.map(lambda _: belfry.stream(alice), range(20)))
        assert sorted(stream.status for stream in streams) == [200] * 2 + [503] * 18
        for stream in streams:
            stream.close()

    def connected(self, belfry: Belfry, user: str) -> StreamClient | None:
        stream = belfry.stream(user)
        if stream.status == 200:
            return stream
        stream.close()
        return None


class TestGoodbye:
    def reason(self, stream: StreamClient, seconds: float = 20) -> str:
        goodbye = stream.read_to_end(seconds)[-1]
        assert goodbye.event == "goodbye"
        assert goodbye.retry is not None
        reason: str = json.loads(goodbye.data)["reason"]
        return reason

    def test_expired_when_the_tokens_time_is_over(self, belfry: Belfry, alice: str) -> None:
        for seconds in (5, 40):  # the second one for a machine that needs longer to open a stream
            with belfry.stream(alice, token=belfry.token(alice, "feed", seconds=seconds)) as stream:
                if stream.status == 200:
                    assert self.reason(stream, seconds + 20) == "expired"
                    return
        pytest.fail("no stream was opened before its token had expired")

    def test_replaced_for_the_oldest_when_a_user_has_too_many(self, belfry: Belfry, alice: str) -> None:
        with ExitStack() as stack:
            oldest, *others = [stack.enter_context(belfry.stream(alice)) for _ in range(4)]  # one more than allowed
            assert self.reason(oldest) == "replaced"
            belfry.publish({"to": alice, "title": "hello"})
            for stream in others:
                assert stream.wait_for_messages(1)[0]["title"] == "hello"

    def test_shutdown_when_the_worker_stops(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry()
        with belfry.stream(alice) as stream:
            cursor = stream.next_event().id
            assert belfry.terminate() == 0
            assert self.reason(stream) == "shutdown"
            assert stream.cursor == cursor
