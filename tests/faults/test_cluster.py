"""A Redis Cluster fails and is rebuilt under traffic: each message comes once and in order, or its loss is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from redis.crc import key_slot

from tests.cluster import Node, RedisCluster
from tests.conftest import absent
from tests.faults.crowd import Reader
from tests.faults.deployments import Deployments
from tests.faults.records import Reset
from tests.faults.traffic import Traffic
from tests.servers import Belfry

MESSAGES = 30
FAILOVER_SECONDS = 60.0

pytestmark = pytest.mark.timeout(240)

Deploy = Callable[..., tuple[RedisCluster, Belfry]]


class ClusterDeployments(Deployments):
    """Each call starts a store of its own."""

    def __call__(self, **environment: str) -> tuple[RedisCluster, Belfry]:
        cluster = RedisCluster(self.stack)
        return cluster, self.start(cluster, environment)


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with ExitStack() as stack:
        yield ClusterDeployments(stack)


def log_key(belfry: Belfry, name: str) -> str:
    """A key of a log."""
    return f"{belfry.settings_environment['BELFRY_REDIS_PREFIX']}:{{{name}}}:log"


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
