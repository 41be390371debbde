"""What an idle stream holds: a bound on the bytes of its objects, so that no copy of anything creeps in."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator

import gevent.socket
import pytest

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.log.catch_up import Page
from app.core.settings import Settings
from app.live.delivery.hub import Hub
from app.live.insight.presence import Presence
from app.live.insight.recorder import Flights
from app.live.streams.poller import AVAILABLE, Poller
from app.live.streams.sinks import ParkedSocket
from app.live.streams.streams import Opening, Streams
from app.live.streams.subscriber import ClientInfo, Subscriber
from app.store.insight.flights import FlightStore
from app.store.insight.presence import PresenceStore
from app.store.logs.log import LogStore
from app.transport.subscription import Subscription
from tests.live.model import NoCommands
from tests.live.one_shard import LoneShard

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="no epoll on this system")

CROWD = 300
BYTES_EACH = 1_120  # 1,072 seen, without its claims, and with its share of dicts that grow by doubling
HERE = ClientInfo("127.0.0.1", "test")


def no_redis() -> Subscription:
    raise BelfryError("store_unavailable")


class Place:
    """A worker's streams, each of a user of its own who stands at the tails of two logs."""

    def __init__(self) -> None:
        settings = Settings(redis_url="redis://unused.invalid")
        self.hub = Hub(LogStore(NoCommands(), settings), LoneShard(no_redis), settings, time.time, examines=False)
        presence = Presence(PresenceStore(NoCommands(), settings), settings.lease_seconds, time.time)
        self.flights = Flights(FlightStore(NoCommands(), settings), time.time)
        self.streams = Streams(self.hub, presence, self.flights, settings, time.time)
        self.poller = Poller()
        self.theirs: list[gevent.socket.socket] = []

    def park(self, user: str) -> Subscriber:
        claims = Claims(user, frozenset({"feed"}), (), None, time.time() + 600, "token")
        logs = self.hub.join([f"user:{user}", "everyone"])
        # As the store tells it, in objects of its own: each reply has another copy of the same words.
        pages = tuple([Page("".join(each.name[-4:]), 1_000, 1, 1_000, 1_000, ()) for each in logs])
        for each, page in zip(logs, pages, strict=True):
            each.seen = each.seen or page.tail
        opening = Opening(self.hub, user, logs, pages, tuple([page.tail for page in pages]), lost=False, announced=0)
        ours, theirs = gevent.socket.socketpair()
        self.theirs.append(theirs)
        sink = ParkedSocket(ours, self.poller, write_timeout_seconds=1)
        self.streams.attach(opening, sink, b"data: hello\n\n", claims, HERE)
        return sink.subscriber

    def close(self) -> None:
        self.streams.stop()
        for theirs in self.theirs:
            theirs.close()
        self.poller.close()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def test_who_stands_at_a_tail_holds_the_hub_s_own_position(place: Place) -> None:
    for user in ("alice", "bobby"):
        subscriber = place.park(user)
        assert subscriber.live
        for at, log in enumerate(subscriber.logs):
            assert subscriber.vector[at] is log.seen


def test_an_idle_stream_holds_little_more_than_a_kilobyte(place: Place) -> None:
    for number in range(CROWD):
        place.park(f"warm-{number}")
    gc.collect()
    # "<string>" is where named tuples and dataclasses are made.
    only_ours = [tracemalloc.Filter(inclusive=True, filename_pattern=pattern) for pattern in ("*/app/*", "<string>")]
    tracemalloc.start()
    try:
        for number in range(CROWD):
            place.park(f"user-{number}")
        place.flights._recorder._waiting.clear()  # what a moment later is recorded
        gc.collect()
        held = sum(each.size for each in tracemalloc.take_snapshot().filter_traces(only_ours).traces)
    finally:
        tracemalloc.stop()
    assert held / CROWD < BYTES_EACH
