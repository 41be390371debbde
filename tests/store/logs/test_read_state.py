"""The unread count is exact, whatever users and publishers do, and every change of it is announced."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.core.log.catch_up import Page
from app.core.log.change import Change
from app.core.log.marks import Mark
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.keys import EVERYONE, topic_log, user_log
from app.store.logs.log import SCRIPTS, LogStore
from app.store.logs.read_state import ChangeOutcome, ReadState
from app.transport.connection import Connection
from tests.examples import examples
from tests.waiting import WAIT_SECONDS

ALICE, BOB = "alice", "bob"
LOGS = (user_log(ALICE), EVERYONE, topic_log("news"))


def message(**fields: Any) -> Message:
    body = json.dumps({"to": ALICE, **fields}).encode()
    return parse(body, now=time.time(), new_id="own", max_recipients=10)


class Feed:
    """A store, and what alice and others do to it."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.client = client
        connection = Connection(client, SCRIPTS)
        self.store = LogStore(connection, settings)
        self.read_state = ReadState(self.store, connection, settings)

    def publish(self, name: str, message_id: str, **fields: Any) -> None:
        self.store.append([(name, message(id=message_id, **fields))])

    def change(self, mark: Mark, *ids: str, on: bool = True, user: str = ALICE) -> ChangeOutcome:
        return self.read_state.change(user, (user_log(user), *LOGS[1:]), Change(mark, on, ids))

    def change_all(self, mark: Mark, *, on: bool = True) -> ChangeOutcome:
        return self.read_state.change(ALICE, LOGS, Change(mark, on, None))

    def unread(self, user: str = ALICE) -> int:
        pages = self.store.read([(name, ()) for name in (user_log(user), *LOGS[1:])], user)
        return sum(page.unread(page.top) for page in pages)

    def publish_again(self, name: str, message_id: str, **fields: Any) -> None:
        """As `publish`, once the id is remembered no more, though the entry is still kept."""
        assert self.client.delete(self.store.keys.message_id(name, message_id))
        self.publish(name, message_id, **fields)

    def offsets_of(self, name: str, message_id: str) -> list[int]:
        ((_, offsets),) = self.store.find([name], [message_id])
        return offsets

    def expire(self, name: str, offset: int) -> None:
        """Let an entry's time be over."""
        self.client.zadd(self.store.keys.expiry(name), {str(offset): 1})
        self.client.hset(self.store.keys.meta(name), "expires", 1)


@pytest.fixture
def feed(client: redis.Redis, settings: Settings) -> Feed:
    return Feed(client, settings)


@pytest.fixture
def heard(feed: Feed) -> Iterator[Announcements]:
    with contextlib.closing(feed.client.pubsub(ignore_subscribe_messages=True)) as listener:
        listener.subscribe(*[feed.store.keys.live(name) for name in LOGS])
        yield Announcements(listener)


