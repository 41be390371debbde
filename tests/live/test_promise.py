"""The promise under every interleaving: each offset once and in order, or a reset in its place.

Hypothesis chooses what happens between any two steps of the real hub, streams and catch-up loop: appends, live entries
that arrive, get lost or come twice, fan-outs and rests that last for as long as it likes, reads that are under way,
sockets that fill and drain, clients that are cut and come back with their cursor, histories that are trimmed, lost or
set back.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque

import gevent
import pytest
from gevent.queue import Queue
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.log.catch_up import start
from app.core.log.cursor import Position, parse
from app.core.settings import Settings
from app.core.wire import frames
from app.live import turns
from app.live.delivery.hub import Hub, total_announced
from app.live.insight.presence import Presence
from app.live.insight.recorder import Flights
from app.live.streams.streams import Opening, Streams
from app.live.streams.subscriber import ClientInfo
from app.store.insight.flights import FlightStore
from app.store.insight.presence import PresenceStore
from app.transport.subscription import Subscription
from tests.examples import examples
from tests.live.model import Client as ModelClient
from tests.live.model import ModelLog, ModelPace, ModelSink, ModelStore, NoCommands, numbered
from tests.live.one_shard import LoneShard

NAMES = ("user:alice", "everyone")
PLENTY = 1_000_000
STEPS_TO_THE_END = 1_000


def no_redis() -> Subscription:
    raise BelfryError("store_unavailable")


class Promise(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # No slice of work ends by the clock, so the same choices lead to the same switches.
        self.patches = pytest.MonkeyPatch()
        for name in ("SLICE_SECONDS", "BACKGROUND_SLICE_SECONDS"):
            self.patches.setattr(turns, name, math.inf)
        self.logs = [ModelLog(name) for name in NAMES]
        self.store = ModelStore(self.logs)
        settings = Settings(heartbeat_seconds=120, tail_check_seconds=300, catch_up_batch=2)
        self.pace = ModelPace(settings)
        self.hub = Hub(self.store, LoneShard(no_redis), settings, time.time, pace=self.pace, examines=False)
        presence = Presence(PresenceStore(NoCommands(), settings), settings.lease_seconds, time.time)
        flights = Flights(FlightStore(NoCommands(), settings), time.time)
        self.streams = Streams(self.hub, presence, flights, settings, time.time)
        self.pipe: deque[tuple[str, bytes]] = deque()  # published, not yet received
        self.received: Queue[tuple[str, bytes]] = Queue()  # the link hands these over, one after the other
        self.records = numbered()
        self.spoken = 0
        self.lossless = True  # nothing was lost on the way to the hub, or in the store
        self.clients = [ModelClient(self.logs, lambda: self.lossless) for _ in range(3)]
        self.sinks: dict[int, ModelSink] = {}
        self.history_was_lost = False
        self.greenlets: list[gevent.Greenlet[..., None]] = [gevent.spawn(self.link)]

    def link(self) -> None:
        while True:
            name, payload = self.received.get()
            self.hub.received(self.store.keys.live(name).encode(), payload)

    @initialize()
    def two_clients_are_live(self) -> None:
        for who in (0, 1):
            self.client_connects(who, PLENTY)
        self.all_reads_finish()

    @rule(log=st.sampled_from((0, 1)), count=st.integers(1, 5))
    def append(self, log: int, count: int) -> None:
        for _ in range(count):
            record = next(self.records)
            vacant = self.logs[log].starts()
            epoch, offset = self.logs[log].append(record)
            if vacant:
                self.pipe.append((NAMES[log], f"{epoch}.0 belfry.born {' '.join(vacant)}".encode()))
            self.pipe.append((NAMES[log], b"%b.%d %b" % (epoch.encode(), offset, record)))

    @rule(log=st.sampled_from((0, 1)))
    def somebody_types(self, log: int) -> None:
        self.spoken += 1
        after = json.dumps({NAMES[log]: self.logs[log].top})
        self.pipe.append((NAMES[log], b'e.0 typing {"n":%d,"after":%b}' % (self.spoken, after.encode())))

    @rule()
    def feeds_state_changes(self) -> None:
        """A message on any log may be what it names."""
        after = json.dumps({log.name: log.top for log in self.logs})
        self.pipe.append((NAMES[0], b'e.0 read {"after":%b}' % after.encode()))

    @precondition(lambda self: self.pipe)
    @rule(times=st.sampled_from((1, 1, 1, 2)))
    def live_entry_arrives(self, times: int) -> None:
        name, payload = self.pipe.popleft()
        for _ in range(times if b".0 " not in payload else 1):
            self.received.put((name, payload))
        settle()

    @precondition(lambda self: self.pace.stopped)
    @rule()
    def a_fan_out_goes_on(self) -> None:
        self.pace.stopped.popleft().set()
        settle()

    @rule()
    def a_rest_is_over(self) -> None:
        self.pace.rest_is_over()
        settle()

    @precondition(lambda self: self.pipe)
    @rule()
    def live_entry_is_lost(self) -> None:
        self.pipe.popleft()
        self.lossless = False

    @precondition(lambda self: self.store.under_way)
    @rule()
    def a_read_goes_on(self) -> None:
        self.store.under_way.popleft().set()
        settle()

    @rule()
    def all_reads_finish(self) -> None:
        while self.store.under_way and not self.store.failing:
            self.a_read_goes_on()

    @rule()
    def all_fan_outs_finish(self) -> None:
        while not self.hub.fan_out.idle:
            if self.pace.stopped:
                self.a_fan_out_goes_on()
            else:
                self.a_rest_is_over()

    @rule(failing=st.booleans())
    def redis_goes_or_comes(self, failing: bool) -> None:
        self.store.failing = failing

    @rule()
    def the_link_is_back(self) -> None:
        for log in list(self.hub.open_logs()):
            self.hub.acknowledged(log)
        settle()

    @rule(who=st.integers(0, 2), room=st.sampled_from((0, 40, 400, PLENTY)))
    def client_connects(self, who: int, room: int) -> None:
        if who not in self.sinks:
            self.greenlets.append(gevent.spawn(self.connect, who, room))
            settle()

    def connect(self, who: int, room: int) -> None:
        client = self.clients[who]
        cursor = parse(client.cursor) if client.cursor else None
        logs = self.hub.join(NAMES)
        for log in logs:
            if not log.acknowledged:
                self.hub.acknowledged(log)
        try:
            pages = self.hub.read(logs, cursor)
        except BelfryError:
            self.hub.leave(logs)
            return
        if who in self.sinks:  # another attempt was faster
            self.hub.leave(logs)
            return
        opening = Opening(self.hub, "alice", logs, pages, *start(pages, cursor), total_announced(logs))
        client.connect(cursor)
        sink = self.sinks[who] = ModelSink(client, room)
        ready = frames.ready(opening.vector, 1_000, "alice", opening.counts, opening.behind, "")
        claims = Claims("alice", frozenset(), (), None, math.inf, "")
        self.streams.attach(opening, sink, ready, claims, ClientInfo("127.0.0.1", "test"))

    @precondition(lambda self: self.sinks)
    @rule(data=st.data())
    def client_is_cut(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.sinks)))
        self.sinks.pop(who).subscriber.close("gone")

    @precondition(lambda self: self.sinks)
    @rule(data=st.data(), room=st.sampled_from((10, 100, PLENTY)))
    def client_reads(self, data: st.DataObject, room: int) -> None:
        self.sinks[data.draw(st.sampled_from(sorted(self.sinks)))].make_room(room)
        settle()

    @rule(log=st.sampled_from((0, 1)), data=st.data())
    def entry_is_deleted(self, log: int, data: st.DataObject) -> None:
        of = self.logs[log]
        if of.top:
            of.deleted.add(Position(of.epoch, data.draw(st.integers(1, of.top))))

    @rule(log=st.sampled_from((0, 1)), keep=st.integers(0, 4))
    def history_is_trimmed(self, log: int, keep: int) -> None:
        of = self.logs[log]
        of.oldest = max(of.oldest, of.top - keep + 1)
        self.history_was_lost = True

    @rule(log=st.sampled_from((0, 1)))
    def history_is_lost(self, log: int) -> None:
        self.logs[log].begin()
        self.history_was_lost = True
        self.lossless = False

    @rule(log=st.sampled_from((0, 1)))
    def much_time_passes(self, log: int) -> None:
        self.logs[log].pass_time()

    @rule(lost=st.integers(0, 3), told=st.booleans(), appended=st.integers(0, 4))
    def redis_is_another_one(self, lost: int, told: bool, appended: int) -> None:
        """Started again from an older state, or replaced by a replica, of which all are told; and used at once."""
        self.lossless = False
        for at, log in enumerate(self.logs):
            top = max(0, log.top - lost)
            self.history_was_lost = self.history_was_lost or told or top < log.top
            log.set_back(top, told=told)
            self.append(at, appended)

    @invariant()
    def each_offset_came_once_and_in_order(self) -> None:
        assert not [fault for client in self.clients for fault in client.faults]

    @invariant()
    def no_reset_without_a_loss(self) -> None:
        assert self.history_was_lost or not any(client.resets for client in self.clients)

    @invariant()
    def what_is_kept_for_a_slow_client_is_bounded(self) -> None:
        assert all(sink.most_kept <= 40_000 for sink in self.sinks.values())

    def teardown(self) -> None:
        """In the end everything arrives: whoever is connected has all that there is."""
        try:
            self.arrive()
            self.each_offset_came_once_and_in_order()
            self.no_reset_without_a_loss()
            for who, sink in self.sinks.items():
                assert sink.subscriber.live, f"client {who} stands still"
                self.clients[who].has_everything()
        finally:
            self.patches.undo()
            self.store.gated = self.pace.gated = False
            for gate in (*self.store.under_way, *self.pace.stopped):
                gate.set()
            self.hub.stop()
            self.streams.stop()
            gevent.killall(self.greenlets)

    def arrive(self) -> None:
        self.store.failing = False
        while self.pipe:
            self.live_entry_arrives(times=1)
        self.the_link_is_back()
        for _ in range(STEPS_TO_THE_END):
            for sink in list(self.sinks.values()):
                sink.make_room(PLENTY)
            if self.store.under_way:
                self.a_read_goes_on()
            elif not self.hub.fan_out.idle:
                self.all_fan_outs_finish()
            elif self.hub.catch_up.idle:
                return
            else:
                gevent.sleep(0.01)  # a failed round waits for its next try
        raise AssertionError("it goes on for ever")


def settle() -> None:
    """Let every greenlet run until it waits for something."""
    for _ in range(4):
        gevent.sleep(0)


TestPromise = Promise.TestCase
TestPromise.settings = hypothesis_settings(max_examples=examples(150), stateful_step_count=40, deadline=None)


def test_who_had_read_what_the_store_lost_is_told_although_the_log_has_come_that_far_again() -> None:
    promise = after_a_set_back(lost=2, told=False)
    promise.teardown()
    assert [client.resets for client in promise.clients] == [1, 1, 0]


def test_after_a_failover_everyone_is_told() -> None:
    promise = after_a_set_back(lost=0, told=True)
    promise.teardown()
    assert [client.resets > 0 for client in promise.clients] == [True, True, False]


def test_a_store_that_was_started_again_and_lost_nothing_is_not_noticed() -> None:
    promise = after_a_set_back(lost=0, told=False)
    promise.teardown()
    assert [client.resets for client in promise.clients] == [0, 0, 0]


def test_the_first_message_of_a_log_comes_live_and_takes_no_read() -> None:
    promise = Promise()
    promise.two_clients_are_live()
    promise.append(0, 1)
    while promise.pipe:
        promise.live_entry_arrives(1)
    promise.all_fan_outs_finish()
    assert [client.place["user:alice"].offset for client in promise.clients[:2]] == [1, 1]
    assert not promise.store.under_way
    promise.teardown()
    assert [client.resets for client in promise.clients] == [0, 0, 0]


def test_where_the_creation_of_a_log_was_not_heard_its_readers_read_the_first_message() -> None:
    promise = Promise()
    promise.two_clients_are_live()
    promise.append(0, 1)
    promise.live_entry_is_lost()
    promise.teardown()
    assert [client.place["user:alice"].offset for client in promise.clients[:2]] == [1, 1]
    assert [client.resets for client in promise.clients] == [0, 0, 0]


def test_who_waits_for_the_first_message_of_a_log_gets_it_and_hears_of_no_loss() -> None:
    promise = Promise()
    promise.two_clients_are_live()
    promise.sinks.pop(0).subscriber.close("gone")
    promise.much_time_passes(0)
    promise.append(0, 2)
    promise.client_connects(0, PLENTY)
    promise.teardown()
    assert [client.place["user:alice"].offset for client in promise.clients[:2]] == [2, 2]
    assert [client.resets for client in promise.clients] == [0, 0, 0]


def after_a_set_back(lost: int, *, told: bool) -> Promise:
    """Two clients have read three messages; then the store's server is another one, and takes three more."""
    promise = Promise()
    promise.two_clients_are_live()
    promise.append(0, 3)
    for _ in range(3):
        promise.live_entry_arrives(1)
    promise.all_fan_outs_finish()
    promise.redis_is_another_one(lost, told, 3)
    return promise
