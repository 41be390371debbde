"""What a user does with the feed reaches all of the user's connections, with a count that agrees everywhere."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from app.core.wire.sse import Event
from tests.servers import Api, Belfry, RedisServer
from tests.stream_client import StreamClient
from tests.system.conftest import StartBelfry
from tests.system.test_two_workers import open_on_both_workers

WAIT_SECONDS = 30  # the longest wait of a poll


@pytest.fixture
def reader(belfry: Belfry, alice: str) -> Api:
    return belfry.reader(alice)


def mark(reader: Api, what: str, **body: Any) -> dict[str, Any]:
    answer = reader.post(f"/feed/{what}", json=body)
    assert answer.status_code == 200, answer.text
    counts: dict[str, Any] = answer.json()
    return counts


def publish(belfry: Belfry, user: str, *ids: str, **fields: Any) -> None:
    belfry.publish_all([{"to": user, "id": each, "title": each, **fields} for each in ids])


def shown(page: dict[str, Any]) -> list[str]:
    return [message["id"] for message in page["messages"]]


def data(event: Event) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(event.data)
    return decoded


class TestMarking:
    def test_reading_counts_down_and_undoing_it_counts_up(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a", "b", "c")
        assert mark(reader, "read", ids=["a", "c"])["unread"] == 1
        assert [(each["id"], each["read"]) for each in reader.feed()["messages"]] == [
            ("c", True),
            ("b", False),
            ("a", True),
        ]
        assert mark(reader, "read", ids=["a"], read=False)["unread"] == 2
        assert mark(reader, "read", all=True)["unread"] == 0
        assert reader.feed()["unread"] == 0

    def test_what_is_archived_leaves_the_feed_for_the_archive(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a", "b")
        assert mark(reader, "archive", ids=["a"])["unread"] == 1
        assert shown(reader.feed()) == ["b"]
        assert shown(reader.feed(archived="true")) == ["a"]
        assert shown(reader.feed(archived="any")) == ["b", "a"]
        mark(reader, "archive", ids=["a"], archived=False)
        assert shown(reader.feed()) == ["b", "a"]

    def test_what_is_removed_is_in_no_feed(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a", "b")
        answer = reader.delete("/feed/a")
        assert (answer.status_code, answer.json()["unread"]) == (200, 1)
        assert shown(reader.feed()) == ["b"]
        assert shown(reader.feed(archived="true")) == []

    def test_what_is_removed_can_be_taken_back_on_all_devices(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a", "b", "c")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            assert mark(reader, "remove", ids=["a", "b"])["unread"] == 1
            assert data(stream.wait_for("removed"))["ids"] == ["a", "b"]
            assert mark(reader, "remove", ids=["a"], removed=False)["unread"] == 2
            assert data(stream.wait_for("updated")) | {"revision": 0} == {
                "ids": ["a"], "removed": False, "unread": 2, "revision": 0
            }  # fmt: skip
        assert shown(reader.feed()) == ["c", "a"]
        answer = reader.post("/feed/remove", json={"all": True})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_change")

    def test_a_broadcast_is_marked_by_each_user_alone(self, start_belfry: StartBelfry, alice: str, bob: str) -> None:
        belfry = start_belfry()
        belfry.publish({"everyone": True, "id": "all", "title": "for all"})
        assert mark(belfry.reader(alice), "read", all=True)["unread"] == 0
        assert belfry.reader(bob).feed()["unread"] == 1
        assert belfry.reader(alice).feed()["unread"] == 0

    def test_one_user_can_not_touch_anothers_messages(self, belfry: Belfry, bob: str, reader: Api) -> None:
        publish(belfry, bob, "his")
        before = belfry.reader(bob).feed()
        mark(reader, "read", ids=["his"])
        mark(reader, "archive", ids=["his"])
        assert reader.delete("/feed/his").status_code == 404
        assert belfry.reader(bob).feed() == before

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ("{}", "invalid_change"),
            ('{"ids":["a"],"all":true}', "invalid_change"),
            ('{"all":false}', "invalid_change"),
            ('{"ids":"a"}', "invalid_change"),
            ('{"ids":["a b"]}', "invalid_change"),
            ('{"all":true,"read":1}', "invalid_change"),
            ("[]", "invalid_change"),
            ('{"all":true,"user":"bob"}', "unknown_field"),
            ("{", "malformed_json"),
        ],
    )
    def test_a_change_that_says_something_else_is_refused(self, reader: Api, body: str, code: str) -> None:
        answer = reader.post("/feed/read", data=body, headers={"Content-Type": "application/json"})
        assert answer.json()["code"] == code
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("path", ["/feed/read", "/feed/archive"])
    def test_the_scope_must_be_feed(self, belfry: Belfry, path: str) -> None:
        assert belfry.publisher.post(path, json={"all": True}).json()["code"] == "scope_missing"
        assert belfry.publisher.delete("/feed/a").json()["code"] == "scope_missing"

    def test_another_content_type_is_refused(self, reader: Api) -> None:
        assert reader.post("/feed/read", data='{"all":true}').status_code == 415


class TestFilters:
    def test_each_narrows_the_feed(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a", level="error", tags=["x", "y"])
        publish(belfry, alice, "b", level="info", tags=["y"])
        publish(belfry, alice, "c")
        mark(reader, "read", ids=["b"])
        assert shown(reader.feed(unread="true")) == ["c", "a"]
        assert shown(reader.feed(unread="false")) == ["b"]
        assert shown(reader.feed(level="error")) == ["a"]
        assert shown(reader.feed(tag="y")) == ["b", "a"]
        assert shown(reader.feed(tag="y", unread="true")) == ["a"]

    def test_paging_through_a_filtered_feed_finds_each_once(self, belfry: Belfry, alice: str, reader: Api) -> None:
        for number in range(250):
            publish(belfry, alice, f"m{number}", tags=["x"] if number % 7 == 0 else ["y"])
        seen, page = [], reader.feed(tag="x", limit=10)
        seen += shown(page)
        while page["next"]:
            page = reader.feed(tag="x", limit=10, before=page["next"])
            seen += shown(page)
        assert seen == [f"m{number}" for number in reversed(range(0, 250, 7))]

    @pytest.mark.parametrize("query", ["unread=maybe", "archived=2", "level=loud"])
    def test_a_filter_that_is_none_is_refused(self, reader: Api, query: str) -> None:
        assert reader.get(f"/feed?{query}").json()["code"] == "bad_parameter"


class TestConnections:
    def test_ready_tells_the_count_and_what_of_it_follows(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a")
        cursor = reader.feed()["cursor"]
        publish(belfry, alice, "b", "c")
        mark(reader, "read", ids=["a"])
        with belfry.stream(alice, cursor=cursor) as stream:
            ready = data(stream.next_event())
            assert (ready["unread"], ready["behind"]) == (2, 2)
            assert ready["revision"] == reader.feed()["revision"]
            assert [message["id"] for message in stream.wait_for_messages(2)] == ["b", "c"]

    def test_both_connections_on_both_workers_hear_each_change(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(WEB_CONCURRENCY="2")
        reader = belfry.reader(alice)
        publish(belfry, alice, "a", "b")
        with ExitStack() as stack:
            streams = open_on_both_workers(belfry, alice, stack)
            mark(reader, "read", ids=["a"])
            for stream in streams:  # before the next change: a round of counts may cover several changes
                assert data(stream.wait_for("read")).items() >= {"ids": ["a"], "read": True, "unread": 1}.items()
            mark(reader, "archive", ids=["a"])
            reader.delete("/feed/b")
            for stream in streams:
                assert data(stream.wait_for("updated")).items() >= {"ids": ["a"], "archived": True}.items()
                removed = data(stream.wait_for("removed"))
                assert removed.items() >= {"ids": ["b"], "unread": 0}.items()
                assert removed["revision"] == reader.feed()["revision"]

    def test_changes_while_the_link_to_redis_was_cut_are_counted_once_it_is_back(
        self, belfry: Belfry, redis_server: RedisServer, alice: str, reader: Api
    ) -> None:
        publish(belfry, alice, "a", "b")
        with belfry.stream(alice) as stream, redis_server.client() as client:
            stream.wait_for("ready")
            for link in [each for each in client.client_list() if each["name"] == "belfry-hub"]:
                client.client_kill_filter(_id=link["id"])
            mark(reader, "read", ids=["a"])  # most likely before the worker has subscribed again
            told = stream.wait_for(lambda event: event.event in ("read", "updated"))
            assert data(told)["unread"] == 1

    def test_connections_that_read_other_topics_get_their_own_counts(
        self, belfry: Belfry, alice: str, topic: str, reader: Api
    ) -> None:
        publish(belfry, alice, "a", "b")
        with belfry.stream(alice, topics=[topic]) as wide, belfry.stream(alice) as narrow:
            wide.wait_for("ready"), narrow.wait_for("ready")
            belfry.publish({"topic": topic, "title": "news"})
            mark(reader, "read", ids=["a"])
            assert data(narrow.wait_for("read"))["unread"] == 1
            assert data(wide.wait_for("read"))["unread"] == 2

    def test_another_user_hears_nothing(self, belfry: Belfry, alice: str, bob: str, reader: Api) -> None:
        publish(belfry, alice, "a")
        with belfry.stream(bob) as stream:
            stream.wait_for("ready")
            mark(reader, "read", ids=["a"])
            publish(belfry, bob, "b")
            stream.wait_for_messages(1)
            heard = [event.event for event in stream.events if event.event != "heartbeat"]  # those come by the clock
            assert heard == ["ready", "message"]

    def test_a_replacement_is_followed_by_the_new_count(self, belfry: Belfry, alice: str) -> None:
        publish(belfry, alice, "a", key="k")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            publish(belfry, alice, "b", key="k")
            assert data(stream.wait_for("updated"))["unread"] == 1

    def test_an_expiry_is_told_without_anybody_asking(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_TAIL_CHECK_SECONDS="0.5")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "id": "a", "ttl": 3})
            assert "expires_at" in stream.wait_for_messages(1)[0]
            assert data(stream.wait_for("removed")) == {"ids": ["a"], "unread": 0, "revision": 1}

    def test_what_is_trimmed_is_counted_off_soon(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry(BELFRY_TAIL_CHECK_SECONDS="0.5", BELFRY_HISTORY_LENGTH="3")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            publish(belfry, alice, *"abcde")
            assert data(stream.wait_for("updated"))["unread"] == 3

    def test_a_slow_connection_hears_of_the_count_when_it_has_caught_up(
        self, belfry: Belfry, alice: str, reader: Api
    ) -> None:
        with belfry.stream(alice, receive_buffer=4_096) as slow:
            slow.wait_for("ready")
            for number in range(60):
                publish(belfry, alice, f"m{number}", body="x" * 50_000)
            assert mark(reader, "read", ids=["m0"])["unread"] == 59
            slow.wait_for_messages(60)
            told = slow.wait_for(lambda event: event.event in ("read", "updated"))
            assert (told.event, data(told)["unread"]) == ("updated", 59)

    def test_a_long_poll_ends_when_the_count_changes(self, belfry: Belfry, alice: str, reader: Api) -> None:
        publish(belfry, alice, "a")
        page = reader.feed()
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            poll = pool.submit(
                belfry.reader(alice).feed, after=page["cursor"], revision=page["revision"], wait=WAIT_SECONDS
            )  # on another device
            mark(reader, "read", all=True)
            assert poll.result()["unread"] == 0
            assert time.monotonic() - started < WAIT_SECONDS


def badge(stream: StreamClient) -> int:
    """The count as a page keeps it: what the last event of Belfry's said, and one more for each message after."""
    unread = behind = 0
    for event in stream.events:
        if "unread" in event.data and event.event in ("ready", "read", "removed", "updated"):
            unread = data(event)["unread"]
            behind = data(event).get("behind", 0)
        elif event.event == "message":
            unread += behind <= 0
            behind -= 1
    return unread


