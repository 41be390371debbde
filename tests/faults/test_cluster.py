"""A Redis Cluster fails and is rebuilt under traffic: each message comes once and in order, or its loss is told."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from redis.crc import key_slot

from tests.cluster import Node, RedisCluster
from tests.conftest import absent
from tests.faults.crowd import Reader
from tests.faults.deployments import Deployments
from tests.faults.network import Network
from tests.faults.records import Reset
from tests.faults.traffic import Traffic
from tests.servers import Belfry

MESSAGES = 30
FAILOVER_SECONDS = 60.0
LINES = 20_000  # of a batch that takes longer than a slot's migration
LINE = "a line"

pytestmark = pytest.mark.timeout(240)

Deploy = Callable[..., tuple[RedisCluster, Belfry]]


class ClusterDeployments(Deployments):
    """Each call starts a store of its own."""

    def __call__(self, network: Network | None = None, **environment: str) -> tuple[RedisCluster, Belfry]:
        cluster = RedisCluster(self.stack, network)
        return cluster, self.start(cluster, environment)


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with ExitStack() as stack:
        yield ClusterDeployments(stack)


def log_key(belfry: Belfry, name: str) -> str:
    """A key of a log."""
    return f"{belfry.settings_environment['BELFRY_REDIS_PREFIX']}:{{{name}}}:log"


def log_keys(belfry: Belfry, traffic: Traffic) -> list[str]:
    """A key of each user's log."""
    return [log_key(belfry, f"user:{user}") for user in traffic.users]


def resets(reader: Reader) -> int:
    """How often it was told of a loss."""
    return sum(isinstance(event, Reset) for event in reader.events)


def held_by(cluster: RedisCluster, belfry: Belfry, traffic: Traffic, node: Node) -> set[str]:
    """The names of the readers that read a log on this primary."""
    names = {log for reader in traffic.readers for log in reader.logs}
    there = {name for name in names if cluster.owner(log_key(belfry, name)) is node}
    return {reader.name for reader in traffic.readers if there & {*reader.logs}}


def break_one(cluster: RedisCluster, belfry: Belfry, traffic: Traffic, fail: Callable[[Node], object]) -> set[str]:
    """Replace the primary that holds the first user's log, by what `fail` does to it. Answers whose logs it held."""
    key = log_key(belfry, f"user:{traffic.users[0]}")
    primary = cluster.owner(key)
    concerned = held_by(cluster, belfry, traffic, primary)
    with traffic.erasing():
        fail(primary)
        cluster.wait_for_other_owner(key, primary)
    traffic.run(MESSAGES, FAILOVER_SECONDS)
    return concerned


def test_a_primary_is_killed_and_only_the_readers_of_its_logs_are_told_of_a_loss(deploy: Deploy) -> None:
    cluster, belfry = deploy()
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        concerned = break_one(cluster, belfry, traffic, lambda primary: primary.signal(signal.SIGKILL))
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert {reader.name for reader in traffic.readers if resets(reader)} == concerned


def test_a_primary_is_cut_off_from_the_network_and_comes_back_as_a_replica(deploy: Deploy) -> None:
    if obstacle := Network.obstacle():
        absent(obstacle)
    with Network() as network:
        cluster, belfry = deploy(network)
        primary = cluster.primaries[0]
        with Traffic(belfry) as traffic:
            key = log_key(belfry, f"user:{traffic.users[0]}")
            if cluster.owner(key) is not primary:
                cluster.migrate(key_slot(key.encode()), cluster.owner(key), primary)
            traffic.run(MESSAGES, FAILOVER_SECONDS)
            concerned = held_by(cluster, belfry, traffic, primary)
            with traffic.erasing():
                network.cut()
                cluster.wait(lambda: cluster.owner(key) is not primary, "a failover")
            traffic.run(MESSAGES, FAILOVER_SECONDS)
            network.mend()
            cluster.wait(lambda: not primary.is_primary, "the former primary to follow its successor")
            traffic.run(MESSAGES, FAILOVER_SECONDS)
            verdict = traffic.finish()
        print(verdict, dict(traffic.book.answers))
        assert verdict.kept, verdict
        assert {reader.name for reader in traffic.readers if resets(reader)} == concerned


