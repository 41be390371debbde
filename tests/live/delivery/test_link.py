"""The link: acknowledgements belong to the right log, and a lost connection is made good."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

import gevent
import gevent.socket
import hiredis
import pytest
import redis
from gevent.queue import Queue

from app.core.errors import BelfryError
from app.live.delivery import link
from app.live.delivery.link import CHANNELS_PER_COMMAND, RECONNECT_SECONDS, Link
from app.live.streams.subscriber import OpenLog
from app.transport.connection import unavailable
from app.transport.subscription import Push, PushKind, Subscription


class Redis:
    """A server's side of a subscription: what was sent to it, and what it says when told to."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, list[str]]] = []
        self.says: Queue[Push | None] = Queue()
        self.closed = False
        self.refusal = BelfryError("store_unavailable")

    def subscribe(self, channels: Iterable[str]) -> None:
        self.commands.append(("subscribe", list(channels)))

    def unsubscribe(self, channels: Iterable[str]) -> None:
        self.commands.append(("unsubscribe", list(channels)))

    def ping(self) -> None:
        self.says.put(Push(PushKind.PONG, b"", b""))

    def receive(self) -> Push:
        push = self.says.get()
        if push is None:
            raise self.refusal
        return push

    def close(self) -> None:
        self.closed = True

    def acknowledge(self, name: str) -> None:
        self.says.put(Push(PushKind.SUBSCRIBED, name.encode(), b""))


class Ear:
    """What the link told."""

    def __init__(self) -> None:
        self.logs: list[OpenLog] = []
        self.told: list[object] = []

    def wanted(self) -> Iterable[OpenLog]:
        return list(self.logs)

    def acknowledged(self, open_log: OpenLog) -> None:
        self.told.append(open_log)

    def received(self, channel: bytes, payload: bytes) -> None:
        self.told.append((channel, payload))

    def left(self, channel: bytes) -> None:
        self.told.append(("left", channel))

    def lost(self) -> None:
        self.told.append("lost")


class Setting:
    def __init__(self) -> None:
        self.servers: list[Redis] = []
        self.ear = Ear()
        self.refusal: Exception | None = None
        self.link = Link(self._connect, lambda name: name, self.ear)
        self.link.start()
        settle(lambda: self.link.connected)

    def _connect(self) -> Redis:
        if self.refusal:
            raise unavailable(self.refusal) from self.refusal
        self.servers.append(Redis())
        return self.servers[-1]

    @property
    def redis(self) -> Redis:
        return self.servers[-1]


def settle(condition: Callable[[], object]) -> None:
    with gevent.Timeout(60):
        while not condition():
            gevent.sleep(0.001)


@pytest.fixture
def setting() -> Iterable[Setting]:
    setting = Setting()
    yield setting
    setting.link.stop()


def test_logs_asked_for_together_share_a_command(setting: Setting) -> None:
    for number in range(CHANNELS_PER_COMMAND + 2):
        setting.link.subscribe(OpenLog(str(number)))
    settle(lambda: len(setting.redis.commands) == 2)
    assert [len(channels) for _, channels in setting.redis.commands] == [CHANNELS_PER_COMMAND, 2]


def test_the_first_acknowledgement_of_a_channel_is_not_taken_for_the_second(setting: Setting) -> None:
    first, second = OpenLog("alice"), OpenLog("alice")
    setting.link.subscribe(first)
    setting.link.unsubscribe(first)
    setting.link.subscribe(second)
    settle(lambda: len(setting.redis.commands) == 3)
    setting.redis.acknowledge("alice")
    settle(lambda: setting.ear.told)
    assert setting.ear.told == [first]
    setting.redis.acknowledge("alice")
    settle(lambda: len(setting.ear.told) == 2)
    assert setting.ear.told == [first, second]


def test_what_is_published_is_handed_over(setting: Setting) -> None:
    setting.redis.says.put(Push(PushKind.MESSAGE, b"alice", b"payload"))
    settle(lambda: setting.ear.told)
    assert setting.ear.told == [(b"alice", b"payload")]


