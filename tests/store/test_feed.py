"""The feed: many logs, one list, no page that misses or repeats anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.catch_up import start
from app.core.cursor import Vector
from app.core.message import parse
from app.core.settings import Settings
from app.store.connection import Connection
from app.store.feed import Feed, FeedPage, Filter, oldest
from app.store.log import LogStore

NAMES = ["user:alice", "everyone", "topic:news"]
NOW = 1_700_000_000.0


@pytest.fixture
def store(connection: Connection) -> LogStore:
    return LogStore(connection, Settings(redis_url="redis://unused.invalid"))


def publish(store: LogStore, at: float, name: str, title: str, **fields: object) -> None:
    body = json.dumps({"to": "alice", "title": title, **fields}).encode()
    message = parse(body, now=NOW + at, new_id=f"{name}-{title}", max_recipients=1)
    store.append([(name, message)])


def newest(store: LogStore, before: Vector | None, limit: int, now_ms: int) -> FeedPage:
    return Feed(store).newest("alice", NAMES, before, limit, Filter(), now_ms)


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


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=25), st.integers(1, 7))
def test_paging_back_shows_every_message_once_whatever_the_limit(
    store: LogStore, sent: list[tuple[str, bool]], limit: int
) -> None:
    store.forget(NAMES)
    for at, (name, expiring) in enumerate(sent):
        publish(store, at, name, str(at), **({"ttl": 1} if expiring else {}))
    seen: list[str] = []
    before: Vector | None = None
    for _ in range(len(sent) + 2):
        page = newest(store, before, limit, ms(100))
        assert len(page.messages) <= limit
        seen += titles(page.messages)
        before = page.next
        if before is None:
            break
    assert before is None
    assert seen == [str(at) for at, (_, expiring) in reversed(list(enumerate(sent))) if not expiring]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
