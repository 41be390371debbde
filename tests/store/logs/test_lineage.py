"""A server that was set back gives offsets once more: nobody may take the new message for the old.

On real servers, which are killed, started again from older files, and replaced by their replicas.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import pytest
import redis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from app.core.completion import parse as parse_completion
from app.core.errors import BelfryError
from app.core.log.catch_up import Page, Reading, on_page, start
from app.core.log.change import Change
from app.core.log.cursor import Position, Vector
from app.core.log.marks import Mark
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.insight import directory, flights
from app.store.insight.directory import Directory, KnownUser
from app.store.insight.flights import FlightStore, written
from app.store.insight.presence import PresenceStore
from app.store.insight.recent import RecentStore
from app.store.insight.trace import Tracing
from app.store.logs import lineage, log
from app.store.logs.delivery import Read, Readers
from app.store.logs.lineage import Lineage
from app.store.logs.log import Appended, LogStore, Status
from app.store.logs.read_state import ReadState
from app.store.logs.recipients import Recipients
from app.store.runs import runs
from app.store.runs.runs import STOPPED, Append, RunName, Runs
from app.transport.connection import Connection
from tests.conftest import absent
from tests.examples import examples
from tests.replication import ALLOW_DEBUG, PRIMARY_OPTIONS, change_replication_id, promote, replica_of, wait_replicated
from tests.servers import HOST, RedisServer, free_port
from tests.waiting import wait_until

ALICE, BOB = "user:alice", "user:bob"
RUN = parse_completion(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')


class Store:
    """A worker's view of a server; one that is opened anew knows nothing of what was before."""

    def __init__(self, url: str, switchover_seconds: float = 30, **options: Any) -> None:
        self.settings = settings = Settings(redis_url=url, **options)
        scripts = (*log.SCRIPTS, *lineage.SCRIPTS, *runs.SCRIPTS, *directory.SCRIPTS, *flights.SCRIPTS)
        self.connection = Connection.open(settings, scripts)
        self.logs = LogStore(self.connection, settings)
        self.logs.lineage = Lineage(self.connection, self.logs.keys, switchover_seconds)
        self.read_state = ReadState(self.logs, self.connection, settings)
        self.runs = Runs(self.logs, self.connection, settings, time.time)

    def move(self, url: str) -> None:
        """The same worker, connected to another server from now on."""
        there = Connection.open(Settings(redis_url=url), self.connection._scripts)
        self.connection._client = there._client

    def look(self) -> bool:
        """As the canary of the worker does now and then."""
        return self.logs.lineage.look()

    def note(self, event: dict[str, Any]) -> None:
        FlightStore(self.connection, self.settings).write([("alice", written(event))])
        Directory(self.connection, self.settings).write([KnownUser("alice", time.time())])

    def trace(self, message_id: str) -> dict[str, Any]:
        connection, settings = self.connection, self.settings
        told = Tracing(
            self.logs,
            Recipients(self.logs, connection, settings),
            RecentStore(connection, settings),
            FlightStore(connection, settings),
            PresenceStore(connection, settings),
        ).of("alice", message_id)
        assert told is not None
        return told

    def readers(self, message_id: str) -> Read:
        return Readers(self.logs, Directory(self.connection, self.settings), self.settings).count(ALICE, message_id)

    def append(self, *titles: str, name: str = ALICE) -> list[Appended]:
        return self.logs.append([(name, message(title)) for title in titles])

    def mark(self, message_id: str) -> bool:
        return self.read_state.change("alice", [ALICE], Change(Mark.READ, True, (message_id,))).changed

    def retract(self, message_id: str) -> bool:
        return bool(self.logs.retract([ALICE], message_id))

    def page(self, position: Position | None = None, name: str = ALICE) -> Page:
        return self.logs.read([(name, (position,) if position else ())], name.partition(":")[2])[0]

    def resume(self, position: Position, name: str = ALICE) -> tuple[list[str], bool]:
        """What a client with this cursor is sent: the titles, and whether it is told of a loss."""
        page = self.page(position, name)
        (begin,), lost = start([page], (position,))
        reading = on_page(begin, page)
        return titles(reading), lost or reading.lost


