"""However many want history at once, the store meets a bounded number of reads."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import gevent
from gevent.event import Event

from app.core.identity.tokens import Claims
from app.core.log.catch_up import Page
from app.core.log.cursor import Position, Vector
from app.core.settings import Settings
from app.live.delivery.catch_up import CatchUp
from app.live.streams.subscriber import OpenLog, Subscriber
from app.store.logs.log import LogStore
from tests.live.model import Client, ModelLog, ModelSink, NoCommands

STREAMS, BATCH, ROUNDS = 100, 7, 3


class Owner:
    """Nobody who minds."""

    tick = 0

    def _ignore(self, *_: object) -> None: ...

    blocked = progressed = drained = outdated = lost = located = dismissed = shared = closed = _ignore


class Recording:
    """A sink that keeps what is written to it."""

    subscriber: Subscriber
    pending = False
    pending_bytes = 0

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> bool:
        self.written += data
        return True

    def close(self) -> None: ...


class Store(LogStore):
    """Counts the reads under way; each waits until it may go on."""

    def __init__(self, logs: dict[str, ModelLog]) -> None:
        super().__init__(NoCommands(), Settings())
        self._model = logs
        self.go = Event()
        self.under_way = self.most = self.largest = 0

    def read(self, requests: Sequence[tuple[str, Vector]], user: str = "") -> list[Page]:  # noqa: ARG002 - no marks here
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.largest = max(self.largest, len(requests))
        self.go.wait()
        gevent.sleep(0)
        self.under_way -= 1
        return [self._model[name].page(vector[0].offset) for name, vector in requests]


def test_reads_are_bounded_in_number_and_size_and_everyone_comes_to_the_end() -> None:
    logs = {f"u{number}": ModelLog(f"u{number}") for number in range(STREAMS)}
    for log in logs.values():
        log.append(b'message {"n":1}')
    store = Store(logs)
    catch_up = CatchUp(store, BATCH, ROUNDS, time.time)
    subscribers = [subscriber(log) for log in logs.values()]
    for waiting in subscribers:
        catch_up.add(waiting)
    gevent.sleep(0)
    assert store.under_way == ROUNDS
    store.go.set()
    with gevent.Timeout(60):
        while not catch_up.idle:
            gevent.sleep(0)
    assert (store.most, store.largest) == (ROUNDS, BATCH)
    assert all(each.live and each.vector[0].offset == 1 for each in subscribers)


def test_history_that_an_older_version_kept_is_made_safe_when_it_is_read() -> None:
    log = ModelLog("user:alice")
    reader = subscriber(log)
    log.append('message {"n":"<b>\u2028&"}'.encode())
    log.append(b'message {"n":"plain"}')
    sink = reader.sink = Recording()
    reader.take([log.page(0)], 0, b"HTTP/1.1 200 OK\r\nLink: </docs>\r\n\r\n")
    head, _, body = sink.written.partition(b"\r\n\r\n")
    assert b"Link: </docs>" in head, "only JSON is changed"
    assert rb'data: {"n":"\u003cb\u003e\u2028\u0026"}' in body
    assert rb'data: {"n":"plain"}' in body


def subscriber(log: ModelLog) -> Subscriber:
    """One that stands before the first entry of its log."""
    open_log = OpenLog(log.name)
    claims = Claims("alice", frozenset(), (), None, math.inf, "")
    client = Client([log])
    client.connect((Position(log.epoch, 0),))
    return Subscriber(Owner(), claims, (open_log,), (Position(log.epoch, 0),), ModelSink(client, 10_000))