def publish_lines(belfry: Belfry, user: str) -> list[int]:
    """Send a long batch to one user; answers which of its lines were accepted."""
    lines = b"".join(
        [json.dumps({"to": user, "title": LINE, "data": number}).encode() + b"\n" for number in range(LINES)]
    )
    with belfry.api(belfry.token("publisher", "publish")) as api:
        headers = {"Content-Type": "application/x-ndjson"}
        answer = api.post("/publish", data=lines, headers=headers, timeout=FAILOVER_SECONDS)
    statuses = [json.loads(line)["status"] for line in answer.content.splitlines()]
    assert len(statuses) == LINES
    assert set(statuses) <= {201, 503}, set(statuses)
    return [number for number, status in enumerate(statuses) if status == 201]


@pytest.mark.nightly  # a minute long; whether a line meets the slot on its way depends on the machine
def test_a_node_is_added_takes_slots_over_with_a_batch_under_way_and_is_removed(deploy: Deploy) -> None:
    cluster, belfry = deploy()
    with Traffic(belfry) as traffic, belfry.stream("bob") as stream, ThreadPoolExecutor(1) as pool:
        stream.wait_for("ready")
        traffic.run(MESSAGES)
        added = cluster.add_primary()
        key = log_key(belfry, "user:bob")
        home, slot = cluster.owner(key), key_slot(key.encode())
        batch = pool.submit(publish_lines, belfry, "bob")
        stream.wait_for(lambda event: LINE in event.data, FAILOVER_SECONDS)
        cluster.migrate(slot, home, added)
        accepted = batch.result(FAILOVER_SECONDS)
        belfry.publish({"to": "bob", "title": "the end"})
        stream.wait_for(lambda event: "the end" in event.data, FAILOVER_SECONDS)
        heard = [message["data"] for message in stream.messages if message.get("title") == LINE]

        slots = {key_slot(each.encode()): cluster.owner(each) for each in log_keys(belfry, traffic)}
        for slot, former in slots.items():
            cluster.migrate(slot, former, added)
        traffic.run(MESSAGES, FAILOVER_SECONDS)
        for slot, former in {**slots, key_slot(key.encode()): home}.items():
            cluster.migrate(slot, added, former)
        cluster.remove(added)
        traffic.run(MESSAGES, FAILOVER_SECONDS)
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not sum(map(resets, traffic.readers))
    assert heard == sorted(set(heard)), "once and in order"
    assert not set(accepted) - set(heard)


def test_a_manual_failover_under_traffic(deploy: Deploy) -> None:
    cluster, belfry = deploy()
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        concerned = break_one(cluster, belfry, traffic, cluster.fail_over)
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert {reader.name for reader in traffic.readers if resets(reader)} <= concerned


@pytest.mark.parametrize("way", ["key by key", "whole"])
def test_slots_that_move_with_their_data_reset_nobody_also_to_a_primary_that_took_over_once(
    deploy: Deploy, way: str
) -> None:
    cluster, belfry = deploy()
    if way == "whole" and not cluster.moves_whole_slots:
        absent("Valkey 9, which moves whole slots")
    promoted = cluster.fail_over(cluster.primaries[0])
    cluster.wait(lambda: cluster.primaries[0] not in cluster.owners(), "the switchover to be known")
    migrate = cluster.migrate if way == "key by key" else cluster.migrate_whole
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        for name in [*[f"user:{user}" for user in traffic.users], "everyone", f"topic:{traffic.topic}"]:
            key = log_key(belfry, name)
            source = cluster.owner(key)
            target = promoted if source is not promoted else cluster.primaries[1]
            migrate(key_slot(key.encode()), source, target)
            traffic.run(MESSAGES, FAILOVER_SECONDS)
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not sum(map(resets, traffic.readers))
