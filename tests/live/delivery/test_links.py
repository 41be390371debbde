"""Each log is heard at the shard that holds it, also when its slot goes to another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.live.delivery.links import Links
from app.live.streams.subscriber import OpenLog
from app.store.keys import Keys
from app.store.logs.log import LogStore
from app.transport.subscription import Push, PushKind
from tests.live.delivery.test_link import Redis, settle
from tests.live.one_shard import LoneShard

KEYS = Keys("belfry")


class Commands:
    """Answers a look at the server of a shard."""

    def run(self, commands: Sequence[Any]) -> list[Any]:
        return [[b"0123456789abcdef", 0, 0], *[0 for _ in commands[1:]]]


class Shard(LoneShard):
    """One of several, and its side of each connection."""

    def __init__(self, name: str) -> None:
        super().__init__(self._connect)
        self.name = name
        self.commands = Commands()
        self.servers: list[Redis] = []

    def _connect(self) -> Redis:
        self.servers.append(Redis())
        return self.servers[-1]

    @property
    def asked(self) -> list[str]:
        """The users whose channels were asked for last, over the connection that is open now."""
        sent = [channel for name, channels in self.servers[-1].commands if name == "subscribe" for channel in channels]
        return [KEYS.name_of(channel.encode()).removeprefix("user:") for channel in sent if "{user:" in channel]

    @property
    def canaries(self) -> list[str]:
        sent = [channel for name, channels in self.servers[-1].commands if name == "subscribe" for channel in channels]
        return [channel for channel in sent if "{canary:" in channel]


class Cluster:
    """Two shards. The first one holds everything, except what `places` puts elsewhere."""

    def __init__(self) -> None:
        self.one, self.two = Shard("one"), Shard("two")
        self.shards = [self.one, self.two]
        self.places: dict[str, Shard] = {}
        self.second_canaries = "0123"
        self.coming: dict[str, Shard] = {}  # what the next refresh finds out
        self.is_away = False
        self.refreshes = 0

    def current(self) -> Sequence[Any]:
        return self.shards

    def holder(self, key: str) -> Any:
        if not self.shards:
            return None
        if "{canary:" in key:
            return self.two if key.partition("{canary:")[2][0] in self.second_canaries else self.one
        return self.places.get(KEYS.name_of(key.encode()).removeprefix("user:"), self.one)

    def slot_of(self, key: str) -> int:
        return len(key)

    def refresh(self) -> None:
        self.refreshes += 1
        if self.is_away:
            raise BelfryError("store_unavailable")
        self.places |= self.coming

    def follow(self, changed: Callable[[], None]) -> None:
        """Whoever looks again settles anyway."""


class Hub:
    """What the links told."""

    def __init__(self) -> None:
        self.logs: dict[str, OpenLog] = {}

    def open(self, user: str) -> OpenLog:
        open_log = self.logs[f"user:{user}"] = OpenLog(f"user:{user}")
        return open_log

    def open_logs(self) -> Iterable[OpenLog]:
        return self.logs.values()

    def find(self, channel: bytes) -> OpenLog | None:
        return self.logs.get(KEYS.name_of(channel))

    def acknowledged(self, open_log: OpenLog) -> None:
        open_log.acknowledged = True

    def received(self, channel: bytes, payload: bytes) -> None: ...

    def lost(self, logs: Iterable[OpenLog]) -> None:
        for open_log in logs:
            open_log.acknowledged = False

    def changed(self, logs: Iterable[OpenLog]) -> None: ...


class Setting:
    def __init__(self) -> None:
        self.cluster = Cluster()
        shards: Any = self.cluster
        self.hub = Hub()
        store = LogStore(Commands(), Settings())
        self.links = Links(shards, store, Settings(canary_seconds=0.1), self.hub, examines=False)

    def open(self, user: str) -> OpenLog:
        open_log = self.hub.open(user)
        self.links.subscribe(open_log)
        return open_log

    def open_acknowledged(self, user: str) -> OpenLog:
        """At the first shard."""
        open_log = self.open(user)
        settle(lambda: user in self.cluster.one.asked)
        server = self.cluster.one.servers[-1]
        for _ in range(len(self.cluster.one.asked) + len(self.cluster.one.canaries)):
            server.acknowledge(user)
        settle(lambda: open_log.acknowledged)
        return open_log

    def give_away(self, user: str) -> None:
        """The first shard ends a subscription by itself."""
        self.cluster.one.servers[-1].says.put(Push(PushKind.UNSUBSCRIBED, KEYS.live(f"user:{user}").encode(), b""))


@pytest.fixture
def setting() -> Iterator[Setting]:
    setting = Setting()
    setting.links.start()
    settle(lambda: setting.cluster.one.servers and setting.cluster.two.servers)
    yield setting
    setting.links.stop()


def test_each_log_is_asked_for_at_the_shard_that_holds_it(setting: Setting) -> None:
    setting.cluster.places["bob"] = setting.cluster.two
    setting.open("alice")
    setting.open("bob")
    settle(lambda: setting.cluster.two.asked)
    assert (setting.cluster.one.asked, setting.cluster.two.asked) == (["alice"], ["bob"])


def test_each_shard_has_a_canary_of_its_own(setting: Setting) -> None:
    settle(lambda: setting.cluster.one.canaries and setting.cluster.two.canaries)
    (first,), (second,) = setting.cluster.one.canaries, setting.cluster.two.canaries
    assert setting.cluster.holder(first) is setting.cluster.one
    assert setting.cluster.holder(second) is setting.cluster.two


def test_a_channel_that_is_given_away_is_asked_for_where_it_went(setting: Setting) -> None:
    alice = setting.open_acknowledged("alice")
    setting.cluster.coming["alice"] = setting.cluster.two
    setting.give_away("alice")
    settle(lambda: setting.cluster.two.asked == ["alice"])
    assert not alice.acknowledged
    server = setting.cluster.two.servers[-1]
    settle(lambda: setting.cluster.two.canaries)
    for _ in range(2):
        server.acknowledge("alice")
    settle(lambda: alice.acknowledged)


def test_a_channel_that_is_given_away_is_asked_for_again_where_the_lookup_knows_no_better(setting: Setting) -> None:
    setting.open_acknowledged("alice")
    setting.give_away("alice")
    settle(lambda: setting.cluster.one.asked == ["alice", "alice"])


def test_many_channels_that_are_given_away_cost_few_lookups(setting: Setting) -> None:
    users = [f"u{number}" for number in range(50)]
    for user in users:
        setting.open(user)
    settle(lambda: len(setting.cluster.one.asked) == len(users))
    setting.cluster.coming |= dict.fromkeys(users, setting.cluster.two)
    before = setting.cluster.refreshes
    for user in users:
        setting.give_away(user)
    settle(lambda: len(setting.cluster.two.asked) == len(users))
    assert setting.cluster.refreshes - before <= 3


def test_a_channel_that_was_left_on_purpose_is_not_asked_for_again(setting: Setting) -> None:
    alice = setting.open_acknowledged("alice")
    before = setting.cluster.refreshes
    del setting.hub.logs["user:alice"]
    setting.links.unsubscribe(alice)
    again = setting.open("alice")
    server = setting.cluster.one.servers[-1]
    settle(lambda: server.commands[-1][0] == "subscribe" and server.commands[-2][0] == "unsubscribe")
    setting.give_away("alice")  # the acknowledgement of the first
    server.acknowledge("alice")
    settle(lambda: again.acknowledged)
    assert setting.cluster.refreshes == before


def test_a_shard_that_is_no_more_is_left_and_its_logs_are_asked_for_elsewhere(setting: Setting) -> None:
    alice = setting.open_acknowledged("alice")
    setting.cluster.places["alice"] = setting.cluster.two
    setting.cluster.shards = [setting.cluster.two]
    setting.cluster.second_canaries = "0123456789abcdef"
    setting.links.settle()
    settle(lambda: setting.cluster.two.asked == ["alice"])
    assert setting.cluster.one.servers[-1].closed
    assert not alice.acknowledged
    assert [canary.shard for canary in setting.links.canaries] == ["two"]


def test_a_canary_whose_slot_moves_gets_another_channel(setting: Setting) -> None:
    settle(lambda: setting.cluster.one.canaries)
    (before,) = setting.cluster.one.canaries
    digit = before.partition("{canary:")[2][0]
    setting.cluster.second_canaries += digit
    setting.links.settle()
    settle(lambda: len(setting.cluster.one.canaries) == 2)
    assert setting.cluster.holder(setting.cluster.one.canaries[1]) is setting.cluster.one
    assert not setting.links.canaries.heard(before.encode())
    assert setting.links.canaries.heard(setting.cluster.one.canaries[1].encode())


def test_what_is_opened_before_any_shard_is_known_is_asked_for_as_soon_as_one_is() -> None:
    setting = Setting()
    shards, setting.cluster.shards = setting.cluster.shards, []
    setting.links.start()
    alice = setting.open("alice")
    assert alice.home is None
    with pytest.raises(BelfryError, match="not answered yet"):
        setting.links.canaries.check()
    setting.cluster.shards = shards
    setting.links.look_again()
    settle(lambda: setting.cluster.one.servers and setting.cluster.one.asked == ["alice"])
    setting.links.stop()
