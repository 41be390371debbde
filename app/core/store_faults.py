"""The faults of the store's server that break Belfry's promises, judged by the server's own report (`INFO`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

# Scripts use SET NX GET and EXPIRE GT, which Redis 6.2 refuses.
LEAST_VERSION: Final = (7, 0)
KEEPS: Final = "noeviction"

# The format number of the stored data. docs/upgrade.md says when to raise the number, and has a line for each one.
FORMAT: Final = 1
FULL_SHARE: Final = 0.9  # of maxmemory; from this share on, a warning says that the store is nearly full

CODES: Final = (
    "version",
    "cluster",
    "sentinel",
    "database",
    "format",
    "replica",
    "eviction",
    "persistence",
    "memory",
    "replicas",
    "replication_id",
    "rights",
)
# A setting decides whether these faults make the server not ready.
OPTIONAL: Final = ("eviction", "persistence", "replicas", "replication_id")


class Weight(Enum):
    """The effect of a fault, in addition to a line in the log, a metric and a warning of `/health/ready`."""

    WARNS = "warns"
    REFUSES = "refuses"  # not ready
    ENDS = "ends"  # not ready, and a server that is starting does not start


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `code` is its name in metrics and readiness. `text` says what is wrong and how to fix it."""

    code: str
    text: str
    weight: Weight = Weight.WARNS

    @property
    def refuses(self) -> bool:
        """Whether the server must get no traffic."""
        return self.weight is not Weight.WARNS


def judge(
    info: Mapping[str, Any], wanted_replicas: int, strict: Collection[str], *, is_cluster: bool = False
) -> tuple[Fault, ...]:
    """Return the faults that `info`, the whole reply of `INFO`, shows. Those named in `strict` refuse traffic.

    `is_cluster`: whether the URL names a Redis Cluster. A missing field is not a fault, because managed services leave
    some out.
    """
    kinds = (_sentinel(info), _version(info), _cluster(info, is_cluster=is_cluster))
    unusable = [fault for fault in kinds if fault]
    if unusable:  # whatever its configuration is
        return tuple(unusable)
    found = (
        _replica(info),
        _eviction(info),
        _persistence(info),
        _memory(info),
        _replicas(info, wanted_replicas),
        _replication_id(info),
    )
    return tuple([_weighed(fault, strict) for fault in found if fault])


def lacking_rights(denied: Sequence[str]) -> Fault:
    """Return the fault for commands, keys or channels that Redis refuses to its user."""
    text = f"the Redis user lacks rights: {' '.join(denied)}; docs/redis.md has the ACL line that Belfry needs"
    return Fault("rights", text, Weight.REFUSES)


def no_database(number: int) -> Fault:
    """Return the fault for a database that Redis refuses to select."""
    text = (
        f"the server has no database {number}: set the number at the end of BELFRY_REDIS_URL to a lower one, or "
        "raise `databases` in the server's configuration"
    )
    return Fault("database", text, Weight.ENDS)


def newer_format(stored: str) -> Fault | None:
    """Return the fault for data that a newer Belfry wrote, or None.

    `stored` is the number of the format, "" for none.
    """
    if not stored or (stored.isascii() and stored.isdecimal() and int(stored) <= FORMAT):
        return None
    text = (
        f"the data in the store have format {stored[:20]!r}, and this Belfry reads formats up to {FORMAT}: start the "
        "newer Belfry that wrote them, or restore a backup from before the upgrade (docs/upgrade.md)"
    )
    return Fault("format", text, Weight.ENDS)


def no_cluster() -> Fault:
    """Return the fault for a server that is not part of a cluster, although the URL names a cluster."""
    text = "the server is no node of a Redis Cluster: set BELFRY_REDIS_URL to redis://host:port (rediss:// with TLS)"
    return Fault("cluster", text, Weight.ENDS)


def silent(strict: Collection[str]) -> Fault:
    """Return the fault for a server that forbids `INFO`."""
    text = (
        "Redis refuses INFO to its user: version, eviction and persistence are unknown, and a restart or failover "
        "that loses messages cannot be noticed; grant +info"
    )
    return _weighed(Fault("replication_id", text), strict)


