"""Runs in the store: each starts once and ends once, and what is written to it is contiguous."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest
import redis

from app.core.completion import parse
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.wire.frames import END
from app.store.logs import log
from app.store.logs.log import LogStore
from app.store.runs.runs import DETAIL_MAX_CHARS, LEASE_SECONDS, LOST, SCRIPTS, STOPPED, Ending, RunName, Runs
from app.transport.connection import Command, Connection, Reply
from tests.servers import RedisServer
from tests.waiting import WAIT_SECONDS, wait_until

NAME = RunName("alice", "r1")
REQUEST = parse(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
OTHER = parse(b'{"model":"m","messages":[{"role":"user","content":"ho"}]}')
DONE = Ending("done", usage={"total_tokens": 7}, tokens=7)


def chunk(text: str) -> bytes:
    return b"message " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()


@pytest.fixture
def store(connection: Connection, settings: Settings) -> LogStore:
    return LogStore(connection, settings)


@pytest.fixture
def runs(store: LogStore, connection: Connection, settings: Settings) -> Runs:
    return Runs(store, connection, settings, time.time)


def limited(store: LogStore, connection: Connection, settings: Settings, **limits: int) -> Runs:
    return Runs(store, connection, settings.model_copy(update=limits), time.time)


def text_of(runs: Runs, name: RunName = NAME) -> str:
    return runs.transcript(name, runs.get(name)).text


class TestStarting:
    def test_makes_a_run_with_an_empty_log(self, runs: Runs) -> None:
        assert runs.start(NAME, REQUEST)
        run = runs.get(NAME)
        assert (run.id, run.status, run.model, run.title, run.ended) == ("r1", "running", "m", "hi", 0)
        assert text_of(runs) == ""

    def test_taken_back_leaves_nothing_and_may_start_anew(self, runs: Runs, connection: Connection) -> None:
        runs.start(NAME, REQUEST)
        runs.take_back(NAME)
        with pytest.raises(BelfryError) as refusal:
            runs.get(NAME)
        assert refusal.value.code == "not_found"
        assert runs.newest(NAME.user, 10) == []
        assert runs.renew([]) == ([], [])
        assert connection.run([("KEYS", "*run*"), ("KEYS", "*active*"), ("KEYS", "*starts*")]) == [[], [], []]
        assert runs.start(NAME, OTHER), "also with another request"

    def test_again_starts_nothing(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        assert not runs.start(NAME, REQUEST)
        runs.end(NAME, DONE)
        assert not runs.start(NAME, REQUEST)
        assert runs.get(NAME).status == "done"

    def test_something_else_under_the_same_id_is_refused(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        with pytest.raises(BelfryError, match="id_reused"):
            runs.start(NAME, OTHER)

    def test_users_have_names_of_their_own(self, runs: Runs) -> None:
        assert runs.start(NAME, REQUEST)
        assert runs.start(RunName("bob", "r1"), OTHER)
        # Not even a name with a slash leads to somebody else's run.
        with pytest.raises(BelfryError, match="not_found"):
            runs.get(RunName("alice/r1", "r1"))

    def test_what_has_expired_is_gone_for_good(self, runs: Runs, client: redis.Redis) -> None:
        runs.start(NAME, REQUEST)
        client.delete(*client.keys("*:run:r1:*"))
        for ask in (lambda: runs.get(NAME), lambda: runs.start(NAME, REQUEST)):
            with pytest.raises(BelfryError, match="run_gone"):
                ask()


class Resent:
    """Sends all twice, as a line does whose connection ended after Redis did what it was told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        self._connection.run(commands)
        return self._connection.run(commands)