def test_badges_stay_equal_through_anything(belfry: Belfry, alice: str, reader: Api) -> None:
    """Two connections, a random sequence of changes and publishes, and each badge is what a recount gives."""
    chance = random.Random(1)

    def change(picked: str) -> None:
        what = chance.choice(["read", "archive", "remove", "nothing"])
        if what == "read":
            mark(reader, "read", ids=[picked], read=chance.random() < 0.7)
        elif what == "archive":
            mark(reader, "archive", ids=[picked], archived=chance.random() < 0.7)
        elif what == "remove":
            reader.delete(f"/feed/{picked}")

    with belfry.stream(alice) as one, belfry.stream(alice) as two:
        one.wait_for("ready"), two.wait_for("ready")
        for number in range(90):
            publish(belfry, alice, f"m{number}", **({"key": f"k{number % 3}"} if chance.random() < 0.2 else {}))
            change(f"m{chance.randrange(number + 1)}")
        publish(belfry, alice, "last", "after")
        last = mark(reader, "read", ids=["last"])
        page = reader.feed(limit=100)
        assert page["unread"] == last["unread"] == sum(not each["read"] for each in page["messages"]) > 5
        for stream in (one, two):
            stream.wait_for(lambda event: event.event == "read" and data(event)["revision"] == last["revision"])
            assert badge(stream) == page["unread"]
