"""Any order of changes, broken replication and switchovers, on two real servers that replicate.

A reader that was not told of a loss has seen just what the log holds. Where nothing was lost, no reader is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from app.core.errors import BelfryError
from app.core.log.catch_up import on_page, start
from app.core.log.cursor import Position
from tests.conftest import absent
from tests.replication import PRIMARY_OPTIONS, promote, replica_of, wait_replicated
from tests.servers import HOST, RedisServer, free_port
from tests.store.logs.test_lineage import ALICE, Store, message, titles

WORKERS = 2


@dataclass
class Reader:
    """A client: its cursor, and every message of the log up to there, as far as it was told."""

    cursor: Position
    seen: list[str] = field(default_factory=list)


class Switchovers(RuleBasedStateMachine):
    """One log, two workers, two readers."""

    pair: tuple[RedisServer, RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.primary, self.replica = self.pair
        for server in self.pair:
            with server.client() as client:
                client.replicaof("NO", "ONE")
                client.flushall()
        self.connect()
        self.workers = [Store(self.primary.url) for _ in range(WORKERS)]
        self.number = 0
        self.kept: list[str] = []  # what the log of the primary holds
        self.replicated: list[str] = []  # what the log of the replica holds

    @initialize()
    def begin(self) -> None:
        for worker in self.workers:
            worker.look()
        self.losses = self.workers[1].logs.lineage.losses
        self.append(0, 2)
        self.readers = [Reader(self.workers[0].page().tail, list(self.kept)) for _ in range(2)]

    def connect(self) -> None:
        with self.replica.client() as client:
            client.replicaof(HOST, self.primary.port)
        wait_replicated(self.primary, self.replica)
        self.is_connected = True

    @rule(who=st.integers(0, WORKERS - 1), count=st.integers(1, 3))
    def append(self, who: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.kept.append(f"m{self.number}")
            assert self.workers[who].append(self.kept[-1])[0].position.offset == len(self.kept)

    @rule(who=st.integers(0, WORKERS - 1))
    def look(self, who: int) -> None:
        self.workers[who].look()

    @precondition(lambda self: self.is_connected)
    @rule()
    def cut(self) -> None:
        """Replication stops, and the replica keeps what it has."""
        wait_replicated(self.primary, self.replica)
        self.replicated = list(self.kept)
        with self.replica.client() as client:
            client.replicaof(HOST, free_port())
        self.is_connected = False

    @precondition(lambda self: not self.is_connected)
    @rule()
    def mend(self) -> None:
        self.connect()

    @rule(first=st.integers(0, WORKERS - 1), late=st.booleans(), reads=st.booleans())
    def switch_over(self, first: int, *, late: bool, reads: bool) -> None:
        """The workers come one after the other. The former primary acknowledges one more message to a `late` one."""
        if self.is_connected:
            wait_replicated(self.primary, self.replica)
            self.replicated = list(self.kept)
        lost = self.kept != self.replicated
        promote(self.replica)
        early, other = self.workers[first], self.workers[1 - first]
        early.move(self.replica.url)
        early.look()
        if late:
            self.number += 1
            other.append(f"m{self.number}")
            lost = True
        self.kept = list(self.replicated)
        if reads and not lost:
            self.read_all(early)
        other.move(self.replica.url)
        other.look()
        early.look()
        assert (early.logs.lineage.losses > self.losses) is lost
        assert early.logs.lineage.losses == other.logs.lineage.losses
        self.losses = early.logs.lineage.losses
        self.primary, self.replica = self.replica, self.primary
        self.connect()
        self.read_all(early, lost=lost)

    @rule(who=st.integers(0, WORKERS - 1))
    def read(self, who: int) -> None:
        self.read_all(self.workers[who])

    def read_all(self, worker: Store, *, lost: bool = False) -> None:
        for reader in self.readers:
            page = worker.page(reader.cursor)
            vector, is_lost = start([page], (reader.cursor,))
            reading = on_page(vector[0], page)
            assert (is_lost or reading.lost) is lost
            if lost:
                reader.cursor, reader.seen = page.tail, list(self.kept)
                continue
            reader.seen += titles(reading)
            reader.cursor = reading.position
            assert reader.seen == self.kept


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        primary = RedisServer(port=free_port(), options=PRIMARY_OPTIONS)
        stack.callback(primary.destroy)
        replica = replica_of(primary.start())
        stack.callback(replica.destroy)
        yield primary, replica.start()


@pytest.mark.timeout(240)
def test_a_switchover_tells_what_was_lost_and_nothing_else(pair: tuple[RedisServer, RedisServer]) -> None:
    Switchovers.pair = pair
    checks = list(HealthCheck)
    run_state_machine_as_test(
        Switchovers,
        settings=settings(max_examples=10, stateful_step_count=15, deadline=None, suppress_health_check=checks),
    )


@pytest.mark.parametrize("goes_back", [False, True])
def test_a_change_that_the_former_primary_acknowledges_after_the_look_counts_as_lost(
    pair: tuple[RedisServer, RedisServer], goes_back: bool
) -> None:
    """The connections of one worker leave a primary that was replaced one after the other."""
    primary, replica = pair
    worker = Store(primary.url)
    worker.look()
    worker.append("kept")
    wait_replicated(primary, replica)
    promote(replica)
    with primary.client() as client:
        info = client.info("replication")
    Store(primary.url).append("lost")  # by another connection, which is still with the former primary
    worker.move(replica.url)
    worker.look()
    losses = worker.logs.lineage.losses
    worker.logs.lineage.acknowledged_by(f"{info['master_replid'][:16]} {info['master_repl_offset']}".encode())
    if goes_back:
        worker.move(primary.url)
        worker.look()
        worker.move(replica.url)
    assert worker.look(), "its logs may lack what they had"
    assert worker.logs.lineage.losses == losses + 1
    worker.look()
    assert worker.logs.lineage.losses == losses + 1, "it is counted once"


def test_nothing_is_given_before_a_loss_that_came_late_is_told(pair: tuple[RedisServer, RedisServer]) -> None:
    """A worker that comes late looks before it appends, so its readers hear of the loss before what comes later."""
    primary, replica = pair
    early, late = Store(primary.url), Store(primary.url)
    for worker in (early, late):
        worker.look()
    early.append("kept")
    late.append("kept-too")
    wait_replicated(primary, replica)
    promote(replica)
    early.move(replica.url)
    early.look()
    early.append("later")
    reader = early.page().tail
    late.append("lost")
    late.move(replica.url)
    late.append("latest")
    assert early.resume(reader)[1], "what was lost came before the latest message"


def test_a_worker_does_nothing_on_a_server_that_it_left(pair: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = pair
    worker = Store(primary.url)
    worker.look()
    worker.append("kept")
    wait_replicated(primary, replica)
    promote(replica)
    other_connection = Store(primary.url).logs
    other_connection.lineage = worker.logs.lineage
    worker.move(replica.url)
    worker.look()
    with pytest.raises(BelfryError) as refusal:
        other_connection.append([(ALICE, message("lost"))])
    assert refusal.value.code == "store_unavailable"
    assert Store(primary.url).page().top == 1