class Announcements:
    """What was published without being kept, since the last look."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener

    def next(self, seconds: float = WAIT_SECONDS) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            push = self._listener.get_message(timeout=0.02)
            if push and b".0 " in push["data"].partition(b" ")[0] + b" " and b"belfry.born" not in push["data"]:
                record: str = push["data"].partition(b" ")[2].decode()
                return record
        raise AssertionError("nothing was announced")


def test_every_message_is_unread_at_first(feed: Feed) -> None:
    for number, name in enumerate(LOGS):
        feed.publish(name, f"m{number}")
    assert feed.unread() == 3


def test_reading_counts_down_once_and_undoing_it_counts_up_again(feed: Feed) -> None:
    feed.publish(LOGS[0], "a")
    feed.publish(LOGS[1], "b")
    assert feed.change(Mark.READ, "a").counts.unread == 1
    again = feed.change(Mark.READ, "a")
    assert (again.counts.unread, again.changed) == (1, False)
    assert feed.change(Mark.READ, "a", on=False).counts.unread == 2
    assert feed.unread() == 2


def test_reading_all_leaves_what_comes_later_unread(feed: Feed) -> None:
    for number in range(4):
        feed.publish(LOGS[number % 3], f"m{number}")
    assert feed.change_all(Mark.READ).counts.unread == 0
    for number in range(4, 9):
        feed.publish(LOGS[0], f"m{number}")
    assert feed.unread() == 5
    assert feed.change_all(Mark.READ, on=False).counts.unread == 7


def test_a_message_that_is_read_archived_and_removed_counts_once(feed: Feed) -> None:
    feed.publish(LOGS[0], "a")
    feed.publish(LOGS[0], "b")
    for mark in Mark:
        assert feed.change(mark, "a").counts.unread == 1
    assert feed.change(Mark.READ, "a", on=False).counts.unread == 1


def test_one_users_marks_are_nothing_to_another(feed: Feed) -> None:
    feed.publish(EVERYONE, "a")
    feed.change(Mark.READ, "a")
    assert (feed.unread(ALICE), feed.unread(BOB)) == (0, 1)


def test_a_foreign_message_can_not_be_marked(feed: Feed) -> None:
    feed.publish(user_log(BOB), "his")
    outcome = feed.change(Mark.REMOVED, "his", user=ALICE)
    assert (outcome.found, outcome.changed) == (0, False)
    assert feed.unread(BOB) == 1


def test_a_retracted_message_counts_for_nobody(feed: Feed, heard: Announcements) -> None:
    feed.publish(EVERYONE, "a")
    feed.publish(EVERYONE, "b")
    feed.change(Mark.READ, "a")
    heard.next()
    assert feed.store.retract(LOGS, "a") == [EVERYONE]
    assert heard.next() == 'removed {"ids":["a"]}'
    assert (feed.unread(ALICE), feed.unread(BOB)) == (1, 1)
    assert feed.store.retract(LOGS, "a") == []


def test_a_message_that_takes_a_read_ones_place_is_unread(feed: Feed, heard: Announcements) -> None:
    feed.publish(LOGS[0], "a", key="k")
    feed.change(Mark.READ, "a")
    heard.next()
    feed.publish(LOGS[0], "b", key="k")
    assert heard.next() == "updated {}"
    assert feed.unread() == 1


def test_an_expired_message_is_gone_and_its_end_is_announced(feed: Feed, heard: Announcements) -> None:
    feed.publish(LOGS[0], "a", ttl=60)
    feed.publish(LOGS[0], "b", ttl=3_600)
    feed.expire(LOGS[0], 1)
    assert feed.unread() == 1
    assert heard.next() == 'removed {"ids":["a"]}'
    (tail,) = feed.store.tails([LOGS[0]])
    assert tail is not None
    assert tail.expires_ms > time.time() * 1_000


def test_a_message_whose_id_comes_again_after_it_was_forgotten_takes_the_earlier_ones_place(
    feed: Feed, heard: Announcements
) -> None:
    feed.publish(LOGS[0], "m", ttl=60)
    feed.change(Mark.READ, "m")
    heard.next()
    feed.publish_again(LOGS[0], "m", ttl=3_600)
    assert heard.next() == "updated {}"
    assert (feed.unread(), feed.offsets_of(LOGS[0], "m")) == (1, [2])
    assert feed.client.ttl(feed.store.keys.ids(LOGS[0])) > 0
    feed.expire(LOGS[0], 1)
    assert (feed.unread(), feed.offsets_of(LOGS[0], "m")) == (1, [2])
    assert feed.store.retract([LOGS[0]], "m") == [LOGS[0]]
    assert heard.next() == 'removed {"ids":["m"]}'  # and nothing for what expired: it was gone
    assert [page.kept for page in feed.store.read([(LOGS[0], ())])] == [0]
    assert feed.unread() == 0


def test_one_that_takes_its_own_place_by_key_and_id_is_announced_once(feed: Feed, heard: Announcements) -> None:
    feed.publish(LOGS[0], "m", key="k")
    feed.publish_again(LOGS[0], "m", key="k")
    feed.publish(LOGS[0], "n")
    assert feed.store.retract([LOGS[0]], "n") == [LOGS[0]]
    assert [heard.next(), heard.next()] == ["updated {}", 'removed {"ids":["n"]}']
    assert feed.unread() == 1


def test_an_expired_entry_that_no_id_leads_to_is_gone_and_told_too(feed: Feed, heard: Announcements) -> None:
    """Such entries were stored before an id that came again took the earlier message's place."""
    for message_id in ("a", "b"):
        feed.publish(LOGS[0], message_id, ttl=60)
    feed.client.zrem(feed.store.keys.ids(LOGS[0]), "a")
    ((before, _),) = feed.store.find([LOGS[0]], [])
    feed.expire(LOGS[0], 1)
    feed.expire(LOGS[0], 2)
    assert feed.unread() == 0
    assert [heard.next(), heard.next()] == ['removed {"ids":["b"]}', "updated {}"]
    ((after, _),) = feed.store.find([LOGS[0]], [])
    assert after.revision == before.revision + 2