def message(title: str) -> Message:
    body = json.dumps({"to": "alice", "id": title, "title": title}).encode()
    return parse(body, now=time.time(), new_id=title, max_recipients=1)


def titles(reading: Reading) -> list[str]:
    return [json.loads(entry.record.partition(b" ")[2])["title"] for entry in reading.entries]


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        yield stack


def started(servers: ExitStack, server: RedisServer) -> RedisServer:
    servers.callback(server.destroy)
    return server.start()


class TestALogThatNothingWasAppendedTo:
    @pytest.fixture
    def server(self, servers: ExitStack) -> RedisServer:
        return started(servers, RedisServer(appendonly=True, options=ALLOW_DEBUG))

    def test_its_reader_is_told_nothing_after_a_restart(self, server: RedisServer) -> None:
        begin = Store(server.url).page().tail
        server.kill()
        server.start()
        store = Store(server.url)
        assert store.resume(begin) == ([], False)
        store.append("1")
        assert store.resume(begin) == (["1"], False)

    def test_its_reader_is_told_after_the_store_was_emptied_also_where_no_worker_was_left(
        self, server: RedisServer
    ) -> None:
        store = Store(server.url)
        begin = store.page().tail
        store.append("missed")
        empty(server)
        clock_moves_on(server)
        assert Store(server.url).resume(begin) == ([], True)

    def test_its_reader_is_told_also_where_a_worker_that_has_not_looked_created_the_log_again(
        self, server: RedisServer
    ) -> None:
        store, other = Store(server.url), Store(server.url)
        begin = store.page().tail
        other.page()
        store.append("missed")
        empty(server)
        (early,) = store.append("1")
        assert store.resume(begin) == (["1"], False)  # it can't know
        assert other.logs.lineage.look()
        (tail,) = other.logs.tails([ALICE])
        assert tail is not None
        assert tail.position != early.position
        for worker in (store, other):
            assert worker.resume(begin) == ([], True)
            assert worker.resume(early.position) == ([], True)
        (again,) = store.append("2")
        store.logs.lineage.look()
        assert store.resume(again.position) == ([], False)

    def test_its_reader_is_told_of_a_failover_that_may_have_lost_the_first_message(self, servers: ExitStack) -> None:
        primary = started(servers, RedisServer(port=free_port(), options=PRIMARY_OPTIONS))
        replica = started(servers, replica_of(primary))
        store = Store(primary.url)
        begin = store.page().tail
        wait_replicated(primary, replica)
        promote(replica)
        store.append("lost")
        store.move(replica.url)
        assert store.logs.lineage.look()
        assert store.resume(begin) == ([], True)


class TestAStoreThatWasEmptied:
    @pytest.fixture
    def server(self, servers: ExitStack) -> RedisServer:
        return started(servers, RedisServer(appendonly=True, options=ALLOW_DEBUG))

    @pytest.mark.parametrize("published_since", [(), ("3",)], ids=["nobody has published since", "another worker has"])
    def test_a_reader_is_told_once(self, server: RedisServer, published_since: Sequence[str]) -> None:
        store, other = Store(server.url), Store(server.url)
        other.logs.lineage.look()
        *_, last = store.append("1", "2")
        empty(server)
        for text in published_since:
            other.append(text)
        page = store.logs.read([(ALICE, (last.position,))])[0]
        assert on_page(last.position, page).lost
        for worker in (store, other):
            assert worker.look(), "the canary hears of it, too"
            assert worker.resume(page.tail) == ([], False)


def empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def clock_moves_on(server: RedisServer) -> None:
    """A store is emptied twice within one second in tests only."""
    with server.client() as client:
        now = client.time()[0]
        wait_until(lambda: client.time()[0] > now)


