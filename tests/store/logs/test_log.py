"""The log keeps its promises: contiguous offsets, once per id, a bounded history that never lies about its bounds."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from hashlib import sha1
from typing import Any, NamedTuple

import pytest
import redis

from app.core.errors import BelfryError
from app.core.log.catch_up import on_page, start
from app.core.log.cursor import EPOCH_LENGTH, Position
from app.core.message import TTL_MAX_SECONDS, Message, parse
from app.core.settings import Settings
from app.store.logs.lineage import EPOCH_ALPHABET
from app.store.logs.log import (
    PAGE_BYTES,
    PAGE_ENTRIES,
    ROUND_TRIP_COMMANDS,
    SCRIPTS,
    Appended,
    LogStore,
    Status,
    new_epoch,
)
from app.transport.connection import Command, Connection, Reply, checked
from tests.servers import RedisServer

LOG = "user:alice"
TRIM_MOST = 1_000  # as in open.lua


def message(**fields: Any) -> Message:
    body = json.dumps({"to": "alice", **fields}).encode()
    return parse(body, now=time.time(), new_id=f"own-{fields.get('title')}", max_recipients=10)


@pytest.fixture
def store(connection: Connection, settings: Settings) -> LogStore:
    return LogStore(connection, settings)


def append(store: LogStore, *messages: Message) -> list[Appended]:
    return store.append([(LOG, each) for each in messages])


def offsets(store: LogStore, after: int = 0) -> list[int]:
    return [entry.offset for entry in store.read([(LOG, (Position(epoch(store), after),))])[0].entries]


def positions(store: LogStore, names: Sequence[str]) -> list[Position | None]:
    return [tail.position if tail else None for tail in store.tails(names)]


def epoch(store: LogStore) -> str:
    return store.read([(LOG, ())])[0].epoch


def test_offsets_are_one_two_three_within_one_epoch(store: LogStore) -> None:
    outcomes = append(store, *[message(title=str(n)) for n in range(4)])
    assert [outcome.position.offset for outcome in outcomes] == [1, 2, 3, 4]
    assert len({outcome.position.epoch for outcome in outcomes}) == 1
    assert {outcome.status for outcome in outcomes} == {Status.APPENDED}


def test_epochs_are_of_one_length_and_use_every_letter_equally_often() -> None:
    epochs = [new_epoch() for _ in range(20_000)]
    assert {len(each) for each in epochs} == {EPOCH_LENGTH}
    counts = Counter("".join(epochs))
    expected = len(epochs) * EPOCH_LENGTH / len(EPOCH_ALPHABET)  # about 1,935, with a standard deviation of 44
    assert counts.keys() == set(EPOCH_ALPHABET)
    assert all(0.8 * expected < count < 1.2 * expected for count in counts.values())


def test_what_was_appended_is_read_back_byte_by_byte(store: LogStore) -> None:
    sent = message(id="m", title='Zoë\u2028 "quoted"', ttl=TTL_MAX_SECONDS)
    append(store, sent)
    (entry,) = store.read([(LOG, (Position(epoch(store), 0),))])[0].entries
    assert (entry.offset, entry.record, entry.expires_ms) == (1, sent.record, sent.expires_ms)


def test_the_same_id_again_answers_the_first_offset_and_appends_nothing(store: LogStore) -> None:
    (first,) = append(store, message(id="m", title="a"))
    append(store, message(title="between"))
    (again,) = append(store, message(id="m", title="a"))
    assert (again.status, again.position) == (Status.DUPLICATE, first.position)
    assert offsets(store) == [1, 2]


class Again(Connection):
    """Sends everything twice, as after a lost answer."""

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        super().send(commands)
        return super().send(commands)


@pytest.mark.parametrize("fields", [{}, {"transient": True}])
def test_what_is_sent_again_for_want_of_an_answer_is_answered_as_the_first_time_and_appends_nothing(
    client: redis.Redis, settings: Settings, fields: dict[str, Any]
) -> None:
    """It is no duplicate to its publisher, who sent it once."""
    store = LogStore(Again(client, SCRIPTS), settings)
    sent = [message(id=f"m{number}", title=str(number), **fields) for number in range(2)]
    kept = [] if fields else [1, 2]
    outcomes = append(store, *sent)
    assert [(outcome.status, outcome.position.offset) for outcome in outcomes] == [
        (Status.APPENDED, offset) for offset in kept or [0, 0]
    ]
    assert offsets(store) == kept
    assert [outcome.status for outcome in append(store, *sent)] == [Status.DUPLICATE] * 2


def test_the_same_id_with_other_content_is_told_apart_and_appends_nothing(store: LogStore) -> None:
    append(store, message(id="m", title="a"))
    (other,) = append(store, message(id="m", title="b"))
    assert other.status is Status.REUSED
    assert offsets(store) == [1]


def test_an_id_belongs_to_its_log(store: LogStore) -> None:
    sent = message(id="m", title="a")
    outcomes = store.append([(LOG, sent), ("user:bob", sent)])
    assert [outcome.status for outcome in outcomes] == [Status.APPENDED, Status.APPENDED]


def test_an_id_is_remembered_as_long_as_the_setting_says_and_our_own_only_for_retries(
    store: LogStore, client: redis.Redis, settings: Settings
) -> None:
    append(store, message(id="m"), message(title="x"))
    assert 0 < client.ttl(store.keys.message_id(LOG, "m")) <= settings.dedup_seconds
    assert 60 < client.ttl(store.keys.message_id(LOG, "own-x")) <= settings.own_id_seconds


def test_only_the_last_entries_are_kept_and_the_oldest_is_told(store: LogStore) -> None:
    append(store, *[message(title=str(n)) for n in range(8)])
    page = store.read([(LOG, (Position(epoch(store), 3),))])[0]
    assert [entry.offset for entry in page.entries] == [4, 5, 6, 7, 8]
    assert (page.top, page.oldest, page.kept) == (8, 4, 5)


def test_the_oldest_stays_arithmetic_after_single_entries_were_retracted(store: LogStore) -> None:
    append(store, *[message(title=str(n)) for n in range(5)])
    store.retract([LOG], "own-0")
    store.retract([LOG], "own-2")
    page = store.read([(LOG, (Position(epoch(store), 0),))])[0]
    assert (page.oldest, [entry.offset for entry in page.entries]) == (1, [2, 4, 5])


def test_a_page_of_lost_history_holds_nothing(store: LogStore) -> None:
    append(store, *[message(title=str(n)) for n in range(8)])
    for offset in (0, 2, 9):
        assert not store.read([(LOG, (Position(epoch(store), offset),))])[0].entries


def test_entries_older_than_the_setting_are_trimmed_and_the_oldest_moves_on(
    connection: Connection, client: redis.Redis
) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid", history_seconds=60))
    append(store, message(title="old"), message(title="older than it looks"), message(title="new"))
    records: Any = client.xrange(store.keys.log(LOG))
    client.delete(store.keys.log(LOG))
    for (entry_id, fields), age in zip(records, (100, 90, 5), strict=True):
        client.xadd(store.keys.log(LOG), {b"r": fields[b"r"], b"t": int(fields[b"t"]) - age}, id=entry_id)
    client.hincrby(store.keys.meta(LOG), "aged", -100)  # when the first of them was looked at
    page = store.read([(LOG, ())])[0]
    assert (page.top, page.oldest, page.kept) == (3, 3, 1)
    appended = int(records[0][1][b"t"])
    next_look_from = int(client.hget(store.keys.meta(LOG), "aged") or 0)
    assert appended - 5 <= next_look_from <= appended


def test_log_and_meta_expire_together(store: LogStore, client: redis.Redis, settings: Settings) -> None:
    append(store, message(title="a", key="k"))
    keys = (store.keys.log(LOG), store.keys.meta(LOG), store.keys.replaced(LOG), store.keys.ids(LOG))
    held_seconds = settings.history_seconds * 17 // 16
    assert all(settings.history_seconds < client.ttl(key) <= held_seconds for key in keys)


def test_a_lost_epoch_drops_what_the_stream_still_holds(store: LogStore, client: redis.Redis) -> None:
    append(store, message(title="a", key="k"), message(id="m", title="b"))
    before = epoch(store)
    client.delete(store.keys.meta(LOG))
    outcomes = append(store, message(id="m", title="b"), message(title="c", key="k"))
    assert [(outcome.status, outcome.position.offset) for outcome in outcomes] == [
        (Status.APPENDED, 1),
        (Status.APPENDED, 2),
    ]
    assert epoch(store) != before
    assert offsets(store) == [1, 2]


class TestAStreamThatWasEvicted:
    """Under an evicting policy Redis deletes one key of a log and leaves the others."""

    def test_begins_a_new_epoch_in_which_no_position_is_given_twice(self, store: LogStore, client: redis.Redis) -> None:
        before = [each.position for each in append(store, message(id="a", title="a", key="k"), message(title="b"))]
        client.delete(store.keys.log(LOG))
        page = store.read([(LOG, (before[0],))])[0]
        assert (page.epoch != before[0].epoch, page.top, page.oldest, page.kept, page.after) == (True, 2, 3, 0, None)
        assert page.former == ()
        assert store.read([(LOG, (Position(page.epoch, 2),))])[0].after == 2, "it began once"
        (after,) = append(store, message(title="c", key="k"))
        assert after.position == Position(page.epoch, 3)
        (page,) = store.read([(LOG, (Position(page.epoch, 2),))])
        assert [entry.offset for entry in page.entries] == [3]

    def test_is_noticed_by_an_append_and_what_was_sent_is_not_sent_again(
        self, store: LogStore, client: redis.Redis
    ) -> None:
        (first,) = append(store, message(id="a", title="a"))
        client.delete(store.keys.log(LOG))
        again, other = append(store, message(id="a", title="a"), message(title="b"))
        assert (again.status, again.position.offset) == (Status.DUPLICATE, 1)
        assert (other.status, other.position.offset) == (Status.APPENDED, 2)
        assert other.position.epoch != first.position.epoch
        assert store.read([(LOG, (first.position,))])[0].after is None

    def test_one_that_merely_became_empty_goes_on(self, store: LogStore, client: redis.Redis) -> None:
        (first,) = append(store, message(id="a", title="a"))
        assert store.retract([LOG], "a") == [LOG]
        assert client.xlen(store.keys.log(LOG)) == 0
        (second,) = append(store, message(title="b"))
        assert second.position == Position(first.position.epoch, 2)
        assert store.read([(LOG, (first.position,))])[0].after == 1


class Later(NamedTuple):
    """Posts commands to a connection. They run when the reply is asked for."""

    connection: Connection

    def post(self, commands: Sequence[Command]) -> Waiting:
        return Waiting(self.connection, commands)

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        return self.connection.run(commands)


class Waiting(NamedTuple):
    connection: Connection
    commands: Sequence[Command]

    def get(self) -> list[Reply]:
        return self.connection.run(self.commands)


class TestAStreamThatDoesNotFitItsMeta:
    """Somebody deleted entries, or restored one of the two keys from an earlier copy."""

    def test_deleted_entries_are_told_and_the_others_stay(self, store: LogStore, client: redis.Redis) -> None:
        before = [each.position for each in append(store, *[message(id=name, title=name) for name in "abcd"])]
        client.xdel(store.keys.log(LOG), "2-0")
        page = store.read([(LOG, (before[3],))])[0]
        assert (page.epoch != before[0].epoch, page.top, page.oldest, page.kept, page.after) == (True, 4, 1, 3, None)
        assert offsets(store) == [1, 3, 4]
        assert epoch(store) == page.epoch, "it began once"
        assert store.find([LOG], ["a", "b"])[0][1] == [1]
        again, other = append(store, message(id="b", title="b"), message(title="e"))
        assert (again.status, other.position) == (Status.DUPLICATE, Position(page.epoch, 5))

    def test_an_earlier_copy_of_the_stream_is_told_and_no_offset_is_given_twice(
        self, store: LogStore, client: redis.Redis
    ) -> None:
        append(store, message(title="a"), message(title="b"))
        copy: Any = client.xrange(store.keys.log(LOG))
        (seen,) = append(store, message(title="c"))
        client.delete(store.keys.log(LOG))
        for entry, fields in copy:
            client.xadd(store.keys.log(LOG), fields, id=entry)
        page = store.read([(LOG, (seen.position,))])[0]
        assert (page.after, page.kept, page.oldest, page.top) == (None, 2, 1, 3)
        (after,) = append(store, message(title="d"))
        assert after.position == Position(page.epoch, 4)
        assert offsets(store) == [1, 2, 4]

    def test_an_earlier_copy_of_the_meta_is_told_and_messages_are_appended_again(
        self, store: LogStore, client: redis.Redis
    ) -> None:
        append(store, message(title="a"))
        meta: Any = client.hgetall(store.keys.meta(LOG))
        (seen,) = append(store, message(title="b"))
        client.delete(store.keys.meta(LOG))
        client.hset(store.keys.meta(LOG), mapping=meta)
        page = store.read([(LOG, (seen.position,))])[0]
        assert (page.after, page.kept, page.top) == (None, 2, 2)
        (after,) = append(store, message(title="c"))
        assert after.position == Position(page.epoch, 3)

    @pytest.mark.parametrize("posts", [False, True])
    def test_a_publish_finds_an_earlier_copy_of_the_meta_too_and_its_repetition_is_appended(
        self, connection: Connection, settings: Settings, client: redis.Redis, *, posts: bool
    ) -> None:
        store = LogStore(connection, settings, posts=Later(connection) if posts else None)
        append(store, message(title="a"))
        meta: Any = client.hgetall(store.keys.meta(LOG))
        (seen,) = append(store, message(title="b"))
        client.delete(store.keys.meta(LOG))
        client.hset(store.keys.meta(LOG), mapping=meta)
        with pytest.raises(BelfryError) as refusal:
            store.post([(LOG, message(title="c"))])()
        assert refusal.value.code == "store_unavailable"
        (after,) = append(store, message(title="c"))
        assert after.position.offset == 3
        assert store.read([(LOG, (seen.position,))])[0].after is None

    def test_an_earlier_copy_of_the_meta_that_counts_as_many_entries_is_told_too(
        self, store: LogStore, client: redis.Redis
    ) -> None:
        append(store, *[message(title=str(number)) for number in range(3)])
        meta: Any = client.hgetall(store.keys.meta(LOG))
        (seen,) = append(store, message(title="b"))
        client.xdel(store.keys.log(LOG), "1-0")
        client.delete(store.keys.meta(LOG))
        client.hset(store.keys.meta(LOG), mapping=meta)
        with pytest.raises(BelfryError):
            append(store, message(title="c"))
        (after,) = append(store, message(title="c"))
        assert (after.position.offset, after.position.epoch != seen.position.epoch) == (5, True)

    def test_an_entry_that_redis_refuses_is_not_counted(self, store: LogStore, client: redis.Redis) -> None:
        (first,) = append(store, message(title="a"))
        kept, content = client.dump(store.keys.log(LOG)) or b"", store.read([(LOG, ())])[0]
        client.delete(store.keys.log(LOG))
        client.set(store.keys.log(LOG), "of another type")
        with pytest.raises(BelfryError):
            append(store, message(title="refused"))
        client.restore(store.keys.log(LOG), 0, kept, replace=True)
        assert store.read([(LOG, ())])[0] == content
        (after,) = append(store, message(title="b"))
        assert after.position == Position(first.position.epoch, 2)

    def test_entries_that_left_on_purpose_are_none_that_lack(self, store: LogStore) -> None:
        (first, *_) = append(store, *[message(title=str(number), key=str(number % 2)) for number in range(12)])
        store.retract([LOG], "own-11")
        page = store.read([(LOG, (first.position,))])[0]
        assert (page.epoch, page.kept) == (first.position.epoch, 1)
        assert page.is_whole


def test_whatever_only_reads_creates_no_key(store: LogStore, client: redis.Redis) -> None:
    names = [LOG, "topic:room-1", "everyone", "run:alice/r"]
    assert store.lineage.losses
    before = client.keys("*")
    for _ in range(2):
        store.read([(name, ()) for name in names])
        store.read_back([(name, ()) for name in names], 10)
        store.find(names, ["m"])
        store.survey(names, [("alice", names)])
        store.tails(names)
        store.hold(names)
        assert not store.retract(names, "m")
    assert client.keys("*") == before


def test_an_unknown_log_has_an_empty_page_and_a_tail_that_stay_the_same(store: LogStore) -> None:
    page = store.read([(LOG, ())])[0]
    assert (page.top, page.oldest, page.kept, page.after) == (0, 1, 0, None)
    assert store.read([(LOG, (page.tail,))])[0] == page._replace(after=0)
    assert positions(store, [LOG]) == [page.tail]


def test_a_log_whose_meta_alone_was_evicted_is_a_loss_also_to_who_stood_before_its_first_message(
    store: LogStore, client: redis.Redis
) -> None:
    begin = store.read([(LOG, ())])[0].tail
    append(store, message(title="a"))
    client.delete(store.keys.meta(LOG))
    for _ in range(2):
        assert on_page(begin, store.read([(LOG, (begin,))])[0]).lost


def test_unknown_logs_have_different_epochs(store: LogStore) -> None:
    pages = store.read([(f"topic:{number}", ()) for number in range(100)])
    assert len({page.epoch for page in pages}) == 100


def test_who_stood_before_the_first_message_reads_it(store: LogStore) -> None:
    begin, other = [page.tail for page in store.read([(LOG, ()), ("everyone", ())])]
    first = append(store, message(title="a"), message(title="b"))[0].position
    assert first.epoch != begin.epoch
    page = store.read([(LOG, (other, begin))])[0]
    reading = on_page(begin, page)
    assert ([entry.offset for entry in reading.entries], reading.lost) == ([1, 2], False)
    assert start([page], (begin,)) == ((Position(first.epoch, 0),), False)
    assert start(store.read([(LOG, (other,))]), (other,))[1]


def test_who_stood_before_the_first_message_is_told_where_it_is_not_kept_any_more(store: LogStore) -> None:
    begin = store.read([(LOG, ())])[0].tail
    append(store, *[message(title=str(number)) for number in range(6)])
    assert on_page(begin, store.read([(LOG, (begin,))])[0]).lost


def test_an_offset_that_an_unknown_log_never_had_is_told(store: LogStore) -> None:
    begin = store.read([(LOG, ())])[0].tail
    append(store, message(title="a"), message(title="b"))
    assert on_page(begin._replace(offset=1), store.read([(LOG, (begin._replace(offset=1),))])[0]).lost


@pytest.mark.parametrize("at", [0, 399, 400, 799, 1_199])
def test_a_position_in_an_unknown_log_counts_for_less_time_than_a_message_is_kept(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """A span has 400 seconds here. Whatever came after the position and is gone is told."""
    store = store_at(client, monkeypatch, lambda: now)
    now = 1_200_000_000 + at
    begin = store.read([(LOG, ())])[0].tail
    until = now - now % 400 + 2 * 400
    for later, counts in ((now, True), (until - 1, True), (until, False), (now + 1_200, False)):
        now = later
        assert on_page(begin, store.read([(LOG, (begin,))])[0]).lost is not counts
        append(store, message(title="a"))
        assert on_page(begin, store.read([(LOG, (begin,))])[0]).lost is not counts
        store.forget([LOG])


def test_a_position_before_the_first_message_counts_as_long_as_the_log_is_there(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(client, monkeypatch, lambda: now)
    now = 1_200_000_000
    begin = store.read([(LOG, ())])[0].tail
    now += 799
    append(store, message(title="a"))
    now += 1_100
    page = store.read([(LOG, (begin,))])[0]
    assert [entry.offset for entry in on_page(begin, page).entries] == [1]


def store_at(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, now: Callable[[], int]) -> LogStore:
    """A store whose scripts are told the time by the test. Entries are kept for 1,200 seconds."""
    settings = Settings(redis_url="redis://unused.invalid", history_seconds=1_200)
    clock = "redis.call('GET', 'now')"
    for script in SCRIPTS:
        if "redis.call('TIME')" in script.text:
            monkeypatch.setattr(script, "text", script.text.replace("redis.call('TIME')", "{" + clock + ", 0}"))
            monkeypatch.setattr(script, "sha", sha1(script.text.encode(), usedforsecurity=False).hexdigest())

    class Dated(Connection):
        def send(self, commands: Sequence[Command]) -> list[Reply]:
            return super().send([("SET", "now", now()), *commands])[1:]

    return LogStore(Dated(client, SCRIPTS), settings)


def test_a_cursors_position_is_found_by_epoch_among_those_of_other_logs(store: LogStore) -> None:
    append(store, message(title="a"), message(title="b"))
    cursor = (Position("zzzzzz", 9), Position(epoch(store), 1))
    page = store.read([(LOG, cursor)])[0]
    assert (page.after, [entry.offset for entry in page.entries]) == (1, [2])
    assert store.read([(LOG, cursor[:1])])[0].after is None


def test_a_later_message_with_the_same_key_takes_the_earlier_ones_place(store: LogStore) -> None:
    append(
        store, message(title="1", key="k"), message(title="x"), message(title="2", key="k"), message(title="3", key="j")
    )
    assert offsets(store) == [2, 3, 4]


def expiries(store: LogStore, client: redis.Redis) -> dict[int, int]:
    """When the entries expire of which it is remembered, Unix ms, by their offsets."""
    found: Any = client.zrange(store.keys.expiry(LOG), 0, -1, withscores=True)
    return {int(offset): int(at) for offset, at in found}


def test_the_expiry_of_what_was_trimmed_is_forgotten(store: LogStore, client: redis.Redis) -> None:
    for number in range(50):
        append(store, message(id=f"m{number}", ttl=1_000 + number))
    kept = expiries(store, client)
    assert sorted(kept) == offsets(store, 45) == [46, 47, 48, 49, 50]
    (tail,) = store.tails([LOG])
    assert tail is not None
    assert tail.expires_ms == min(kept.values())


def test_a_log_whose_last_expiring_message_was_trimmed_pays_for_none(store: LogStore, client: redis.Redis) -> None:
    append(store, message(id="first", ttl=1_000), *[message(id=f"m{number}") for number in range(4)])
    assert client.hexists(store.keys.meta(LOG), "expires")
    append(store, message(id="last"))
    assert expiries(store, client) == {}
    assert not client.hexists(store.keys.meta(LOG), "expires")
    append(store, message(id="again", ttl=1_000))
    assert client.hexists(store.keys.meta(LOG), "expires")


@pytest.mark.parametrize("order", [(100, 5_000, 900), (5_000, 900, 100)])
def test_it_is_known_when_the_first_of_a_log_s_messages_expires(store: LogStore, order: tuple[int, ...]) -> None:
    sent = [message(id=f"m{seconds}", ttl=seconds) for seconds in order]
    append(store, *sent)
    (tail,) = store.tails([LOG])
    assert tail is not None
    assert tail.expires_ms == min(each.expires_ms for each in sent)


def test_a_log_that_was_much_longer_is_trimmed_in_portions(connection: Connection, client: redis.Redis) -> None:
    """Nobody waits for thousands of entries to go, and Lua passes no more than some thousand arguments at once."""
    length = TRIM_MOST + 20
    long, short = (
        LogStore(connection, Settings(redis_url="redis://unused.invalid", history_length=most)) for most in (length, 10)
    )
    append(long, *[message(id=f"m{number}", ttl=1_000) for number in range(length)])
    for number, (oldest, newest) in enumerate([(TRIM_MOST + 1, length + 1), (length - 7, length + 2)]):
        append(short, message(id=f"short{number}"))
        assert offsets(short, oldest - 1) == list(range(oldest, newest + 1))[:PAGE_ENTRIES]
        assert offsets(short, oldest - 2) == []
        assert sorted(expiries(short, client)) == list(range(oldest, length + 1))


def test_a_live_only_message_takes_no_offset_and_is_not_kept(store: LogStore) -> None:
    outcomes = append(store, message(title="a"), message(title="b", transient=True), message(title="c"))
    assert [outcome.position.offset for outcome in outcomes] == [1, 0, 2]
    assert offsets(store) == [1, 2]


def test_a_live_only_message_is_sent_once_per_id_too(store: LogStore) -> None:
    outcomes = append(store, *[message(id="m", transient=True)] * 2)
    assert [outcome.status for outcome in outcomes] == [Status.APPENDED, Status.DUPLICATE]


def test_every_append_is_announced_with_its_position_and_a_duplicate_is_not(
    store: LogStore, client: redis.Redis
) -> None:
    sent = message(id="m", title="a")
    vacant = epoch(store)
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(store.keys.live(LOG))
        listener.get_message(timeout=60)
        outcomes = append(store, sent, sent, message(title="b", transient=True))
        born = listener.get_message(timeout=60)
        heard = [listener.get_message(timeout=60) for _ in range(2)]
        nothing_more = listener.get_message(timeout=0.01)
    assert [outcome.online for outcome in outcomes] == [True, True, True]
    name = epoch(store)
    assert born is not None
    assert born["data"].startswith(f"{name}.0 belfry.born {vacant} ".encode())
    assert [each["data"].split(b" ")[0].decode() for each in heard if each] == [f"{name}.1", f"{name}.0"]
    assert heard[0] is not None
    assert heard[0]["data"] == f"{name}.1 ".encode() + sent.record
    assert nothing_more is None


def test_nobody_listening_is_told(store: LogStore) -> None:
    assert not append(store, message(title="a"))[0].online


def test_a_page_is_bounded_in_entries_and_bytes(connection: Connection) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid"))
    append(store, *[message(title=str(n)) for n in range(PAGE_ENTRIES + 5)])
    assert offsets(store) == list(range(1, PAGE_ENTRIES + 1))
    store.forget([LOG])
    append(store, *[message(id=str(n), title="x" * 50_000) for n in range(8)])
    assert len(offsets(store)) == PAGE_BYTES // 50_000
    assert len(offsets(store, after=5)) == 3


def test_a_page_holds_one_entry_however_large(connection: Connection) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid"))
    append(store, message(title="x" * (PAGE_BYTES + 1)), message(title="y"))
    assert offsets(store) == [1]


def test_reading_back_begins_at_the_newest_or_before_a_position(store: LogStore) -> None:
    append(store, *[message(title=str(n)) for n in range(4)])
    newest = store.read_back([(LOG, ())], 2)[0]
    assert [entry.offset for entry in newest.entries] == [4, 3]
    before = store.read_back([(LOG, (Position(newest.epoch, 3),))], 10)[0]
    assert [entry.offset for entry in before.entries] == [2, 1]
    assert not store.read_back([(LOG, (Position("zzzzzz", 3),))], 10)[0].entries


def test_tails_come_in_bulk_and_a_run_s_log_that_is_gone_has_none(store: LogStore) -> None:
    (outcome,) = append(store, message(title="a"))
    assert positions(store, [LOG, "run:alice/gone"]) == [outcome.position, None]


def test_a_forgotten_log_begins_anew(store: LogStore) -> None:
    append(store, message(id="m", title="a"))
    before = epoch(store)
    store.forget([LOG])
    assert positions(store, [LOG]) == [store.read([(LOG, ())])[0].tail]
    (outcome,) = append(store, message(id="m", title="a"))
    assert (outcome.status, outcome.position.offset) == (Status.APPENDED, 1)
    assert outcome.position.epoch != before


def test_more_commands_than_a_round_trip_holds_are_answered_in_order(store: LogStore) -> None:
    names = [f"user:u{n}" for n in range(450)]
    outcomes = store.append([(name, message(id="m")) for name in names])
    assert len(outcomes) == 450
    assert positions(store, names) == [outcome.position for outcome in outcomes]


def test_all_keys_of_a_log_lie_in_one_cluster_slot(store: LogStore) -> None:
    keys = store.keys
    names = [keys.log(LOG), keys.meta(LOG), keys.replaced(LOG), keys.live(LOG), keys.message_id(LOG, "a:b")]
    assert {name.partition("{")[2].partition("}")[0] for name in names} == {LOG}


def test_scripts_are_loaded_again_where_the_server_forgot_them(store: LogStore, client: redis.Redis) -> None:
    append(store, message(title="a"))
    client.script_flush()
    outcomes = append(store, message(title="b"), message(title="c"))
    assert [outcome.position.offset for outcome in outcomes] == [2, 3]


@pytest.mark.parametrize("message_id", ["new", "known"])
def test_a_store_without_memory_keeps_nothing_of_a_message_and_is_read_as_before(
    redis_server: RedisServer, settings: Settings, message_id: str
) -> None:
    """Also in a log that is there: Redis lets a script go on that began with a write which takes no room."""
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        client.flushall()
        store = LogStore(Connection(client, SCRIPTS), settings)
        append(store, message(id="known", title="1"))
        before = positions(store, [LOG])
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(BelfryError) as refusal:
                append(store, message(id=message_id, title="2"))
            assert refusal.value.code == "store_full"
            assert positions(store, [LOG]) == before
            assert offsets(store) == [1]
            assert store.read([("user:new", ())])[0].top == 0
        finally:
            client.config_set("maxmemory", "0")
        assert append(store, message(id="later", title="2"))[0].position.offset == 2


class Filled(Connection):
    """Has room in the round trips of these numbers, from 0, only; posts them one after the other."""

    roomy: Container[int] = range(9)
    trips = 0

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        self._client.config_set("maxmemory", "0" if self.trips in self.roomy else "1")
        self.trips += 1
        try:
            return super().send(commands)
        finally:
            self._client.config_set("maxmemory", "0")

    def post(self, commands: Sequence[Command]) -> Sent:
        replies = self.send(commands)
        return Sent(lambda: checked(replies))


class Sent(NamedTuple):
    """What was posted and done at once."""

    get: Callable[[], list[Reply]]


@pytest.mark.parametrize("way", ["append", "post"])
@pytest.mark.parametrize(
    ("roomy", "code"), [((), "store_full"), ((0,), "store_unavailable"), ((0, 1), "store_unavailable")]
)
def test_a_store_that_fills_up_in_mid_message_does_not_say_that_nothing_was_kept(
    redis_server: RedisServer, settings: Settings, way: str, roomy: Container[int], code: str
) -> None:
    refused = filled(redis_server, settings, way, roomy)
    assert refused.code == code


def test_nor_where_only_a_later_round_trip_found_room(redis_server: RedisServer, settings: Settings) -> None:
    assert filled(redis_server, settings, "post", (2,)).code == "store_unavailable"


def filled(server: RedisServer, settings: Settings, way: str, roomy: Container[int]) -> BelfryError:
    """How a message to so many that it takes three round trips is refused."""
    with redis.Redis.from_url(server.url, protocol=2) as client:
        client.flushall()
        connection = Filled(client, SCRIPTS)
        store = LogStore(connection, settings, posts=connection)
        store.append([("user:a", message(title="1")), ("user:b", message(title="1"))])  # asks whether it's a cluster
        connection.trips, connection.roomy = 0, roomy
        one = message(id="m", title="m")
        appends = [(f"user:u{number}", one) for number in range(2 * ROUND_TRIP_COMMANDS + 1)]
        with pytest.raises(BelfryError) as refusal:
            store.append(appends) if way == "append" else store.post(appends)()
        return refusal.value


@contextlib.contextmanager
def lacking(server: RedisServer, settings: Settings, command: str, repeated: Message) -> Iterator[LogStore]:
    """A log to which a message was repeated by a user without the right to one command, which has it again now."""
    with redis.Redis.from_url(server.url) as administrator:
        administrator.flushall()
        administrator.execute_command("ACL", "SETUSER", "app", "reset", "on", ">p", "~*", "&*", "+@all")
        try:
            with redis.Redis.from_url(server.url, username="app", password="p", protocol=2) as client:
                store = LogStore(Connection(client, SCRIPTS), settings)
                append(store, message(title="before"))
                administrator.execute_command("ACL", "SETUSER", "app", f"-{command}")
                for _ in range(2):
                    with contextlib.suppress(BelfryError):
                        append(store, repeated)
                administrator.execute_command("ACL", "SETUSER", "app", f"+{command}")
                yield store
        finally:
            administrator.execute_command("ACL", "DELUSER", "app")


@pytest.mark.parametrize("command", ["hset", "xadd", "zadd", "expire", "publish", "zscore"])
def test_a_message_is_stored_once_although_redis_refused_one_of_the_commands_of_an_append(
    redis_server: RedisServer, settings: Settings, command: str
) -> None:
    """The publisher repeats its message until an administrator grants the right."""
    repeated = message(id="a", title="again and again", key="k")
    with lacking(redis_server, settings, command, repeated) as store:
        append(store, repeated)
        page = store.read([(LOG, (Position(epoch(store), 0),))])[0]
        assert page.is_whole
        assert [b"again and again" in entry.record for entry in page.entries] == [False, True]


@pytest.mark.parametrize("command", ["hset", "xadd", "zadd", "expire", "publish", "hincrby"])
def test_a_log_stays_usable_after_redis_refused_one_of_the_writes_of_an_append(
    redis_server: RedisServer, settings: Settings, command: str
) -> None:
    one = message(id="a", title="a", key="k")
    with lacking(redis_server, settings, command, one) as store:
        append(store, one, message(id="b", title="b", key="k"))
        page = store.read([(LOG, (Position(epoch(store), 0),))])[0]
        assert page.is_whole
        assert [entry.offset for entry in page.entries][-1:] == [page.top]