class TestSentAgainAfterALostReply:
    """Whoever hears "known" asks no upstream, and the run would have nobody who produces it."""

    @pytest.fixture
    def resending(self, store: LogStore, connection: Connection, settings: Settings) -> Runs:
        limits = {"max_runs_per_user": 1, "runs_per_minute": 1}
        return Runs(store, Resent(connection), settings.model_copy(update=limits), time.time)

    def test_a_start_is_still_the_one_that_started(self, resending: Runs) -> None:
        assert resending.start(NAME, REQUEST)
        assert not resending.start(NAME, REQUEST)
        assert text_of(resending) == ""

    def test_a_completion_does_not_stand_in_its_own_way(self, resending: Runs) -> None:
        resending.admit("alice", "direct")
        with pytest.raises(BelfryError, match="too_many_runs"):
            resending.admit("alice", "another")
        resending.release("alice", "direct", 0)
        with pytest.raises(BelfryError, match="rate_limited"):
            resending.admit("alice", "another")


class TestWriting:
    def test_appends_in_order_and_a_repeated_write_adds_only_what_is_missing(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        assert runs.append(NAME, 1, [chunk("a"), chunk("b")]).top == 2
        written = runs.append(NAME, 2, [chunk("b"), chunk("c")])
        assert (written.status, written.top, written.taken) == ("running", 3, True)
        assert text_of(runs) == "abc"

    def test_ends_with_the_last_chunks_in_one_step(self, runs: Runs, store: LogStore) -> None:
        runs.start(NAME, REQUEST)
        assert runs.end(NAME, DONE, 1, [chunk("a")]).taken
        run = runs.get(NAME)
        (page,) = store.read([(NAME.log, (run.start,))])
        assert [entry.record for entry in page.entries] == [chunk("a"), END]
        assert (run.status, run.usage, run.ended >= run.started) == ("done", {"total_tokens": 7}, True)

    @pytest.mark.parametrize(("first", "then"), [(STOPPED, DONE), (DONE, STOPPED), (LOST, DONE), (LOST, STOPPED)])
    def test_whoever_ends_it_first_decides(self, runs: Runs, first: Ending, then: Ending) -> None:
        runs.start(NAME, REQUEST)
        runs.append(NAME, 1, [chunk("a")])
        runs.end(NAME, first)
        written = runs.end(NAME, then)
        assert (written.status, written.taken) == (first.status, False)
        assert runs.get(NAME).status == first.status

    def test_nothing_is_written_after_the_end_or_to_what_is_gone(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        runs.append(NAME, 1, [chunk("a")])
        runs.end(NAME, STOPPED)
        assert not runs.append(NAME, 2, [chunk("b")]).taken
        assert text_of(runs) == "a"
        assert runs.append(RunName("alice", "never"), 1, [chunk("b")]).status == ""

    def test_the_error_is_kept(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        runs.end(NAME, LOST)
        error = runs.get(NAME).error
        assert error is not None
        assert error["code"] == "producer_lost"


class TestForgetting:
    def test_leaves_nothing_of_the_user_and_all_of_others(self, runs: Runs, client: redis.Redis) -> None:
        runs.start(RunName("bob", "r1"), REQUEST)
        others = set(client.keys())
        for run_id in ("r1", "r2"):
            runs.start(RunName("alice", run_id), REQUEST)
            runs.append(RunName("alice", run_id), 1, [chunk("Hello")])
        runs.end(NAME, DONE)
        runs.forget("alice")
        left = set(client.keys()) - others
        assert [key for key in left if b":tokens:" not in key] == []
        assert client.zrange("belfry:{runs}:leases", 0, -1) == [b"bob/r1"]
        assert [run.id for run in runs.newest("bob", 10)] == ["r1"]

    def test_stops_who_writes_on(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        runs.forget("alice")
        assert not runs.append(NAME, 1, [chunk("Hello")]).taken
        with pytest.raises(BelfryError) as refused:
            runs.get(NAME)
        assert refused.value.code == "not_found"

    def test_a_user_without_runs_is_no_trouble(self, runs: Runs) -> None:
        runs.forget("nobody")
        assert runs.newest("nobody", 10) == []


class TestLeases:
    def test_of_a_run_under_way_is_renewed_and_not_found_expired(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        assert runs.renew([NAME]) == ([], [])

    def test_of_a_run_that_ended_is_reported_to_who_renews_it(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        runs.end(NAME, STOPPED)
        assert runs.renew([NAME]) == ([NAME], [])

    def test_that_was_taken_away_from_a_run_under_way_is_given_back(self, runs: Runs, client: redis.Redis) -> None:
        """A refused start of the same id takes its own away, which may be the next one's by then."""
        runs.start(NAME, REQUEST)
        client.zrem("belfry:{runs}:leases", "alice/r1")
        assert runs.renew([NAME]) == ([], [])
        assert client.zrange("belfry:{runs}:leases", 0, -1) == [b"alice/r1"]

    def test_that_nobody_renews_runs_out(self, runs: Runs) -> None:
        runs.start(NAME, REQUEST)
        assert wait_until(lambda: runs.renew([])[1], LEASE_SECONDS + WAIT_SECONDS) == [NAME]
        runs.end(NAME, LOST)
        assert runs.renew([]) == ([], [])

    def test_stays_where_a_failover_lost_the_end_of_the_log_until_the_run_has_ended(
        self, runs: Runs, client: redis.Redis
    ) -> None:
        runs.start(NAME, REQUEST)
        assert runs.end(NAME, DONE, 2, [chunk("b")]).lost
        assert client.zrange("belfry:{runs}:leases", 0, -1) == [b"alice/r1"]
        assert runs.end(NAME, LOST).taken
        assert client.zrange("belfry:{runs}:leases", 0, -1) == []


class TestLimits:
    def test_count_what_is_under_way(self, store: LogStore, connection: Connection, settings: Settings) -> None:
        runs = limited(store, connection, settings, max_runs_per_user=2)
        runs.start(NAME, REQUEST)
        runs.admit("alice", "direct")
        for refused in (lambda: runs.start(RunName("alice", "r2"), REQUEST), lambda: runs.admit("alice", "another")):
            with pytest.raises(BelfryError, match="too_many_runs"):
                refused()
        runs.admit("bob", "his")
        runs.release("alice", "direct", 0)
        assert runs.start(RunName("alice", "r2"), REQUEST)
        runs.end(NAME, DONE)
        runs.admit("alice", "another")

    def test_a_refused_start_leaves_nothing_behind(
        self, store: LogStore, connection: Connection, settings: Settings
    ) -> None:
        runs = limited(store, connection, settings, runs_per_minute=1)
        runs.start(NAME, REQUEST)
        refused = RunName("alice", "r2")
        with pytest.raises(BelfryError, match="rate_limited") as caught:
            runs.start(refused, REQUEST)
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        with pytest.raises(BelfryError, match="not_found"):
            runs.get(refused)
        assert runs.renew([refused])[0] == [refused]

    def test_tokens_are_counted_once_per_completion(
        self, store: LogStore, connection: Connection, settings: Settings
    ) -> None:
        runs = limited(store, connection, settings, tokens_per_day=14)
        runs.start(NAME, REQUEST)
        for _ in range(3):
            runs.end(NAME, DONE)
        runs.admit("alice", "direct")
        runs.release("alice", "direct", 7)
        with pytest.raises(BelfryError, match="tokens_used_up"):
            runs.admit("alice", "another")

    @pytest.mark.parametrize("ending", [STOPPED, LOST, Ending("done")], ids=lambda ending: ending.status)
    def test_a_token_for_each_chunk_is_counted_once_where_the_usage_never_came(
        self, runs: Runs, client: redis.Redis, ending: Ending
    ) -> None:
        runs.start(NAME, REQUEST)
        runs.append(NAME, 1, [chunk("a"), chunk("b")])
        runs.end(NAME, ending, 3, [chunk("c")])
        for again in (STOPPED, LOST, DONE):
            runs.end(NAME, again)
        (day,) = client.keys("*:tokens:*")
        assert client.get(day) == b"3"

    def test_an_answer_that_never_began_counts_nothing(self, runs: Runs, client: redis.Redis) -> None:
        runs.start(NAME, REQUEST)
        runs.end(NAME, LOST)
        assert client.keys("*:tokens:*") == []

    def test_what_a_dead_worker_left_counts_until_its_lease_ends(self, runs: Runs, client: redis.Redis) -> None:
        runs.admit("alice", "direct")
        client.zadd("belfry:{user:alice}:active", {"direct": 1})
        runs.admit("alice", "another")
        assert client.zrange("belfry:{user:alice}:active", 0, -1) == [b"another"]

    def test_what_is_under_way_for_long_goes_on_to_count(self, runs: Runs, client: redis.Redis) -> None:
        runs.admit("alice", "direct")
        client.zadd("belfry:{user:alice}:active", {"direct": 1})
        runs.keep_active([RunName("alice", "direct"), RunName("alice", "ended meanwhile")])
        assert client.zcard("belfry:{user:alice}:active") == 1
        until = client.zscore("belfry:{user:alice}:active", "direct")
        assert isinstance(until, float)
        assert until > time.time() * 1_000


def test_the_list_has_the_newest_first_and_only_what_can_be_read(runs: Runs, client: redis.Redis) -> None:
    for number in range(4):
        runs.start(RunName("alice", f"r{number}"), REQUEST)
        client.zadd("belfry:{user:alice}:runs", {f"r{number}": time.time() * 1_000 + number})
    client.delete("belfry:{user:alice}:run:r2:state")
    assert [run.id for run in runs.newest("alice", 3)] == ["r3", "r1"]


def test_a_run_is_kept_as_long_as_it_was_told(runs: Runs, store: LogStore, client: redis.Redis) -> None:
    runs.start(NAME, REQUEST)
    runs.append(NAME, 1, [chunk("a")])
    store.read([(NAME.log, (runs.get(NAME).start,))])
    runs.end(NAME, DONE)
    seconds = {client.ttl(key) for key in client.keys("*:run:r1:*")}
    assert all(0 < left <= Settings().run_seconds for left in seconds)


def test_a_run_under_way_outlives_the_time_that_it_is_kept(runs: Runs, client: redis.Redis) -> None:
    """Nobody could end a run whose state is gone."""
    runs.start(NAME, REQUEST)
    runs.append(NAME, 1, [chunk("a")])
    keys = client.keys("*:run:r1:*")
    assert len(keys) == 3
    for key in keys:
        client.expire(key, 1)
    runs.keep_active([NAME, RunName("alice", "direct"), RunName("bob", "direct")])
    assert all(Settings().run_seconds - 60 < client.ttl(key) <= Settings().run_seconds for key in keys)


def test_a_store_without_memory_starts_nothing_and_keeps_nothing_of_it(
    redis_server: RedisServer, settings: Settings
) -> None:
    """Also for a user who has runs: Redis lets a script go on that began with a write which takes no room."""
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        client.flushall()
        connection = Connection(client, (*log.SCRIPTS, *SCRIPTS))
        runs = Runs(LogStore(connection, settings), connection, settings, time.time)
        runs.start(RunName("alice", "r0"), REQUEST)
        client.config_set("maxmemory", "1")
        try:
            for ask in (lambda: runs.start(NAME, REQUEST), lambda: runs.admit("alice", "direct")):
                with pytest.raises(BelfryError, match="store_full"):
                    ask()
            with pytest.raises(BelfryError, match="not_found"):
                runs.get(NAME)
        finally:
            client.config_set("maxmemory", "0")
        assert client.zrange("belfry:{user:alice}:active", 0, -1) == [b"r0"]
        assert runs.start(NAME, REQUEST)
        assert runs.renew([NAME])[0] == []


def test_a_run_that_failed_keeps_the_beginning_of_what_the_upstream_said() -> None:
    ending = Ending.failed(BelfryError("upstream_failed", "It said: " + "x" * 1_000_000))
    assert ending.error is not None
    assert ending.error["detail"].startswith("It said: xxx")
    assert len(ending.error["detail"]) == DETAIL_MAX_CHARS