class TestAServerThatWasStartedAgainAndLostNothing:
    @pytest.fixture
    def server(self, servers: ExitStack) -> RedisServer:
        return started(servers, RedisServer(appendonly=True, options=ALLOW_DEBUG))

    def restart(self, server: RedisServer) -> Store:
        server.kill()
        server.start()
        return Store(server.url)

    def test_everybody_reads_on_and_offsets_go_on_under_another_epoch(self, server: RedisServer) -> None:
        first = [each.position for each in Store(server.url).append("1", "2", "3")]
        store = self.restart(server)
        assert store.resume(first[0]) == (["2", "3"], False)
        (after,) = store.append("4")
        assert (after.position.offset, after.position.epoch == first[0].epoch) == (4, False)
        assert [store.resume(position)[0][-1] for position in first] == ["4"] * 3

    def test_a_position_that_was_never_given_before_is_lost_also_once_the_log_has_come_that_far(
        self, server: RedisServer
    ) -> None:
        epoch = Store(server.url).append("1", "2")[0].position.epoch
        store = self.restart(server)
        assert store.resume(Position(epoch, 3)) == ([], True)
        store.append("3", "4")
        assert store.resume(Position(epoch, 3)) == ([], True)
        assert store.resume(Position(epoch, 2)) == (["3", "4"], False)

    def test_many_restarts_are_read_over_and_very_many_are_told(self, server: RedisServer) -> None:
        store = Store(server.url)
        cursors = [store.append("first")[0].position]
        with server.client() as client:
            for number in range(10):
                change_replication_id(client)
                cursors.append(store.append(str(number))[0].position)
        outcomes = [store.resume(cursor) for cursor in cursors]
        # The first one is known as long as there was no failover: whoever reads from the beginning can do so.
        assert [lost for _, lost in outcomes] == [False, *[True] * 2, *[False] * 8]
        assert outcomes[0][0] == [str(number) for number in range(10)]
        assert outcomes[3][0] == [str(number) for number in range(3, 10)]

    def test_a_run_is_read_from_its_start_after_however_many_restarts(self, server: RedisServer) -> None:
        store, name = Store(server.url), RunName("alice", "r1")
        store.runs.start(name, RUN)
        begin = store.runs.get(name).start
        with server.client() as client:
            for number in range(1, 13):
                change_replication_id(client)
                store.runs.append(name, number, [b'message {"choices":[{"index":0,"delta":{"content":"a"}}]}'])
        assert store.runs.transcript(name, store.runs.get(name)).text == "a" * 12
        page = store.page(begin, name.log)
        assert len(on_page(begin, page).entries) == 12

    def test_ids_and_marks_survive(self, server: RedisServer) -> None:
        store = Store(server.url)
        store.append("1", "2")
        read(store, "1")
        store = self.restart(server)
        store.append("3")
        (again,) = store.append("1")
        assert (again.status, again.position.offset) == (Status.DUPLICATE, 1)
        page = store.page()
        assert page.unread(page.top) == 2
        assert read(store, "2") == 1
        assert store.page().unread(page.top) == 1

    def test_an_administrator_is_told_as_before(self, server: RedisServer) -> None:
        store = Store(server.url)
        store.append("1", "2")
        epoch = store.page().epoch
        read(store, "1")
        for what, offset in (("connected", 0), ("closed", 2)):
            store.note({"time": "2999", "what": what, "connection": "c1", "places": {ALICE: f"{epoch}.{offset}"}})
        before = store.trace("1"), store.trace("2"), store.readers("1")
        assert ([step["what"] for step in before[0]["steps"]], before[0]["read"]) == (["published", "sent"], True)
        assert before[2] == Read(1, 1)
        store = self.restart(server)
        store.append("3")
        assert (store.trace("1"), store.trace("2"), store.readers("1")) == before
        store.logs.retract([ALICE], "2")
        retracted = store.trace("2")
        assert (retracted["kept"], retracted["offset"]) == (False, 2)
        assert [step["what"] for step in retracted["steps"]] == ["sent"]

    def test_a_page_of_the_feed_leads_on_to_the_next(self, server: RedisServer) -> None:
        store = Store(server.url)
        positions = [each.position for each in store.append("1", "2", "3")]
        store = self.restart(server)
        (page,) = store.logs.read_back([(ALICE, (positions[2],))], 10)
        assert [entry.offset for entry in page.entries] == [2, 1]

    def test_a_quiet_log_ends_its_epoch_when_its_tail_is_compared(self, server: RedisServer) -> None:
        store = Store(server.url)
        store.logs.lineage.look()
        before = store.append("1")[0].position
        store.append("1", name=BOB)
        server.kill()
        server.start()
        assert store.logs.lineage.look()
        alice, bob = store.logs.tails([ALICE, BOB])
        assert alice is not None
        assert bob is not None
        assert (alice.position.offset, bob.position.offset) == (1, 1)
        assert before.epoch not in (alice.position.epoch, bob.position.epoch)
        assert not store.logs.lineage.look()
        assert store.logs.tails([ALICE]) == [alice]