def test_a_change_is_announced_with_what_changed(feed: Feed, heard: Announcements) -> None:
    feed.publish(EVERYONE, "a")
    feed.change(Mark.READ, "a")
    assert heard.next() == 'read {"ids":["a"],"read":true}'
    feed.change(Mark.ARCHIVED, "a")
    assert heard.next() == 'updated {"ids":["a"],"archived":true}'
    feed.change(Mark.REMOVED, "a")
    assert heard.next() == 'removed {"ids":["a"]}'
    feed.change_all(Mark.READ, on=False)
    assert heard.next() == 'read {"all":true,"read":false}'


def test_each_change_has_another_revision_and_a_repeated_one_has_not(feed: Feed) -> None:
    feed.publish(LOGS[0], "a")
    first, second = feed.change(Mark.READ, "a"), feed.change(Mark.READ, "a", on=False)
    third = feed.change(Mark.READ, "a", on=False)
    assert second.counts.revision > first.counts.revision
    assert third.counts.revision == second.counts.revision


def test_marks_of_a_lost_history_don_t_hide_the_next_one(feed: Feed) -> None:
    feed.publish(EVERYONE, "a")
    feed.change(Mark.READ, "a")
    feed.store.forget([EVERYONE])
    feed.publish(EVERYONE, "b")
    assert feed.unread() == 1


def test_marks_last_as_long_as_the_messages(feed: Feed, settings: Settings) -> None:
    feed.publish(LOGS[0], "a")
    feed.change(Mark.READ, "a")
    assert 0 < feed.client.ttl(feed.store.keys.marks(ALICE)) <= settings.history_seconds


def test_a_forgotten_user_has_no_marks(feed: Feed) -> None:
    feed.publish(EVERYONE, "a")
    feed.change(Mark.READ, "a")
    feed.read_state.forget(ALICE)
    assert feed.unread() == 1


def test_a_change_that_was_long_on_its_way_harms_no_later_mark(
    feed: Feed, connection: Connection, settings: Settings
) -> None:
    feed.publish(LOGS[0], "m0")
    found = feed.store.find(LOGS, ["m0"])

    class Slow(LogStore):
        def find(self, names: Sequence[str], message_ids: Sequence[str]) -> list[tuple[Page, list[int]]]:
            assert (tuple(names), tuple(message_ids)) == (LOGS, ("m0",))
            return found

    for number in range(1, 25):
        feed.publish(LOGS[0], f"m{number}")
    feed.change(Mark.READ, "m24")
    slow = ReadState(Slow(connection, settings), connection, settings)
    slow.change(ALICE, LOGS, Change(Mark.READ, True, ("m0",)))
    assert feed.unread() == settings.history_length - 1


