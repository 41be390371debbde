"""Runs write together: in few round trips, each chunk once and in order, whatever becomes of a write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import fakeredis
import gevent
import pytest
from gevent.event import Event

from app.core.completion import CompletionRequest, Piece, parse
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream, Upstreams
from app.live.delivery.hub import Hub
from app.live.runs.completion_stream import CompletionStream
from app.live.runs.relay import Relay
from app.store.logs import log
from app.store.logs.log import LogStore
from app.store.runs import runs
from app.store.runs.runs import APPEND, STOPPED, RunName, Runs
from app.transport.connection import Command, Connection, Reply
from app.transport.subscription import Subscription
from tests.live.one_shard import LoneShard
from tests.upstream import chunk, content

REQUEST = parse(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
SETTINGS = Settings(redis_url="redis://unused.invalid", upstream_url="http://unused.invalid", max_answer_bytes=65_536)
KEYS_OF_AN_APPEND = 4  # an ending has more


class Gate:
    """The store, whose appends wait while the gate is closed, before they are done or after, and may go unanswered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.open = Event()
        self.open.set()
        self.lost = 0
        self.does_first = False
        self.before_losing: Callable[[], object] = bool
        self.writes: list[int] = []  # appends in each round trip

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        appends = sum(command[1] == APPEND.sha and command[2] == KEYS_OF_AN_APPEND for command in commands)
        if appends:
            self.writes.append(appends)
        if appends and not self.does_first:
            self.open.wait()
        replies = self._connection.run(commands)
        if appends:
            self.open.wait()
        if appends and self.lost:
            self.lost -= 1
            self.before_losing()
            raise BelfryError("store_unavailable")
        return replies


class Spoken(CompletionStream):
    """A stream whose upstream is the test."""

    def _run(self) -> None:
        """Nothing comes by itself."""

    def say(self, *texts: str) -> None:
        for text in texts:
            self._put(Piece(content(text), json.loads(content(text))))

    def finish(self) -> None:
        self._put(Piece(chunk({}, "stop"), json.loads(chunk({}, "stop"))))
        self._end()


class Conversations(Relay):
    """A relay whose upstreams are the test."""

    def request_stream(
        self, upstream: Upstream, request: CompletionRequest, notify: Callable[[], None] | None = None
    ) -> CompletionStream:
        return Spoken(self.clients.of(upstream), request, notify)


class Stage:
    """A worker's runs, on a store behind a gate."""

    def __init__(self, client: fakeredis.FakeRedis) -> None:
        connection = Connection(client, (*log.SCRIPTS, *runs.SCRIPTS))
        self.gate = Gate(connection)
        store = LogStore(self.gate, SETTINGS)
        self.runs = Runs(store, self.gate, SETTINGS, time.time)
        self.hub = Hub(store, LoneShard(no_redis), SETTINGS, time.time, examines=False)
        self.relay = Conversations(self.runs, self.hub, Upstreams(SETTINGS), lambda *_: None, SETTINGS)
        self.streams: dict[str, Spoken] = {}

    def begin(self, run_id: str) -> Spoken:
        assert self.relay.begin(RunName("alice", run_id), REQUEST)
        stream = self.relay._producers[RunName("alice", run_id)]._stream
        assert isinstance(stream, Spoken)
        return stream

    def text(self, run_id: str) -> str:
        name = RunName("alice", run_id)
        return self.runs.transcript(name, self.runs.get(name)).text

    def say_apart(self, stream: Spoken, *texts: str) -> None:
        """Each in a write of its own."""
        for text in texts:
            stream.say(text)
            until(partial(self._ends_with, text))

    def _ends_with(self, text: str) -> bool:
        return self.text("a").endswith(text)

    def lose_newest(self, run_id: str) -> None:
        """What a failover does to a record that was not replicated yet."""
        keys, name = self.runs._keys, RunName("alice", run_id).log
        log = keys.log(name)
        _, entries = self.gate._connection.run([("HINCRBY", keys.meta(name), "top", -1), ("XRANGE", log, "-", "+")])
        kept = [("XADD", log, entry_id, "r", fields[b"r"], "t", fields[b"t"]) for entry_id, fields in entries[:-1]]
        self.gate._connection.run([("DEL", log), *kept])

    def error(self, run_id: str) -> str:
        error = self.runs.get(RunName("alice", run_id)).error
        return error["code"] if error else ""

    def status(self, run_id: str) -> str:
        return self.runs.get(RunName("alice", run_id)).status


def no_redis() -> Subscription:
    raise BelfryError("store_unavailable")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with fakeredis.FakeRedis(protocol=2) as client:
        stage = Stage(client)
        yield stage
        stage.gate.open.set()
        stage.relay.stop()
        stage.hub.stop()


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(60):
        while not condition():
            gevent.sleep(0.001)


