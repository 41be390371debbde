"""The feed: many logs, one list, no page that misses or repeats anything."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.log.catch_up import start
from app.core.log.cursor import Vector
from app.core.message import parse
from app.core.settings import Settings
from app.store.logs.feed import Feed, FeedPage, Filter, oldest
from app.store.logs.log import PAGE_BYTES, LogStore
from app.transport.connection import Connection
from tests.examples import examples

NAMES = ["user:alice", "everyone", "topic:news"]
NOW = 1_700_000_000.0
EVERYTHING = Filter()
PAGES_MAX = 100


@pytest.fixture
def store(connection: Connection) -> LogStore:
    return LogStore(connection, Settings(redis_url="redis://unused.invalid"))


def publish(store: LogStore, at: float, name: str, title: str, **fields: object) -> None:
    body = json.dumps({"to": "alice", "title": title, **fields}).encode()
    message = parse(body, now=NOW + at, new_id=f"{name}-{title}", max_recipients=1)
    store.append([(name, message)])


def newest(store: LogStore, before: Vector | None, limit: int, now_ms: int, wanted: Filter = EVERYTHING) -> FeedPage:
    return Feed(store).newest("alice", NAMES, before, limit, wanted, now_ms)


def walk_back(store: LogStore, limit: int, now_ms: int, wanted: Filter = EVERYTHING) -> Iterator[FeedPage]:
    """All pages, from the newest to the end."""
    before: Vector | None = None
    for _ in range(PAGES_MAX):
        page = newest(store, before, limit, now_ms, wanted)
        yield page
        before = page.next
        if before is None:
            return
    raise AssertionError(f"no end after {PAGES_MAX} pages")


def titles(messages: tuple[str, ...]) -> list[str]:
    return [json.loads(message)["title"] for message in messages]


def ms(seconds: float) -> int:
    return int((NOW + seconds) * 1_000)


def test_messages_of_all_logs_come_newest_first(store: LogStore) -> None:
    for at, name in enumerate([*NAMES, *NAMES]):
        publish(store, at, name, str(at))
    page = newest(store, None, 10, ms(9))
    assert titles(page.messages) == ["5", "4", "3", "2", "1", "0"]
    assert (page.next, page.counts.unread) == (None, 6)


def test_an_empty_feed_has_a_cursor_for_the_stream(store: LogStore) -> None:
    page = newest(store, None, 10, ms(0))
    assert (page.messages, page.next, len(page.cursor)) == ((), None, 3)


@hypothesis_settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=25), st.integers(1, 7))
def test_paging_back_shows_every_message_once_whatever_the_limit(
    store: LogStore, sent: list[tuple[str, bool]], limit: int
) -> None:
    store.forget(NAMES)
    for at, (name, expiring) in enumerate(sent):
        publish(store, at, name, str(at), **({"ttl": 1} if expiring else {}))
    seen: list[str] = []
    for page in walk_back(store, limit, ms(100)):
        assert len(page.messages) <= limit
        seen += titles(page.messages)
    assert seen == [str(at) for at, (_, expiring) in reversed(list(enumerate(sent))) if not expiring]


SIZES = (1, 20, 300)


@hypothesis_settings(
    max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("", "tag")), st.sampled_from(SIZES)), max_size=30),
    st.integers(1, 7),
    st.integers(1, 5),
)
def test_what_a_filter_or_a_page_s_bytes_leave_out_puts_nothing_in_another_order(
    store: LogStore, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[str, str, int]], limit: int, filtered: int
) -> None:
    """Limits as small as these end pages in the middle of what is not shown, in every log at its own place."""
    monkeypatch.setattr("app.store.logs.feed.FILTERED_ENTRIES", filtered)
    for module in ("app.store.logs.feed", "app.store.logs.log"):
        monkeypatch.setattr(f"{module}.PAGE_BYTES", 500)
    store.forget(NAMES)
    for at, (name, tag, size) in enumerate(sent):
        publish(store, at, name, str(at), tags=[tag] if tag else [], body="x" * size)
    for wanted in (EVERYTHING, Filter(tag="tag")):
        seen = [title for page in walk_back(store, limit, ms(100), wanted) for title in titles(page.messages)]
        assert seen == [str(at) for at, (_, tag, _) in reversed(list(enumerate(sent))) if tag or not wanted.tag]


def test_a_filter_by_topic_leaves_out_what_is_of_another_topic_or_of_none(store: LogStore) -> None:
    for at, topic in enumerate(["", "news", "newsletter", "news"]):
        publish(store, at, NAMES[at % 3], str(at), **({"to": None, "topic": topic} if topic else {}))
    assert titles(newest(store, None, 10, ms(100), Filter(topic="news")).messages) == ["3", "1"]
    assert titles(newest(store, None, 10, ms(100), Filter(topic="sport")).messages) == []


def test_a_page_has_a_bound_in_bytes_and_holds_one_message_however_large(store: LogStore) -> None:
    for at in range(12):
        publish(store, at, NAMES[at % 3], str(at), body="x" * 50_000)
    pages = list(walk_back(store, 100, ms(100)))
    assert [title for page in pages for title in titles(page.messages)] == [str(at) for at in reversed(range(12))]
    assert len(pages) > 1
    assert all(sum(map(len, page.messages)) <= PAGE_BYTES + 60_000 for page in pages)
    publish(store, 12, NAMES[0], "large", body="x" * (2 * PAGE_BYTES))
    assert titles(newest(store, None, 100, ms(100)).messages) == ["large"]


def test_one_read_of_a_page_takes_bounded_bytes_of_every_log(store: LogStore) -> None:
    for at in range(12):
        publish(store, at, NAMES[0], str(at), body="x" * 50_000)
    (page,) = store.read_back([(NAMES[0], ())], 101)
    assert sum(len(entry.record) for entry in page.entries) <= PAGE_BYTES + 60_000


def test_a_place_in_a_history_that_is_gone_is_told_not_taken_for_the_end(store: LogStore) -> None:
    publish(store, 0, NAMES[0], "a")
    publish(store, 1, NAMES[0], "b")
    following = newest(store, None, 1, ms(9)).next
    store.forget([NAMES[0]])
    with pytest.raises(BelfryError) as caught:
        newest(store, following, 1, ms(9))
    assert caught.value.code == "history_lost"


def test_a_log_that_is_read_no_more_or_since_lately_takes_no_page_away(store: LogStore) -> None:
    for at in range(4):
        publish(store, at, NAMES[at % 2], str(at))
    following = newest(store, None, 2, ms(9)).next
    fewer = Feed(store).newest("alice", NAMES[:1], following, 9, EVERYTHING, ms(9))
    more = Feed(store).newest("alice", [*NAMES, "topic:other"], following, 9, EVERYTHING, ms(9))
    assert (titles(fewer.messages), titles(more.messages)) == (["0"], ["1", "0"])


@hypothesis_settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(NAMES), max_size=25), st.integers(1, 7))
def test_reading_on_from_a_cursor_shows_every_message_once_and_in_order(
    store: LogStore, sent: list[str], limit: int
) -> None:
    store.forget(NAMES)
    cursor = newest(store, None, 10, ms(0)).cursor
    for at, name in enumerate(sent):
        publish(store, at, name, str(at))
    seen: list[str] = []
    for _ in range(len(sent) + 1):
        pages = store.read([(name, cursor) for name in NAMES])
        page, lost = oldest(start(pages, cursor)[0], pages, limit, ms(100))
        assert not lost
        seen += titles(page.messages)
        cursor = page.cursor
    assert seen == [str(at) for at in range(len(sent))]


def test_a_cursor_whose_history_is_gone_is_told(store: LogStore) -> None:
    publish(store, 0, NAMES[0], "a")
    pages = store.read([(name, ()) for name in NAMES])
    vector = tuple(page.tail for page in pages)
    ahead = (vector[0]._replace(offset=9), *vector[1:])
    assert oldest(ahead, pages, 5, ms(1))[1]