class Recount(RuleBasedStateMachine):
    """Whatever happens in whichever order: the store's count is what counting each message by hand gives."""

    HISTORY = 12
    logs = st.sampled_from(LOGS)
    picks = st.integers(0, 60)
    flags = st.booleans()
    marks = st.sampled_from(Mark)

    @initialize()
    def start(self) -> None:
        settings = Settings(redis_url="redis://unused.invalid", history_length=self.HISTORY)
        self.feed = Feed(fakeredis.FakeRedis(), settings)
        self.number = 0
        self.kept: dict[str, list[str]] = {name: [] for name in LOGS}
        self.offsets: dict[str, int] = {}
        self.keys: dict[tuple[str, int], str] = {}
        self.marked: dict[Mark, set[str]] = {mark: set() for mark in Mark}
        self.tops = dict.fromkeys(LOGS, 0)

    @rule(name=logs, key=st.none() | st.integers(0, 2), lives=flags)
    def publish(self, name: str, key: int | None, lives: bool) -> None:
        self.number += 1
        message_id = f"m{self.number}"
        fields: dict[str, Any] = ({"ttl": 1_000} if lives else {}) | ({"key": f"k{key}"} if key is not None else {})
        self.feed.publish(name, message_id, **fields)
        if key is not None:
            self._gone(name, self.keys.get((name, key)))
            self.keys[(name, key)] = message_id
        self._come(name, message_id)

    @rule(pick=picks, lives=flags)
    def publish_again(self, pick: int, lives: bool) -> None:
        """It takes the earlier one's place, and is unread whatever that one was."""
        message_id = f"m{pick}"
        for name in LOGS:
            if message_id in self.kept[name]:
                self.feed.publish_again(name, message_id, **({"ttl": 1_000} if lives else {}))
                self.keys = {place: held for place, held in self.keys.items() if held != message_id}
                self.marked = {mark: ids - {message_id} for mark, ids in self.marked.items()}
                self._gone(name, message_id)
                self._come(name, message_id)

    @rule(name=logs, count=st.integers(5, 15))
    def publish_many(self, name: str, count: int) -> None:
        """So that the bit strings' base moves on, and earlier marks are trimmed."""
        for _ in range(count):
            self.publish(name, None, False)

    @rule(mark=marks, picked=st.lists(picks, max_size=4), on=flags)
    def change(self, mark: Mark, picked: list[int], on: bool) -> None:
        ids = {f"m{number}" for number in picked}
        outcome = self.feed.change(mark, *sorted(ids), on=on)
        present = ids & self._present()
        self.marked[mark] = self.marked[mark] | present if on else self.marked[mark] - present
        assert (outcome.counts.unread, outcome.found) == (self._recount(), len(present))

    @rule(mark=marks, on=flags)
    def change_all(self, mark: Mark, on: bool) -> None:
        outcome = self.feed.change_all(mark, on=on)
        self.marked[mark] = self._present() if on else set()
        assert outcome.counts.unread == self._recount()

    @rule(name=logs, pick=picks)
    def retract(self, name: str, pick: int) -> None:
        message_id = f"m{pick}"
        found = self.feed.store.retract([name], message_id)
        assert bool(found) == (message_id in self.kept[name])
        self._gone(name, message_id)

    @rule(name=logs, pick=picks)
    def expire(self, name: str, pick: int) -> None:
        message_id = f"m{pick}"
        if message_id in self.kept[name]:
            self.feed.expire(name, self.offsets[message_id])
            self._gone(name, message_id)

    @rule(name=logs)
    def forget(self, name: str) -> None:
        self.feed.store.forget([name])
        self.kept[name], self.tops[name] = [], 0
        self.keys = {place: held for place, held in self.keys.items() if place[0] != name}

    @invariant()
    def counts_agree(self) -> None:
        assert self.feed.unread() == self._recount()
        pages = self.feed.store.read([(name, ()) for name in LOGS])
        assert [page.kept for page in pages] == [len(self.kept[name]) for name in LOGS]
        assert [page.between(0) for page in pages] == [page.kept for page in pages]

    def _present(self) -> set[str]:
        return {message_id for kept in self.kept.values() for message_id in kept}

    def _recount(self) -> int:
        return len(self._present() - set().union(*self.marked.values()))

    def _come(self, name: str, message_id: str) -> None:
        self.tops[name] += 1
        self.offsets[message_id] = self.tops[name]
        self.kept[name].append(message_id)
        oldest = self.tops[name] - self.HISTORY + 1
        self.kept[name] = [each for each in self.kept[name] if self.offsets[each] >= oldest]

    def _gone(self, name: str, message_id: str | None) -> None:
        if message_id in self.kept[name]:
            self.kept[name].remove(message_id)


TestRecount = Recount.TestCase
TestRecount.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