def test_an_idle_writer_writes_at_once_and_then_all_that_came_meanwhile_together(stage: Stage) -> None:
    spoken = {run_id: stage.begin(run_id) for run_id in "abc"}
    stage.gate.open.clear()
    spoken["a"].say("1")
    until(lambda: stage.gate.writes == [1])
    for stream in spoken.values():
        stream.say("2", "3")
    stage.gate.open.set()
    until(lambda: stage.text("a") == "123")
    assert [stage.text("b"), stage.text("c")] == ["23", "23"]
    assert stage.gate.writes == [1, 3]


def test_a_write_whose_answer_was_lost_is_repeated_and_adds_nothing_twice(stage: Stage) -> None:
    spoken = {run_id: stage.begin(run_id) for run_id in "ab"}
    stage.gate.lost = 2
    for stream in spoken.values():
        stream.say("1", "2")
    until(lambda: not stage.gate.lost)
    for stream in spoken.values():
        stream.say("3")
        stream.finish()
    until(lambda: [stage.status("a"), stage.status("b")] == ["done", "done"])
    assert [stage.text("a"), stage.text("b")] == ["123", "123"]


@pytest.mark.parametrize("does_first", [False, True], ids=["overtakes it", "overtakes its answer"])
def test_an_ending_that_overtakes_an_append_takes_its_chunks_along_once(stage: Stage, does_first: bool) -> None:
    stream = stage.begin("a")
    stage.gate.does_first = does_first
    stage.gate.open.clear()
    stream.say("1", "2")
    until(lambda: stage.gate.writes == [1])
    stream.say("3")
    stream.finish()
    until(lambda: stage.status("a") == "done")
    assert stage.text("a") == "123"
    stage.gate.open.set()
    until(lambda: len(stage.relay) == 0)
    gevent.sleep(0)
    assert stage.text("a") == "123"


def test_while_an_append_is_repeated_the_rest_stays_in_the_bounded_buffer(stage: Stage) -> None:
    stream, other = stage.begin("a"), stage.begin("b")
    stage.gate.lost = 1_000
    stream.say("1")
    until(lambda: len(stage.gate.writes) == 2)
    stream.say("2", "3")
    other.say("1")
    until(lambda: len(stage.gate.writes) > 3)  # the writer has been round
    assert stream.take_now() == [content("2"), content("3")]


def test_a_run_whose_log_is_broken_holds_up_no_other(stage: Stage) -> None:
    broken, fine = stage.begin("broken"), stage.begin("fine")
    key = stage.runs._keys.log(RunName("alice", "broken").log)
    stage.gate._connection.run([("SET", key, "no stream")])
    for text in "123":
        broken.say(text)
        fine.say(text)
        gevent.sleep(0)
    fine.finish()
    until(lambda: stage.status("fine") == "done")
    assert stage.text("fine") == "123"
    assert stage.status("broken") == "running"


def test_a_run_that_was_stopped_elsewhere_lets_go_of_its_upstream_with_the_next_chunk(stage: Stage) -> None:
    stream = stage.begin("a")
    stage.runs.end(RunName("alice", "a"), STOPPED)
    stream.say("1")
    until(lambda: stream.ended)
    until(lambda: len(stage.relay) == 0)
    assert (stage.status("a"), stage.text("a")) == ("stopped", "")


def test_an_answer_that_is_too_large_ends_with_what_fits(stage: Stage) -> None:
    stream = stage.begin("a")
    stream.say("fits")
    until(lambda: stage.text("a") == "fits")
    stream.say("x" * SETTINGS.max_answer_bytes)
    until(lambda: stage.status("a") == "failed")
    assert stage.text("a") == "fits"
    error = stage.runs.get(RunName("alice", "a")).error
    assert error is not None
    assert error["code"] == "answer_too_large"
    assert stream.ended


def test_nothing_is_appended_behind_what_a_failover_lost_while_more_came(stage: Stage) -> None:
    stream = stage.begin("a")
    stage.say_apart(stream, "1", "2")
    stage.gate.open.clear()
    stream.say("3")
    until(lambda: len(stage.gate.writes) == 3)
    stage.lose_newest("a")
    stream.say("4")
    stage.gate.open.set()
    until(lambda: stage.status("a") != "running")
    assert (stage.status("a"), stage.error("a"), stage.text("a")) == ("failed", "answer_lost", "1")


def test_an_answer_that_ends_while_its_repetition_finds_a_loss_has_no_hole(stage: Stage) -> None:
    stream = stage.begin("a")
    stage.say_apart(stream, "1", "2")

    def finish() -> None:
        for _ in range(2):
            stage.lose_newest("a")
        stream.say("4")
        stream.finish()

    stage.gate.lost, stage.gate.before_losing = 1, finish
    stream.say("3")
    until(lambda: stage.status("a") != "running")
    assert (stage.status("a"), stage.error("a"), stage.text("a")) == ("failed", "answer_lost", "1")