def test_a_server_started_again_from_an_older_state_gives_no_position_twice(servers: ExitStack) -> None:
    server = started(servers, RedisServer())
    store = Store(server.url)
    kept = store.append("1", "2")
    with server.client() as client:
        client.save()
    lost = store.append("3", "4")
    server.kill()
    server.start()
    again = Store(server.url).append("other-3", "other-4", "other-5")
    assert [each.position.offset for each in again] == [3, 4, 5]
    assert not {each.position for each in lost} & {each.position for each in again}
    store = Store(server.url)
    assert store.resume(kept[1].position) == (["other-3", "other-4", "other-5"], False)
    assert [store.resume(each.position) for each in lost] == [([], True)] * 2


def test_where_info_names_no_replication_id_logs_work_and_the_operator_is_told_once(
    servers: ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with some managed services. No server here leaves it out, so the scripts look for another name."""
    for script in (*log.SCRIPTS, *lineage.SCRIPTS):
        monkeypatch.setattr(script, "text", script.text.replace("'master_replid:", "'nowhere_replid:"))
        monkeypatch.setattr(script, "sha", sha1(script.text.encode(), usedforsecurity=False).hexdigest())
    server = started(servers, RedisServer(options=ALLOW_DEBUG))
    store = Store(server.url)
    epoch = store.append("1")[0].position.epoch
    store.logs.lineage.look()
    with server.client() as client:
        change_replication_id(client)
    assert not store.logs.lineage.look()
    assert store.append("2")[0].position == Position(epoch, 2)
    assert len([record for record in caplog.records if "no replication id" in record.message]) == 1


def test_where_info_is_forbidden_logs_work_and_the_operator_is_told_once(
    servers: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    server = started(servers, RedisServer(port=free_port()))
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "&*", "+@all", "-info")
    store = Store(f"redis://narrow:word@{HOST}:{server.port}")
    assert store.append("1")[0].position.offset == 1
    assert store.page().top == 1
    for _ in range(3):
        store.logs.lineage.look()
    assert len([record for record in caplog.records if "no replication id" in record.message]) == 1


@pytest.mark.parametrize("loses", [False, True])
def test_a_primary_of_replicas_that_comes_back_from_a_snapshot_tells_what_it_lost(
    servers: ExitStack, *, loses: bool
) -> None:
    """It remembers its former id and offset, as a replica that took over does."""
    options = (*PRIMARY_OPTIONS, "--save", "3600", "1")
    primary = started(servers, RedisServer(port=free_port(), options=options))
    replica = started(servers, replica_of(primary))
    wait_replicated(primary, replica)
    store = Store(primary.url)
    store.look()
    first, last = store.append("1", "2")
    with primary.client() as client:
        client.save()
    if loses:
        store.append("3")
    primary.kill()
    primary.start()
    assert store.look()
    assert store.append("4")[0].position.offset == 3
    assert [store.resume(each.position)[1] for each in (first, last)] == [loses] * 2


class TestAReplicaThatTookOver:
    @pytest.fixture
    def primary(self, servers: ExitStack) -> RedisServer:
        return started(servers, RedisServer(port=free_port(), options=PRIMARY_OPTIONS))

    @pytest.fixture
    def replica(self, servers: ExitStack, primary: RedisServer) -> RedisServer:
        replica = started(servers, replica_of(primary))
        wait_replicated(primary, replica)
        return replica

    def test_all_are_told_and_no_position_is_given_twice(self, primary: RedisServer, replica: RedisServer) -> None:
        store = Store(primary.url)
        store.look()
        kept = store.append("1", "2", "3")
        wait_replicated(primary, replica)
        promote(replica)  # the primary does not know yet
        lost = store.append("4", "5")
        primary.kill()
        store.move(replica.url)
        assert store.look()
        again = store.append("other-4", "other-5", "6")
        assert [each.position.offset for each in again] == [4, 5, 6]
        assert not {each.position for each in lost} & {each.position for each in again}
        assert [store.resume(each.position) for each in (*kept, *lost)] == [([], True)] * 5
        assert store.resume(again[0].position) == (["other-5", "6"], False)

    def test_what_was_replicated_is_known_by_its_id_and_what_was_lost_is_appended_anew(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        Store(primary.url).append("1")
        wait_replicated(primary, replica)
        promote(replica)
        Store(primary.url).append("2")
        again = Store(replica.url).append("1", "2")
        assert [(each.status, each.position.offset) for each in again] == [(Status.DUPLICATE, 1), (Status.APPENDED, 2)]

    def test_a_log_that_nobody_touched_before_the_next_restart_tells_it_nevertheless(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        store = Store(primary.url)
        store.look()
        losses = store.logs.lineage.losses
        alice, bob = store.append("1")[0].position, store.append("1", name=BOB)[0].position
        wait_replicated(primary, replica)
        promote(replica)
        store.append("lost", name=BOB)
        store.move(replica.url)
        assert store.look()
        assert store.logs.lineage.losses == losses + 1
        assert store.resume(bob, BOB) == ([], True)
        bob = store.page(name=BOB).tail
        with replica.client() as client:
            change_replication_id(client)  # as a restart does
        assert store.look()
        assert store.resume(alice) == ([], True)
        assert store.resume(bob, BOB) == ([], False)  # was told before

    def test_one_that_has_everything_tells_nobody(self, primary: RedisServer, replica: RedisServer) -> None:
        """Also to those who come between two workers that look."""
        one, other = Store(primary.url), Store(primary.url)
        for worker in (one, other):
            worker.look()
        losses = one.logs.lineage.losses
        positions = [one.append("1")[0].position, other.append("2")[0].position]
        one.mark("1")
        wait_replicated(primary, replica)
        promote(replica)
        for worker in (one, other):
            worker.move(replica.url)
            assert [worker.resume(each) for each in positions] == [(["2"], False), ([], False)]
            assert worker.look()
            assert worker.logs.lineage.losses == losses
        positions.append(one.append("3")[0].position)
        assert [one.resume(each) for each in positions] == [(["2", "3"], False), (["3"], False), ([], False)]

    def test_a_message_that_was_sent_again_is_not_missed(self, primary: RedisServer, replica: RedisServer) -> None:
        """It was the last request before the switchover."""
        store = Store(primary.url)
        store.look()
        losses = store.logs.lineage.losses
        first = store.append("1")[0].position
        assert store.append("1")[0].status is Status.DUPLICATE
        wait_replicated(primary, replica)
        promote(replica)
        store.move(replica.url)
        assert store.look()
        assert store.logs.lineage.losses == losses
        assert store.resume(first) == ([], False)

    def test_a_repetition_on_another_connection_waits_for_the_replica_too(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        """Redis 7.2 and Valkey count from the last write of a connection, and not from its last command."""
        wait = {"publish_wait_replicas": 1, "publish_wait_seconds": 0.2}
        one, other = Store(primary.url, **wait), Store(primary.url, **wait)
        for worker in (one, other):
            worker.look()
        one.append("0")
        replica.signal(signal.SIGSTOP)
        for worker in (one, other, other):
            with pytest.raises(BelfryError, match="not_replicated"):
                worker.append("1")
        replica.signal(signal.SIGCONT)
        wait_replicated(primary, replica)
        assert other.append("1")[0].status is Status.DUPLICATE

    def test_a_duplicate_of_which_the_replica_lacks_the_first_is_missed(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        other, store = Store(primary.url), Store(primary.url)
        for worker in (other, store):
            worker.look()
        losses = store.logs.lineage.losses
        wait_replicated(primary, replica)
        promote(replica)
        other.append("1")
        assert store.append("1")[0].status is Status.DUPLICATE
        store.move(replica.url)
        assert store.look()
        assert store.logs.lineage.losses == losses + 1

    def test_a_change_of_which_the_replica_has_nothing_is_missed_however_short_it_is(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        """The replica has all that came before, to the byte."""
        store = Store(primary.url)
        store.look()
        losses = store.logs.lineage.losses
        first = store.append("1")[0].position
        wait_replicated(primary, replica)
        promote(replica)
        assert store.retract("1")
        store.move(replica.url)
        assert store.look()
        assert store.logs.lineage.losses == losses + 1
        assert store.resume(first) == ([], True)

    def test_what_a_worker_that_never_comes_had_acknowledged_counts_as_lost_after_a_time(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        alive, dead = Store(primary.url, switchover_seconds=0.5), Store(primary.url)
        for worker in (alive, dead):
            worker.look()
        losses = alive.logs.lineage.losses
        first = alive.append("1")[0].position
        wait_replicated(primary, replica)
        promote(replica)
        alive.move(replica.url)
        assert alive.look()
        assert alive.resume(first) == ([], False)
        wait_until(alive.look, what="a worker to be missed")
        assert alive.logs.lineage.losses == losses + 1
        assert alive.resume(first) == ([], True)

    @pytest.mark.parametrize("loses", [False, True])
    def test_a_worker_that_stopped_before_is_not_awaited_and_what_it_had_acknowledged_is_known(
        self, primary: RedisServer, replica: RedisServer, *, loses: bool
    ) -> None:
        alive, stopped = Store(primary.url, switchover_seconds=0.2), Store(primary.url)
        for worker in (alive, stopped):
            worker.look()
        first = alive.append("1")[0].position
        if loses:
            wait_replicated(primary, replica)
            with replica.client() as client:
                client.replicaof(HOST, free_port())  # it gets nothing more
        stopped.append("2")
        stopped.logs.lineage.stop()
        if not loses:
            wait_replicated(primary, replica)
        promote(replica)
        alive.move(replica.url)
        assert alive.look()
        due = time.monotonic() + 0.4  # the time for which a worker would be awaited, and more
        wait_until(lambda: alive.look() or time.monotonic() > due)
        assert alive.resume(first) == ([] if loses else ["2"], loses)

    def test_a_store_of_an_older_version_knows_no_workers_and_tells_everybody(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        store = Store(primary.url)
        store.look()
        first = store.append("1")[0].position
        with primary.client() as client:
            client.hdel(store.logs.keys.lineage, "acknowledged")
            client.delete(*store.logs.keys.lineage_workers)
        wait_replicated(primary, replica)
        promote(replica)
        store.move(replica.url)
        assert store.look()
        assert store.resume(first) == ([], True)

    def left_by_one(self, primary: RedisServer, replica: RedisServer) -> tuple[Store, Store, Position]:
        """A worker at the replica that took over, one still at the former primary, and where the first reads."""
        early, late = Store(primary.url), Store(primary.url)
        for worker in (early, late):
            worker.logs.lineage.look()
        early.append("1")
        wait_replicated(primary, replica)
        promote(replica)
        early.move(replica.url)
        assert early.logs.lineage.look()
        return early, late, early.page().tail

    def test_what_it_acknowledged_after_some_had_left_is_told_to_them_too(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        """Those read where it is not, and were told of the failover before it came to be lost."""
        early, late, reader = self.left_by_one(primary, replica)
        assert late.append("lost")[0].status is Status.APPENDED
        late.move(replica.url)
        assert late.logs.lineage.look()
        assert early.logs.lineage.look()
        assert early.resume(reader) == ([], True)
        reader = early.page().tail
        for worker in (early, late, early):
            assert not worker.logs.lineage.look()
            assert worker.resume(reader) == ([], False)

    @pytest.mark.parametrize("change", [Store.mark, Store.retract])
    def test_so_are_marks_and_retractions(
        self, primary: RedisServer, replica: RedisServer, change: Callable[[Store, str], bool]
    ) -> None:
        """Whoever made them saw their effect, and it is gone."""
        early, late, reader = self.left_by_one(primary, replica)
        assert change(late, "1")
        late.move(replica.url)
        assert late.logs.lineage.look()
        assert early.logs.lineage.look()
        assert early.resume(reader) == ([], True)

    @pytest.mark.parametrize("change", [Store.mark, Store.retract])
    def test_what_changed_nothing_there_is_no_loss(
        self, primary: RedisServer, replica: RedisServer, change: Callable[[Store, str], bool]
    ) -> None:
        early, late, reader = self.left_by_one(primary, replica)
        assert not change(late, "2")
        late.move(replica.url)
        assert late.logs.lineage.look()
        assert not early.logs.lineage.look()
        assert early.resume(reader) == ([], False)

    def test_what_it_acknowledged_after_some_had_left_counts_from_before_they_looked(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        early, late = Store(primary.url), Store(primary.url)
        for worker in (early, late):
            worker.logs.lineage.look()
        kept = early.append("1")[0].position
        wait_replicated(primary, replica)
        promote(replica)
        early.move(replica.url)
        assert early.resume(kept) == ([], False)
        reader = early.page().tail
        late.append("lost")
        time.sleep(0.02)  # not waited for anything: times are told in ms, and these two must differ
        assert early.logs.lineage.look()
        late.move(replica.url)
        assert late.logs.lineage.look()
        assert early.logs.lineage.look()
        assert early.resume(reader) == ([], True)

    @pytest.mark.parametrize("appends", [True, False])
    def test_who_comes_later_and_had_nothing_acknowledged_there_meanwhile_tells_nothing_twice(
        self, primary: RedisServer, replica: RedisServer, *, appends: bool
    ) -> None:
        early, late, reader = self.left_by_one(primary, replica)
        late.move(replica.url)
        if appends:
            late.append("2")
        assert late.logs.lineage.look()
        assert not early.logs.lineage.look()
        assert early.resume(reader) == (["2"] * appends, False)

    def test_a_primary_that_comes_back_after_it_was_a_replica_is_another_one(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        """Its process is the same, its connections live on; its data were replaced."""
        store = Store(primary.url)
        store.look()
        store.append("1")
        wait_replicated(primary, replica)
        promote(replica)
        lost = store.append("2")[0].position
        with primary.client() as client:
            client.replicaof(HOST, replica.port)
            wait_replicated(replica, primary)
            promote(primary)
        assert store.look()
        (other,) = store.append("other-2")
        assert (other.position.offset, lost.offset) == (2, 2)
        assert store.resume(lost) == ([], True)

    def test_a_run_that_lost_records_takes_no_more_and_can_be_ended(
        self, primary: RedisServer, replica: RedisServer
    ) -> None:
        """What follows would stand at once after the hole. A run's readers are told by its end, so they read on."""
        name = RunName("alice", "r1")
        here = Store(primary.url)
        here.runs.start(name, RUN)
        here.runs.append_all([Append(name, 1, [b"message 1", b"message 2"])])
        begin = here.runs.get(name).start
        wait_replicated(primary, replica)
        promote(replica)
        here.runs.append_all([Append(name, 3, [b"message 3"])])
        there = Store(replica.url)
        (written,) = there.runs.append_all([Append(name, 4, [b"message 4"])])
        assert (written.lost, written.taken, written.top) == (True, False, 2)
        assert there.runs.end(name, STOPPED).taken
        page = there.page(begin, name.log)
        assert [entry.record for entry in page.entries] == [b"message 1", b"message 2", *STOPPED.records]
        assert page.epoch != begin.epoch
        assert page.place(Position(begin.epoch, 2)) == 2
        assert page.place(Position(begin.epoch, 3)) is None


def read(store: Store, message_id: str) -> int:
    """Mark a message as read; answers the user's unread count."""
    return store.read_state.change("alice", [ALICE], Change(Mark.READ, True, (message_id,))).counts.unread


@dataclass
class Reader:
    """A client: its cursor, and every message of the log's history up to there, as far as it was told."""

    cursor: Vector
    seen: list[str] = field(default_factory=list)


class SetBack(RuleBasedStateMachine):
    """Any order of appends, reads and restarts, each from a state as old as Hypothesis likes.

    A reader that was not told of a loss has seen just what the log holds up to its cursor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.server = shared_server()
        self.client = redis.Redis.from_url(self.server.url)
        self.client.flushall()
        self.store = Store(self.server.url)
        self.number = 0
        self.kept: list[str] = []  # what the log holds now
        self.replicated: tuple[dict[bytes, Any], list[str]] = ({}, [])
        self.readers = [Reader(()) for _ in range(3)]

    @initialize()
    def begin(self) -> None:
        self.append(2)
        for who in range(len(self.readers)):
            self.come_anew(who)
        self.replicate()

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.kept.append(f"m{self.number}")
            assert self.store.append(self.kept[-1])[0].position.offset == len(self.kept)

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        if self.kept:
            at = data.draw(st.integers(0, len(self.kept) - 1))
            (again,) = self.store.append(self.kept[at])
            assert (again.status, again.position.offset) == (Status.DUPLICATE, at + 1)

    @rule(who=st.integers(0, 2))
    def come_back(self, who: int) -> None:
        reader = self.readers[who]
        page = self.store.page(reader.cursor[0])
        vector, lost = start([page], reader.cursor)
        reading = on_page(vector[0], page)
        if lost or reading.lost:
            self.stand_at(reader, page.tail)
            return
        reader.seen += titles(reading)
        reader.cursor = (reading.position,)
        assert reader.seen == self.kept

    @rule(who=st.integers(0, 2))
    def come_anew(self, who: int) -> None:
        self.stand_at(self.readers[who], self.store.page().tail)

    def stand_at(self, reader: Reader, tail: Position) -> None:
        assert tail.offset == len(self.kept)
        reader.cursor, reader.seen = (tail,), list(self.kept)

    @rule()
    def replicate(self) -> None:
        keys: Any = self.client.scan_iter()
        self.replicated = {key: self.client.dump(key) for key in keys}, list(self.kept)

    @rule()
    def look(self) -> None:
        self.store.logs.lineage.look()

    @rule(set_back=st.booleans())
    def server_starts_again(self, set_back: bool) -> None:
        if set_back:
            self.restore()
        change_replication_id(self.client)

    def restore(self) -> None:
        entries, self.kept = self.replicated[0], list(self.replicated[1])
        self.client.flushall()
        for key, value in entries.items():
            self.client.restore(key, 0, value)

    def teardown(self) -> None:
        for who in range(len(self.readers)):
            self.come_back(who)
            self.append(1)
            self.come_back(who)
        self.client.close()


_server: list[RedisServer] = []


def shared_server() -> RedisServer:
    return _server[0]


@pytest.fixture(autouse=True, scope="module")
def _machine_server() -> Iterator[None]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    _server.append(RedisServer(options=ALLOW_DEBUG).start())
    yield
    _server.pop().destroy()


TestSetBack = SetBack.TestCase
TestSetBack.settings = hypothesis_settings(max_examples=examples(100), stateful_step_count=30, deadline=None)