def test_after_a_loss_everything_wanted_is_subscribed_again_and_acknowledged_anew(setting: Setting) -> None:
    setting.ear.logs = [OpenLog("alice"), OpenLog("bob")]
    setting.link.subscribe(OpenLog("unanswered"))
    old = setting.redis
    old.says.put(None)
    settle(lambda: len(setting.servers) == 2 and setting.redis.commands)
    assert old.closed
    assert setting.ear.told == ["lost"]
    assert setting.redis.commands == [("subscribe", ["alice", "bob"])]
    setting.redis.acknowledge("alice")
    setting.redis.acknowledge("bob")
    settle(lambda: len(setting.ear.told) == 3)
    assert setting.ear.told[1:] == setting.ear.logs


def test_the_log_says_why_there_is_no_connection(
    setting: Setting, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link.logger, "disabled", False)  # others, who have no Redis, silence it
    setting.refusal = OSError("certificate verify failed")
    setting.redis.says.put(None)
    settle(lambda: "no connection to the store: certificate verify failed" in caplog.messages)


@pytest.fixture
def eager_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PING_SECONDS", 0.001)


@pytest.mark.usefixtures("eager_ping")
@pytest.mark.parametrize("at", ["subscribe", "unsubscribe", "ping"])
def test_after_a_surprise_in_writing_it_begins_anew(
    setting: Setting, at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        setting.redis.says.put(None)  # as a real one would, which is closed then
        raise AssertionError("a bug")

    monkeypatch.setattr(link.logger, "disabled", False)
    monkeypatch.setattr(setting.redis, at, fail)
    for order in (setting.link.subscribe, setting.link.unsubscribe):
        order(OpenLog("alice"))
    settle(lambda: len(setting.servers) == 2 and setting.link.connected)
    assert setting.servers[0].closed
    assert "writing to the store failed" in caplog.messages
    setting.link.subscribe(OpenLog("bob"))
    settle(lambda: ("subscribe", ["bob"]) in setting.redis.commands)


class Wired(redis.Connection):
    """A connection over a socket that is there already, and says nothing by itself."""

    def __init__(self, ours: gevent.socket.socket) -> None:
        super().__init__(redis_connect_func=self._parsed)  # type: ignore[no-untyped-call]  # redis-py's
        self._ours = ours

    def _connect(self) -> gevent.socket.socket:
        return self._ours

    def _parsed(self, _: object) -> None:
        self._parser.on_connect(self)


@pytest.mark.usefixtures("eager_ping")
def test_a_ping_waits_until_a_command_that_fills_the_socket_was_written() -> None:
    ours, theirs = gevent.socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    connection = Wired(ours)
    connection.connect()  # type: ignore[no-untyped-call] # redis-py's is untyped
    subscription = Subscription(connection)
    wire = Link(lambda: subscription, lambda name: name * 1_000, Ear())
    wire.start()
    settle(lambda: wire.connected)
    for number in range(100):
        wire.subscribe(OpenLog(f"{number:03}"))
    settle(wire._sending.linkcount)  # the ping
    wire.subscribe(OpenLog("one more"))
    reader = hiredis.Reader()
    commands: list[list[bytes]] = []
    with gevent.Timeout(60):
        while len(commands) < 2:
            reader.feed(theirs.recv(65_536))
            commands += [command for command in iter(reader.gets, False) if command != [b"PING"]]
    assert [len(channels) for _, *channels in commands] == [100, 1]
    wire.stop()
    ours.close()
    theirs.close()


def test_a_store_that_refuses_every_subscription_is_asked_ever_more_seldom_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setting = Setting()
    try:
        denied = redis.exceptions.NoPermissionError("No permissions to access a channel")
        setting.ear.logs = [OpenLog("user:a")]
        for number in range(4):
            settle(lambda: setting.link.connected)
            server = setting.servers[-1]
            if number:
                settle(lambda: setting.servers[-1].commands)
            server.refusal = unavailable(denied)
            server.refusal.__cause__ = denied
            server.says.put(None)
            settle(lambda: not setting.link.connected)
        assert setting.link._pause >= RECONNECT_SECONDS[0] * 2**3
        told = [record.message for record in caplog.records if "no connection" in record.message]
        assert told[-1] == "no connection to the store: No permissions to access a channel (SUBSCRIBE user:a)"
        assert len(told) <= 2
        assert setting.link.trouble
        settle(lambda: setting.link.connected)
        setting.servers[-1].acknowledge("user:a")
        settle(lambda: setting.link._pause == RECONNECT_SECONDS[0])
        assert not setting.link.trouble
    finally:
        setting.link.stop()