def _weighed(fault: Fault, strict: Collection[str]) -> Fault:
    return Fault(fault.code, fault.text, Weight.REFUSES) if fault.code in strict else fault


def _version(info: Mapping[str, Any]) -> Fault | None:
    if "valkey_version" in info:  # the first Valkey was 7.2
        return None
    version = str(info.get("redis_version", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) >= LEAST_VERSION:
        return None
    least = ".".join(map(str, LEAST_VERSION))
    return Fault("version", f"Redis {version} is too old: Belfry needs Redis {least} or newer, or Valkey", Weight.ENDS)


def _cluster(info: Mapping[str, Any], *, is_cluster: bool) -> Fault | None:
    modes = (info.get("redis_mode"), info.get("server_mode"))
    is_node = info.get("cluster_enabled") == 1 or "cluster" in modes
    if is_node is is_cluster or ("cluster_enabled" not in info and modes == (None, None)):
        return None
    if not is_node:
        return no_cluster()
    text = (
        "the server is a node of a Redis Cluster, of which this kind of address reaches one part only: "
        "set BELFRY_REDIS_URL to redis+cluster://host:port,host:port (rediss+cluster:// with TLS)"
    )
    return Fault("cluster", text, Weight.ENDS)


def _sentinel(info: Mapping[str, Any]) -> Fault | None:
    if "sentinel" not in (info.get("redis_mode"), info.get("server_mode")):
        return None
    text = (
        "the server is a Sentinel, which keeps no messages: set BELFRY_REDIS_URL to "
        "redis+sentinel://host:port,host:port/service (rediss+sentinel:// with TLS)"
    )
    return Fault("sentinel", text, Weight.ENDS)


def _replica(info: Mapping[str, Any]) -> Fault | None:
    if info.get("role") != "slave":
        return None
    text = (
        "the server is a replica, which takes no writes: set BELFRY_REDIS_URL to the primary, or to "
        "redis+sentinel://host:port,host:port/service where Sentinels know the primary"
    )
    return Fault("replica", text, Weight.REFUSES)


def _eviction(info: Mapping[str, Any]) -> Fault | None:
    policy = info.get("maxmemory_policy", KEEPS)
    if policy == KEEPS:
        return None
    text = (
        f"maxmemory-policy is {policy}: where memory is short, Redis deletes messages, read marks and withdrawals of "
        f"tokens; set it to {KEEPS}"
    )
    if info.get("evicted_keys"):
        text = f"{text} (it has deleted {info['evicted_keys']} keys so far)"
    return Fault("eviction", text)


def _persistence(info: Mapping[str, Any]) -> Fault | None:
    if info.get("aof_enabled", 1) != 0:
        return _unwritten(info)
    text = (
        "appendonly is off: a restart of Redis loses what came after its last snapshot, or everything where it makes "
        "none; set appendonly to yes"
    )
    return Fault("persistence", text)


def _unwritten(info: Mapping[str, Any]) -> Fault | None:
    if "err" not in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        return None
    text = (
        "Redis could not write its append-only file the last time: a restart loses messages, and Redis may refuse new "
        "ones; look for a full disk, or for wrong rights to its folder"
    )
    return Fault("persistence", text)


def _memory(info: Mapping[str, Any]) -> Fault | None:
    most = int(info.get("maxmemory", 0))
    if not most or int(info.get("used_memory", 0)) < FULL_SHARE * most:
        return None
    text = (
        f"Redis uses {FULL_SHARE:.0%} of its maxmemory of {most} bytes or more: a full store refuses messages with "
        "507 store_full; raise maxmemory, or lower BELFRY_HISTORY_LENGTH"
    )
    return Fault("memory", text)


def _replicas(info: Mapping[str, Any], wanted: int) -> Fault | None:
    connected = int(info.get("connected_slaves", wanted))
    if connected >= wanted:
        return None
    text = f"{connected} replicas are connected, and BELFRY_PUBLISH_WAIT_REPLICAS asks for {wanted}: publishes get 503"
    return Fault("replicas", text)


def _replication_id(info: Mapping[str, Any]) -> Fault | None:
    if "master_replid" in info:
        return None
    text = "INFO tells no master_replid: a restart or failover that loses messages cannot be noticed"
    return Fault("replication_id", text)
