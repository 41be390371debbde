"""`GET /feed`: pages from the newest back, a cursor that misses nothing, and the long poll."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import Api, Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import patient, wait_until

WAIT_SECONDS = 25  # that a poll waits
AT_ONCE_SECONDS = 20.0  # less than that, with room for a process that stands still


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    # Tails are compared several times within each wait below: that must wake nobody for nothing.
    return {"BELFRY_TAIL_CHECK_SECONDS": "0.5"}


def titles(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [message["title"] for message in page["messages"]]


def publish_titles(belfry: Belfry, user: str, *names: str) -> None:
    belfry.publish_all([{"to": user, "title": name} for name in names])


def wait_for_the_next_millisecond() -> None:
    """Wait until a message that is published now gets a later time than those before."""
    now = time.time_ns() // 1_000_000
    wait_until(lambda: time.time_ns() // 1_000_000 > now)


def publish_one_by_one(belfry: Belfry, user: str, count: int) -> None:
    for number in range(count):
        publish_titles(belfry, user, str(number))


class TestPages:
    def test_an_empty_feed(self, belfry: Belfry, alice: str) -> None:
        page = belfry.reader(alice).feed()
        assert page.keys() >= {"messages", "next", "unread", "cursor"}
        assert page["messages"] == []
        assert page["next"] is None
        assert page["cursor"]

    def test_messages_come_newest_first(self, belfry: Belfry, alice: str) -> None:
        publish_titles(belfry, alice, "one", "two", "three")
        assert titles(belfry.reader(alice).feed()) == ["three", "two", "one"]

    def test_next_leads_back_to_the_oldest(self, belfry: Belfry, alice: str) -> None:
        publish_titles(belfry, alice, *(str(number) for number in range(10)))
        reader = belfry.reader(alice)
        page = reader.feed(limit=4)
        seen = [titles(page)]
        while page["next"] is not None:
            page = reader.feed(limit=4, before=page["next"])
            seen.append(titles(page))
        assert [title for page in seen for title in page] == [str(number) for number in reversed(range(10))]
        assert [len(page) for page in seen if page] == [4, 4, 2]

    def test_paging_back_is_not_moved_by_what_arrives_meanwhile(self, belfry: Belfry, alice: str) -> None:
        publish_titles(belfry, alice, "one", "two", "three")
        page = belfry.reader(alice).feed(limit=1)
        publish_titles(belfry, alice, "four")
        assert titles(belfry.reader(alice).feed(limit=1, before=page["next"])) == ["two"]

    def test_a_feed_is_the_users_own(self, belfry: Belfry, alice: str, bob: str) -> None:
        publish_titles(belfry, alice, "for alice")
        assert titles(belfry.reader(bob).feed()) == []

    @pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=100000", "limit=1.5"])
    def test_a_bad_parameter_is_refused(self, belfry: Belfry, alice: str, query: str) -> None:
        answer = belfry.reader(alice).get(f"/feed?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_malformed_before_is_refused(self, belfry: Belfry, alice: str) -> None:
        answer = belfry.reader(alice).get("/feed", params={"before": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")

    def test_a_place_in_a_history_that_is_gone_is_told(self, belfry: Belfry, alice: str) -> None:
        answer = belfry.reader(alice).get("/feed", params={"before": "zzzzzz.3-yyyyyy.1"})
        assert (answer.status_code, answer.json()["code"]) == (410, "history_lost")

    def test_it_may_not_be_cached(self, belfry: Belfry, alice: str) -> None:
        assert "no-store" in belfry.reader(alice).get("/feed").headers["Cache-Control"]

    def test_the_scope_must_be_feed(self, belfry: Belfry) -> None:
        answer = belfry.publisher.get("/feed")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")

    def test_a_credential_is_needed(self, belfry: Belfry) -> None:
        answer = belfry.api().get("/feed")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")

    def test_everyones_messages_stand_among_the_users_own_newest_first(
        self, start_belfry: StartBelfry, alice: str
    ) -> None:
        belfry = start_belfry()
        for message in ({"to": alice}, {"everyone": True}, {"to": alice}, {"everyone": True}):
            belfry.publish({**message, "title": "own" if "to" in message else "everyone's"})
            wait_for_the_next_millisecond()  # messages of the same time stand in the order of their logs
        reader = belfry.reader(alice)
        assert titles(reader.feed()) == ["everyone's", "own", "everyone's", "own"]
        first = reader.feed(limit=3)
        assert titles(first) + titles(reader.feed(limit=3, before=first["next"])) == titles(reader.feed())


class TestFromFeedToStream:
    def test_a_stream_opened_with_the_feeds_cursor_misses_nothing(self, belfry: Belfry, alice: str) -> None:
        publish_titles(belfry, alice, "read")
        page = belfry.reader(alice).feed()
        publish_titles(belfry, alice, "between")
        with belfry.stream(alice, query=f"last_event_id={page['cursor']}") as stream:
            stream.wait_for_messages(1)
            publish_titles(belfry, alice, "live")
            assert [message["title"] for message in stream.wait_for_messages(2)] == ["between", "live"]

    def test_also_when_the_feed_was_empty(self, belfry: Belfry, alice: str) -> None:
        cursor = belfry.reader(alice).feed()["cursor"]
        publish_titles(belfry, alice, "between")
        with belfry.stream(alice, query=f"last_event_id={cursor}") as stream:
            assert [message["title"] for message in stream.wait_for_messages(1)] == ["between"]

    def test_a_streams_cursor_works_for_the_long_poll(self, belfry: Belfry, alice: str) -> None:
        with belfry.stream(alice) as stream:
            cursor = stream.next_event().id
        publish_titles(belfry, alice, "one")
        assert titles(belfry.reader(alice).feed(after=cursor, wait=0)) == ["one"]


def at_once_seconds() -> float:
    """The longest time of an answer that does not wait; always less than that of one that waits in vain."""
    return min(patient(AT_ONCE_SECONDS), WAIT_SECONDS - 1)


class TestLongPoll:
    @pytest.fixture
    def reader(self, belfry: Belfry, alice: str) -> Api:
        return belfry.reader(alice)

    def test_it_answers_at_once_and_oldest_first_when_there_is_something(
        self, belfry: Belfry, alice: str, reader: Api
    ) -> None:
        cursor = reader.feed()["cursor"]
        publish_titles(belfry, alice, "one", "two")
        started = time.monotonic()
        page = reader.feed(after=cursor, wait=WAIT_SECONDS)
        assert time.monotonic() - started < at_once_seconds()
        assert titles(page) == ["one", "two"]
        assert titles(reader.feed(after=page["cursor"], wait=0)) == []

    def test_it_answers_as_soon_as_something_comes(self, belfry: Belfry, alice: str, reader: Api) -> None:
        cursor = reader.feed()["cursor"]
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            polling = pool.submit(reader.feed, after=cursor, wait=WAIT_SECONDS)
            publish_titles(belfry, alice, "one")
            assert titles(polling.result()) == ["one"]
            assert time.monotonic() - started < at_once_seconds()

    def test_it_hears_everyones_messages_too(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry()
        reader = belfry.reader(alice)
        cursor = reader.feed()["cursor"]
        belfry.publish({"everyone": True, "title": "maintenance"})
        assert titles(reader.feed(after=cursor, wait=5)) == ["maintenance"]

    def test_it_gives_up_after_wait_seconds_with_a_cursor_that_goes_on(
        self, belfry: Belfry, alice: str, reader: Api
    ) -> None:
        started = time.monotonic()
        page = reader.feed(after=reader.feed()["cursor"], wait=1.5)
        assert 1.4 < time.monotonic() - started < at_once_seconds()
        assert titles(page) == []
        publish_titles(belfry, alice, "later")
        assert titles(reader.feed(after=page["cursor"], wait=5)) == ["later"]

    def test_without_wait_it_answers_at_once(self, reader: Api) -> None:
        started = time.monotonic()
        assert titles(reader.feed(after=reader.feed()["cursor"])) == []
        assert time.monotonic() - started < patient(AT_ONCE_SECONDS)

    def test_polling_on_and_on_sees_each_message_once_and_in_order(
        self, belfry: Belfry, alice: str, reader: Api
    ) -> None:
        cursor = reader.feed()["cursor"]
        seen: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(publish_one_by_one, belfry, alice, 300)
            while len(seen) < 300:
                page = reader.feed(after=cursor, wait=5)  # empty if the publisher got no turn for so long
                seen += titles(page)
                cursor = page["cursor"]
            publishing.result()
        assert seen == [str(number) for number in range(300)]

    def test_more_than_fits_on_a_page_comes_in_pages(self, belfry: Belfry, alice: str, reader: Api) -> None:
        cursor = reader.feed()["cursor"]
        seen: list[str] = []
        publish_titles(belfry, alice, *(str(number) for number in range(10)))
        while page := titles(answer := reader.feed(after=cursor, wait=0, limit=4)):
            assert len(page) <= 4
            seen += page
            cursor = answer["cursor"]
        assert seen == [str(number) for number in range(10)]

    def test_lost_history_is_gone(self, reader: Api) -> None:
        answer = reader.get("/feed", params={"after": "zzzzzz.3-yyyyyy.1", "wait": "5"})
        assert (answer.status_code, answer.json()["code"]) == (410, "history_lost")

    def test_a_malformed_cursor_is_refused(self, reader: Api) -> None:
        answer = reader.get("/feed", params={"after": "no cursor"})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")

    @pytest.mark.parametrize("wait", ["-1", "x", "nan", "inf", "1e9"])
    def test_a_bad_wait_is_refused(self, reader: Api, wait: str) -> None:
        answer = reader.get("/feed", params={"after": reader.feed()["cursor"], "wait": wait})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")

    def test_a_worker_that_stops_lets_everybody_go(self, start_belfry: StartBelfry, alice: str) -> None:
        belfry = start_belfry()
        reader = belfry.reader(alice)
        belfry.is_online(alice)  # asks by a transient message, which creates the log
        cursor = reader.feed()["cursor"]
        with ThreadPoolExecutor(1) as pool:
            polling = pool.submit(reader.feed, after=cursor, wait=25)
            wait_until(lambda: belfry.is_online(alice), what="the poll to wait")
            assert belfry.terminate() == 0
            assert polling.result() == {**polling.result(), "messages": [], "cursor": cursor}

    def test_who_gives_up_waiting_leaves_nothing_behind(self, belfry: Belfry, alice: str, reader: Api) -> None:
        page = reader.feed(after=reader.feed()["cursor"], wait=1)
        assert titles(page) == []
        wait_until(lambda: not belfry.is_online(alice), what="the subscription to end")
