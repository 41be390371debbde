"""A parked socket, whatever kind of socket it is."""

from __future__ import annotations

import gc
import time

import gevent.socket
import pytest

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.log.cursor import Position
from app.core.settings import Settings
from app.live.delivery.hub import Hub
from app.live.insight.presence import Presence
from app.live.insight.recorder import Flights
from app.live.streams.poller import Poller
from app.live.streams.sinks import ParkedSocket
from app.live.streams.streams import Opening, Streams
from app.live.streams.subscriber import ClientInfo, Subscriber
from app.store.insight.flights import FlightStore
from app.store.insight.presence import PresenceStore
from app.store.logs.log import LogStore
from app.transport.subscription import Subscription
from tests.live.model import NoCommands
from tests.live.one_shard import LoneShard

pytestmark = pytest.mark.usefixtures("epoll")

ALICE = Claims("alice", frozenset({"feed"}), (), None, time.time() + 600, "token")


def no_redis() -> Subscription:
    raise BelfryError("store_unavailable")


@pytest.fixture
def streams() -> Streams:
    settings = Settings(redis_url="redis://unused.invalid")
    hub = Hub(LogStore(NoCommands(), settings), LoneShard(no_redis), settings, time.time, examines=False)
    presence = Presence(PresenceStore(NoCommands(), settings), settings.lease_seconds, time.time)
    return Streams(hub, presence, Flights(FlightStore(NoCommands(), settings), time.time), settings, time.time)


def park(streams: Streams, poller: Poller) -> gevent.socket.socket:
    """The other end of a stream of Alice's, who stands at the tail of her log."""
    ours, theirs = gevent.socket.socketpair()
    logs = streams._hub.join(["user:alice"])
    logs[0].seen = Position("epoch", 0)
    opening = Opening(streams._hub, "alice", logs, (), (logs[0].seen,), lost=False, announced=0)
    sink = ParkedSocket(ours, poller, write_timeout_seconds=1)
    streams.attach(opening, sink, b"data: hello\n\n", ALICE, ClientInfo("", ""))
    return theirs


def test_a_unix_socket_can_be_parked(streams: Streams) -> None:
    """A proxy on the same machine may come by one (`BELFRY_BIND=unix:…`); it has none of TCP's options."""
    poller = Poller()
    theirs = park(streams, poller)
    assert theirs.recv(64) == b"data: hello\n\n"
    streams.stop()
    assert theirs.recv(64) == b""
    theirs.close()
    poller.close()


def test_a_client_that_can_t_be_watched_stays_with_the_server() -> None:
    """The kernel refuses at a limit (`fs.epoll.max_user_watches`), and here a descriptor that it watches already."""
    poller = Poller()
    ours, theirs = gevent.socket.socketpair()
    poller._epoll.register(ours.fileno())
    with pytest.raises(OSError, match="exists"):
        ParkedSocket(ours, poller, write_timeout_seconds=1)
    assert len(poller) == 0
    ours.sendall(b"500")
    assert theirs.recv(64) == b"500"
    ours.close()
    assert theirs.recv(64) == b""
    theirs.close()
    poller.close()


def parts_of_streams() -> list[object]:
    """Every object of a stream that is in memory now."""
    return [each for each in gc.get_objects() if isinstance(each, Subscriber | ParkedSocket | Opening)]


def test_a_stream_that_ended_leaves_nothing_to_collect(streams: Streams) -> None:
    """The worker's collector looks at everything only seldom: what ends must go by itself."""
    poller = Poller()
    gc.collect()
    others = {id(each): each for each in parts_of_streams()}  # other tests' own, kept so that no id is used again
    gc.disable()
    try:
        theirs = park(streams, poller)
        streams.stop()
        assert [each for each in parts_of_streams() if id(each) not in others] == []
    finally:
        gc.enable()
    theirs.close()
    poller.close()
