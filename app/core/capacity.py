"""Capacity planning: the workers, nodes, memory, shards and network that a deployment needs, from unit costs.

`COSTS` is the only table of unit costs. Each entry names the command that measures it. `belfry plan` prints the results
with their formulas, and docs/scaling.md explains them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from .settings import Settings
from .wire.frames import HEARTBEAT

DAY_SECONDS: Final = 86_400
BODY_BYTES: Final = 120  # bytes of the publisher's text; `time`, `id` and member names come on top
PLANNED_SHARE: Final = 0.5  # of a core in the steady state; bursts and reconnects take the rest
GB: Final = 1e9


class Cost(NamedTuple):
    """One unit cost and its source."""

    value: float
    unit: str
    source: str


COSTS: Final[Mapping[str, Cost]] = {
    "publish_worker_us": Cost(110, "µs of a worker for a published message", "./run bench: posts_8_workers_us"),
    "publish_redis_us": Cost(49, "µs of Redis for it", "./run bench: posts_8_cpu_us - posts_8_workers_us"),
    "delivery_us": Cost(
        6, "µs of a worker for each further reader of it", "docs/performance.md#fan-out, not in a flood"
    ),
    "connect_worker_us": Cost(
        356, "µs of a worker for a connect", "./run bench: storm_resume_cpu_us - connect_redis_us"
    ),
    "connect_redis_us": Cost(110, "µs of Redis for it", "docs/performance.md#a-storm-of-connects-with-resume"),
    "idle_us": Cost(1.33, "µs of a worker a second for an open stream", "./run bench: idle_10000_core_percent"),
    "node_mb": Cost(70, "MB of a node before its first worker", "docs/performance.md#20000-connections-two-workers"),
    "worker_mb": Cost(30, "MB of each worker", "docs/performance.md#20000-connections-two-workers"),
    "connection_kb": Cost(1.39, "KB of a worker for an open stream", "./run bench: idle_10000_kb"),
    "user_bytes": Cost(441, "bytes of Redis for a user who connected once", "./run bench store"),
    "message_bytes": Cost(258, "bytes of Redis for a kept message with a body of 120 bytes", "./run bench store"),
    "id_bytes": Cost(179, "bytes of Redis for a message id that is remembered", "./run bench store"),
    "recipients_bytes": Cost(102, "bytes of Redis for a message that can be retracted", "./run bench store"),
    "frame_bytes": Cost(140, "bytes of a message on a stream beside its body", "id, time, names, SSE fields, cursor"),
    "packet_bytes": Cost(66, "bytes of TCP, IP and Ethernet around each write", "RFC 9293 with timestamps, RFC 791"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """The planned load. Times are in seconds. `per_day` is the number of messages that one user gets per day."""

    users: int
    online: float
    per_day: float
    kept: int
    body_bytes: int = BODY_BYTES
    everyone_per_day: float = 0
    peak: float = 5
    stream_seconds: float = 7_200
    return_seconds: float = 60
    workers_per_node: int = 4
    spare_nodes: int = 1
    shard_gb: float = 16


class Figure(NamedTuple):
    """One result. `formula` is the formula with the numbers of this plan."""

    name: str
    value: float
    unit: str
    formula: str


def redis_bytes(costs: Mapping[str, float], load: Load, settings: Settings, *, given_ids: bool = False) -> float:
    """Return the bytes of Redis. `costs` are per user, message, id and recipient list, with the names of `COSTS`.

    `given_ids`: whether publishers choose the message ids. Those are remembered for longer than ids made by the server.
    """
    id_days, recipient_days = _days(settings, given_ids=given_ids)
    message = costs["message_bytes"] + load.body_bytes - BODY_BYTES
    remembered = id_days * costs["id_bytes"] + recipient_days * costs["recipients_bytes"]
    return load.users * (costs["user_bytes"] + load.kept * message + load.per_day * remembered)


def plan(load: Load, settings: Settings) -> tuple[Figure, ...]:
    """Return all figures. Each one depends only on earlier ones."""
    rates = _rates(load)
    workers = _workers(load, rates, settings)
    return (*rates.values(), *workers, *_store(load, rates, settings), *_network(load, rates, settings))


def first_limit(figures: tuple[Figure, ...]) -> str:
    """Return the name of the resource that is nearest to its limit, with the planned workers and shards."""
    by_name = {figure.name: figure.value for figure in figures}
    shares = {
        "the cores of the workers, when all clients come back at once": by_name["cores of a return"]
        / by_name["workers"],
        "the cores of the workers in the busiest hour": by_name["cores of workers"]
        / by_name["workers"]
        / PLANNED_SHARE,
        "the core of a Redis": by_name["cores of Redis"] / by_name["shards"] / PLANNED_SHARE,
        "the memory of a Redis": by_name["memory of Redis"] / by_name["room of the shards"],
        "open streams of a worker (BELFRY_MAX_CONNECTIONS)": by_name["streams of a worker"] / by_name["most streams"],
    }
    return max(shares, key=lambda name: shares[name])


def _days(settings: Settings, *, given_ids: bool) -> tuple[float, float]:
    id_seconds = settings.dedup_seconds if given_ids else min(settings.own_id_seconds, settings.dedup_seconds)
    return id_seconds / DAY_SECONDS, settings.retract_seconds / DAY_SECONDS


def _rates(load: Load) -> dict[str, Figure]:
    streams = load.users * load.online
    each = load.users * load.per_day * load.peak / DAY_SECONDS
    everyone = load.everyone_per_day * load.peak / DAY_SECONDS
    return {
        "streams": Figure("streams", streams, "", f"{load.users} users × {load.online:g} online"),
        "messages": Figure(
            "messages",
            each + everyone,
            "/s",
            f"({load.users} users × {load.per_day:g} + {load.everyone_per_day:g} to everyone) a day ÷ {DAY_SECONDS} "
            f"× {load.peak:g} peak",
        ),
        "deliveries": Figure(
            "deliveries",
            each * load.online + everyone * streams,
            "/s",
            f"{each:.4g}/s × {load.online:g} online + {everyone:.4g}/s to everyone × {streams:.0f} streams",
        ),
        "connects": Figure(
            "connects",
            streams / load.stream_seconds,
            "/s",
            f"{streams:.0f} streams ÷ {load.stream_seconds:g} s of life",
        ),
    }


def _workers(load: Load, rates: Mapping[str, Figure], settings: Settings) -> tuple[Figure, ...]:
    streams, messages = rates["streams"].value, rates["messages"].value
    further = max(0.0, rates["deliveries"].value - messages)
    publish, deliver, connect, idle = _values("publish_worker_us", "delivery_us", "connect_worker_us", "idle_us")
    steady = (messages * publish + further * deliver + rates["connects"].value * connect + streams * idle) / 1e6
    back = streams * connect / load.return_seconds / 1e6
    most = settings.max_connections
    workers = max(1, math.ceil(steady / PLANNED_SHARE), math.ceil(back), math.ceil(streams / most))
    nodes = math.ceil(workers / load.workers_per_node)
    node_mb, worker_mb, connection_kb = _values("node_mb", "worker_mb", "connection_kb")
    return (
        Figure(
            "cores of workers",
            steady,
            "",
            f"({messages:.4g} × {publish:g} + {further:.4g} × {deliver:g} + {rates['connects'].value:.4g} × "
            f"{connect:g} + {streams:.0f} × {idle:g}) µs",
        ),
        Figure(
            "cores of a return",
            back,
            "",
            f"{streams:.0f} streams × {connect:g} µs ÷ {load.return_seconds:g} s until all are back",
        ),
        Figure("most streams", most, "", "BELFRY_MAX_CONNECTIONS"),
        Figure(
            "workers",
            workers,
            "",
            f"the most of: {steady:.3g} cores ÷ {PLANNED_SHARE}, {back:.3g} cores of a return, {streams:.0f} streams "
            f"÷ {most}",
        ),
        Figure("streams of a worker", streams / workers, "", f"{streams:.0f} ÷ {workers}"),
        Figure(
            "nodes",
            nodes + load.spare_nodes,
            "",
            f"{workers} workers ÷ {load.workers_per_node} per node, rounded up, + {load.spare_nodes} spare",
        ),
        Figure(
            "memory of Belfry",
            (nodes * node_mb + workers * worker_mb + streams * connection_kb / 1e3) / 1e3,
            "GB",
            f"{nodes} nodes × {node_mb:g} MB + {workers} workers × {worker_mb:g} MB + {streams:.0f} × "
            f"{connection_kb:g} KB",
        ),
    )


def _store(load: Load, rates: Mapping[str, Figure], settings: Settings) -> tuple[Figure, ...]:
    publish, connect = _values("publish_redis_us", "connect_redis_us")
    cores = (rates["messages"].value * publish + rates["connects"].value * connect) / 1e6
    costs = {name: cost.value for name, cost in COSTS.items()}
    size = redis_bytes(costs, load, settings) / GB
    shards = max(1, math.ceil(cores / PLANNED_SHARE), math.ceil(size / load.shard_gb))
    id_days, recipient_days = _days(settings, given_ids=False)
    message = costs["message_bytes"] + load.body_bytes - BODY_BYTES
    return (
        Figure(
            "cores of Redis",
            cores,
            "",
            f"({rates['messages'].value:.4g} × {publish:g} + {rates['connects'].value:.4g} × {connect:g}) µs",
        ),
        Figure(
            "memory of Redis",
            size,
            "GB",
            f"{load.users} × ({costs['user_bytes']:g} + {load.kept} kept × {message:g} + {load.per_day:g} a day × "
            f"({id_days:.3g} d × {costs['id_bytes']:g} + {recipient_days:.3g} d × {costs['recipients_bytes']:g})) "
            "bytes",
        ),
        Figure(
            "shards",
            shards,
            "",
            f"the most of: {cores:.3g} cores ÷ {PLANNED_SHARE}, {size:.3g} GB ÷ {load.shard_gb:g} GB",
        ),
        Figure("room of the shards", shards * load.shard_gb, "GB", f"{shards} × {load.shard_gb:g} GB"),
    )


def _network(load: Load, rates: Mapping[str, Figure], settings: Settings) -> tuple[Figure, ...]:
    frame, packet = _values("frame_bytes", "packet_bytes")
    delivered = rates["deliveries"].value * (load.body_bytes + frame + packet)
    beats = rates["streams"].value / settings.heartbeat_seconds * (len(HEARTBEAT) + packet)
    return (
        Figure(
            "network to clients",
            (delivered + beats) * 8 / 1e6,
            "Mbit/s",
            f"({rates['deliveries'].value:.4g}/s × ({load.body_bytes} + {frame:g} + {packet:g}) + "
            f"{rates['streams'].value:.0f} ÷ {settings.heartbeat_seconds:g} s × ({len(HEARTBEAT)} + {packet:g})) "
            "bytes × 8",
        ),
    )


def _values(*names: str) -> tuple[float, ...]:
    return tuple([COSTS[name].value for name in names])
