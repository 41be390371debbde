"""A real cluster: where its slots are is found out, and what a node refuses for a moment is done in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest
import redis

from app.core.errors import BelfryError
from app.core.message import parse
from app.core.settings import Settings
from app.store.keys import Keys
from app.store.logs.log import SCRIPTS, LogStore, Status
from app.store.logs.succession import Succession
from app.transport.cluster import Cluster
from app.transport.slots import slot_of
from app.transport.subscription import PushKind, Subscription
from tests.cluster import Node, RedisCluster
from tests.conftest import absent
from tests.servers import HOST, RedisServer, free_port

SECONDS = 20.0


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisCluster]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        yield RedisCluster(stack)


@pytest.fixture
def settings(servers: RedisCluster) -> Settings:
    return Settings(redis_url=servers.url, redis_timeout_seconds=5)


@pytest.fixture
def cluster(settings: Settings) -> Cluster:
    return Cluster(settings, SCRIPTS)


def store_of(cluster: Cluster, settings: Settings) -> LogStore:
    pipeline = cluster.pipeline()
    lineage = Succession(pipeline, Keys(settings.redis_prefix, settings.redis_db), settings.history_seconds)
    return LogStore(pipeline, settings, lineage=lineage, slot_of=cluster.slot_of)


def append(store: LogStore, user: str, id_: str) -> Status:
    text = f'{{"to": "{user}", "id": "{id_}", "data": 1}}'.encode()
    (outcome,) = store.append([(f"user:{user}", parse(text, now=1.0, new_id="", max_recipients=1))])
    return outcome.status


def other(servers: RedisCluster, owner: Node) -> Node:
    return next(node for node in servers.primaries if node is not owner)


class Migration:
    """A slot on its way, key by key, to another primary."""

    def __init__(self, servers: RedisCluster, key: str) -> None:
        self._servers = servers
        self.slot = slot_of(key)
        self.source = servers.owner(key)
        self.target = other(servers, self.source)
        self.target.ask("CLUSTER SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.ask("CLUSTER SETSLOT", self.slot, "MIGRATING", self.target.id)

    def move(self, *keys: str) -> None:
        self.source.ask("MIGRATE", HOST, self.target.port, "", 0, 5_000, "KEYS", *keys)

    def refused(self) -> int:
        """How often the two nodes answered TRYAGAIN."""
        refusals = [node.ask("INFO", "errorstats").get("errorstat_TRYAGAIN") for node in (self.source, self.target)]
        return sum(each["count"] for each in refusals if each)

    def finish(self) -> None:
        while keys := self.source.ask("CLUSTER GETKEYSINSLOT", self.slot, 100):
            self.move(*keys)
        for node in (self.target, *self._servers.primaries):
            node.ask("CLUSTER SETSLOT", self.slot, "NODE", self.target.id)


def test_the_primaries_are_found_by_any_node_and_replicas_are_none(servers: RedisCluster) -> None:
    for node in servers.nodes:
        cluster = Cluster(Settings(redis_url=f"redis+cluster://{node.address}"), SCRIPTS)
        cluster.refresh()
        assert {shard.name for shard in cluster.current()} == {each.address for each in servers.primaries}


def test_a_seed_that_is_away_does_no_harm_and_without_any_the_store_is_away(servers: RedisCluster) -> None:
    away = f"{HOST}:{free_port()}"
    cluster = Cluster(Settings(redis_url=f"redis+cluster://{away},{servers.nodes[0].address}"), SCRIPTS)
    cluster.refresh()
    assert len(cluster.current()) == 3
    with pytest.raises(BelfryError) as refusal:
        Cluster(Settings(redis_url=f"redis+cluster://{away}"), SCRIPTS).pipeline().run([("GET", "key")])
    assert refusal.value.code == "store_unavailable"


def test_a_node_without_slots_and_a_user_without_rights_are_told(settings: Settings) -> None:
    alone = Node()
    try:
        alone.start()
        empty = settings.model_copy(update={"redis_url": f"redis+cluster://{alone.address}"})
        with pytest.raises(BelfryError, match="No primary of the cluster holds"):
            Cluster(empty, SCRIPTS).ping()
        alone.ask("ACL", "SETUSER", "narrow", "on", ">word", "~*", "&*", "+@all", "-cluster")
        narrow = settings.model_copy(update={"redis_url": f"redis+cluster://narrow:word@{alone.address}"})
        with pytest.raises(BelfryError, match=r"cluster\|slots"):
            Cluster(narrow, SCRIPTS).ping()
    finally:
        alone.destroy()


def test_many_who_ask_at_once_share_a_refresh(cluster: Cluster) -> None:
    asked = [gevent.spawn(cluster.refresh) for _ in range(20)]
    gevent.sleep(0)
    first = cluster.refresh_soon()
    assert cluster.refresh_soon() is first
    gevent.joinall(asked, SECONDS, raise_error=True)


def test_followers_hear_of_a_slot_that_moved_and_not_of_a_refresh_that_found_nothing_new(
    cluster: Cluster, servers: RedisCluster
) -> None:
    heard: list[int] = []
    cluster.follow(lambda: heard.append(1))
    cluster.refresh()
    cluster.refresh()
    assert len(heard) == 1
    key = "belfry:{user:follow}:log"
    cluster.moved(slot_of(key), (HOST, other(servers, servers.owner(key)).port))
    cluster.refresh()
    assert len(heard) == 2
    holder = cluster.holder(key)
    assert holder is not None
    assert holder.name == servers.owner(key).address, "a wrong report is put right"


def test_a_slot_that_is_believed_elsewhere_is_found(
    cluster: Cluster, settings: Settings, servers: RedisCluster
) -> None:
    store = store_of(cluster, settings)
    cluster.refresh()
    key = store.keys.log("user:moved")
    cluster._map.moved(slot_of(key), (HOST, other(servers, servers.owner(key)).port))
    assert append(store, "moved", "one") is Status.APPENDED
    assert append(store, "moved", "one") is Status.DUPLICATE


def test_what_has_one_key_that_is_there_already_is_found_at_the_node_that_imports_its_slot(
    cluster: Cluster, settings: Settings, servers: RedisCluster
) -> None:
    store, pipeline = store_of(cluster, settings), cluster.pipeline()
    key = store.keys.marks("asked")
    pipeline.run([("HSET", key, "name", "value")])
    migration = Migration(servers, key)
    migration.move(key)
    assert pipeline.run([("HGET", key, "name")]) == [b"value"]
    migration.finish()
    assert pipeline.run([("HGET", key, "name")]) == [b"value"]


@pytest.mark.parametrize("user", ["new", "known"])
def test_an_append_waits_for_a_slot_that_is_on_its_way_and_is_done_once(
    cluster: Cluster, settings: Settings, servers: RedisCluster, user: str
) -> None:
    """Redis runs no script in such a slot that names a key that is not there yet."""
    store = store_of(cluster, settings)
    if user == "known":
        assert append(store, user, "one") is Status.APPENDED
    migration = Migration(servers, store.keys.log(f"user:{user}"))
    if user == "known":
        migration.move(store.keys.meta(f"user:{user}"))
    refused = migration.refused()
    waiting = gevent.spawn(append, store, user, "two")
    with gevent.Timeout(SECONDS):
        while migration.refused() < refused + 2:
            gevent.sleep(0.001)
    assert not waiting.dead
    migration.finish()
    assert waiting.get(timeout=SECONDS) is Status.APPENDED
    assert append(store, user, "two") is Status.DUPLICATE
    (tail,) = store.tails([f"user:{user}"])
    assert tail is not None
    assert tail.position.offset == (2 if user == "known" else 1)


def test_and_is_refused_when_the_caller_s_time_is_over(
    cluster: Cluster, settings: Settings, servers: RedisCluster
) -> None:
    store = store_of(cluster, settings)
    append(store, "stuck", "one")
    migration = Migration(servers, store.keys.log("user:stuck"))
    migration.move(store.keys.meta("user:stuck"))
    with pytest.raises(BelfryError) as refusal:
        append(store, "stuck", "two")
    assert refusal.value.code == "store_unavailable"
    migration.finish()
    assert append(store, "stuck", "two") is Status.APPENDED


def test_a_subscription_asks_for_channels_slot_by_slot_and_hears_when_one_is_given_away(
    cluster: Cluster, settings: Settings, servers: RedisCluster
) -> None:
    store = store_of(cluster, settings)
    cluster.refresh()
    names = [f"user:{{heard-{number}}}" for number in range(50)]
    shard = cluster.current()[0]
    channels = sorted([store.keys.live(name) for name in names if cluster.holder(store.keys.live(name)) is shard])
    subscription = shard.subscribe()
    try:
        subscription.subscribe(sorted(channels, key=slot_of))
        assert {received(subscription, PushKind.SUBSCRIBED) for _ in channels} == {each.encode() for each in channels}
        source = next(node for node in servers.nodes if node.address == shard.name)
        servers.migrate(slot_of(channels[0]), source, other(servers, source))
        assert received(subscription, PushKind.UNSUBSCRIBED) == channels[0].encode()
        subscription.subscribe(channels[:1])
        with pytest.raises(BelfryError) as refusal:
            received(subscription, PushKind.SUBSCRIBED)
        assert isinstance(refusal.value.__cause__, redis.exceptions.MovedError)
    finally:
        subscription.close()


def received(subscription: Subscription, kind: PushKind) -> bytes:
    with gevent.Timeout(SECONDS):
        push = subscription.receive()
    assert push.kind is kind
    return push.channel
