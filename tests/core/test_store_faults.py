"""What a server lacks is read out of what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.core.store_faults import OPTIONAL, Weight, judge, lacking_rights, silent

SOUND: Mapping[str, Any] = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "cluster_enabled": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "connected_slaves": 0,
    "master_replid": "a" * 40,
}


def test_a_sound_server_has_no_fault() -> None:
    assert judge(SOUND, 0, OPTIONAL) == ()
    assert judge({**SOUND, "connected_slaves": 2}, 2, ()) == ()
    told = {"role": "master", "maxmemory": 1_000, "used_memory": 899, "aof_last_write_status": "ok"}
    assert judge({**SOUND, **told}, 0, OPTIONAL) == ()


def test_a_service_that_tells_little_is_not_accused() -> None:
    assert judge({"master_replid": "a"}, 1, ()) == ()


@pytest.mark.parametrize(
    ("told", "code", "weight", "says"),
    [
        ({"redis_version": "6.2.14"}, "version", Weight.ENDS, "7.0 or newer"),
        ({"redis_version": "5.0.0"}, "version", Weight.ENDS, "5.0.0"),
        ({"cluster_enabled": 1}, "cluster", Weight.ENDS, "redis+cluster://host:port,host:port"),
        ({"redis_mode": "cluster"}, "cluster", Weight.ENDS, "Redis Cluster"),
        ({"server_mode": "cluster"}, "cluster", Weight.ENDS, "Redis Cluster"),
        ({"redis_mode": "sentinel"}, "sentinel", Weight.ENDS, "redis+sentinel://host:port"),
        ({"role": "slave"}, "replica", Weight.REFUSES, "takes no writes"),
        ({"aof_last_write_status": "err"}, "persistence", Weight.WARNS, "full disk"),
        ({"aof_last_bgrewrite_status": "err"}, "persistence", Weight.WARNS, "full disk"),
        ({"maxmemory": 1_000, "used_memory": 900}, "memory", Weight.WARNS, "1000 bytes"),
        ({"maxmemory_policy": "volatile-lru"}, "eviction", Weight.WARNS, "volatile-lru"),
        ({"maxmemory_policy": "allkeys-random"}, "eviction", Weight.WARNS, "noeviction"),
        ({"aof_enabled": 0}, "persistence", Weight.WARNS, "appendonly"),
        ({"connected_slaves": 1}, "replicas", Weight.WARNS, "1 replicas are connected"),
    ],
)
def test_each_fault_is_named(told: Mapping[str, Any], code: str, weight: Weight, says: str) -> None:
    (fault,) = judge({"connected_slaves": 2, **SOUND, **told}, told.get("connected_slaves", -1) + 1, ())
    assert (fault.code, fault.weight) == (code, weight)
    assert says in fault.text
    assert "\n" not in fault.text


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.0.0", "255.255.255", "unknown"])
def test_every_version_from_the_least_on_will_do(version: str) -> None:
    assert judge({**SOUND, "redis_version": version}, 0, ()) == ()


def test_every_valkey_will_do_whatever_redis_it_says_to_be() -> None:
    assert judge({**SOUND, "redis_version": "6.2.0", "valkey_version": "9.1.2"}, 0, ()) == ()


def test_a_server_without_a_replication_id_is_told() -> None:
    info = {name: value for name, value in SOUND.items() if name != "master_replid"}
    (fault,) = judge(info, 0, ())
    assert (fault.code, fault.refuses) == ("replication_id", False)
    assert silent(()).code == "replication_id"
    assert silent(("replication_id",)).refuses


@pytest.mark.parametrize("code", OPTIONAL)
def test_a_setting_decides_which_faults_refuse(code: str) -> None:
    info = {**SOUND, "maxmemory_policy": "allkeys-lru", "aof_enabled": 0}
    del info["master_replid"]
    refusing = [fault.code for fault in judge(info, 1, (code,)) if fault.refuses]
    assert refusing == [code]


def test_rights_that_lack_are_listed_and_refuse() -> None:
    fault = lacking_rights(["+time", "&belfry:*"])
    assert fault.refuses
    assert "+time &belfry:*" in fault.text


def test_a_server_behind_the_address_of_a_cluster_must_be_a_node_of_one() -> None:
    (fault,) = judge({**SOUND, "cluster_enabled": 0}, 0, (), is_cluster=True)
    assert (fault.code, fault.weight) == ("cluster", Weight.ENDS)
    assert "redis://host:port" in fault.text
    assert judge({**SOUND, "cluster_enabled": 1}, 0, (), is_cluster=True) == ()
