"""What is measured: each scenario drives one running server and answers its figures.

A scenario is a function of a server; `SCENARIOS` names them, `figures.py` says what each number is. Processor time is
that of the server's workers and stores, so it means something on a busy machine too. A load that loses, doubles or
reorders a message is no measurement but a `BenchError`.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests as http

from bench import batches
from bench.load import Load, Requests, report, run, running, wait_until_ready
from bench.process import cpu_seconds, descendants, memory_kb, open_sockets
from bench.servers import Belfry, Server

WARM_UP = Load(connections=200, users=200, publishers=8, messages=2_000, prefix="w")
HEARTBEAT_SECONDS = 15
STORM = 5_000
RESUMED = 10
AT_ONCE = 1_000_000  # connects per second: all that the listener takes
FEED_READS = 100
REWRITE_SECONDS = 30.0
HOLD_SECONDS = 300.0  # longer than anything is looked at meanwhile

Figures = dict[str, float]


class BenchError(RuntimeError):
    """A server did not do what was asked: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement. `fresh`: on a server of its own, since it looks at memory. `own`: only Belfry can do it.

    `once`: a peer does it in the first round only: no goal hangs on it, or it hardly varies.
    """

    name: str
    measure: Callable[[Server], Figures]
    fresh: bool = False
    own: bool = False
    fan_out: bool = False
    once: bool = False
    workers: int = 1

    def suits(self, server: Server) -> bool:
        """Whether this server can be measured so."""
        return isinstance(server, Belfry) or not (self.own or (server.only_fan_out and not self.fan_out))


def fan_out(connections: int, messages: int) -> Callable[[Server], Figures]:
    """One publisher, one user, every message to every connection, as fast as it goes."""

    def measure(server: Server) -> Figures:
        count = max(1, int(messages * server.part))
        load = Load(connections, users=1, publishers=1, messages=count, broadcast=True, prefix=f"f{connections}-")
        result, seconds = _timed(server, load)
        name = f"fanout_{connections}"
        return {
            f"{name}_per_s": result["events_per_s"],
            f"{name}_cpu_us": seconds / result["events"] * 1e6,
            f"{name}_load_share": result["cpu_s"] / result["wall_s"],
        }

    return measure


def posts(publishers: int, messages: int) -> Callable[[Server], Figures]:
    """Single POSTs, each to another one of 1,000 connected users."""

    def measure(server: Server) -> Figures:
        load = Load(1_000, users=1_000, publishers=publishers, messages=messages, prefix=f"p{publishers}-")
        result, seconds = _timed(server, load)
        name = f"posts_{publishers}"
        return {f"{name}_per_s": result["publish_per_s"], f"{name}_cpu_us": seconds / messages * 1e6}

    return measure


def latency(rate: int, messages: int, connections: int = 1_000) -> Callable[[Server], Figures]:
    """From the start of a POST to the message's arrival, `rate` messages a second to distinct users."""

    def measure(server: Server) -> Figures:
        load = Load(connections, connections, publishers=8, messages=messages, rate=rate, prefix=f"l{rate}-")
        result, _ = _timed(server, load)
        return {f"latency_{rate}_p50_ms": result["lat_p50_ms"], f"latency_{rate}_p99_ms": result["lat_p99_ms"]}

    return measure


def latency_of_fan_out(server: Server) -> Figures:
    """The same for 100 messages a second to 100 connections of one user."""
    load = Load(100, users=1, publishers=1, messages=500, rate=100, broadcast=True, prefix="lf-")
    result, _ = _timed(server, load)
    return {"latency_fanout_p99_ms": result["lat_p99_ms"]}


def batch(server: Server) -> Figures:
    """NDJSON to 1,000 distinct users: nobody connected, then all of them."""
    assert isinstance(server, Belfry)
    accepted = batches.accepted_per_second(server, prefix="na-", users=1_000, messages=50_000)
    load = Load(1_000, users=1_000, hold=batches.LONGEST_SECONDS, awaited=50_000, prefix="nd-")
    with running(load, server.requests(users=1_000, prefix="nd-")) as process:
        wait_until_ready(process, load.connections)
        batches.accepted_per_second(server, prefix="nd-", users=1_000, messages=50_000)
        result = _whole(report(process), expected=50_000)
    return {"batch_accepted_per_s": accepted, "batch_delivered_per_s": result["events_per_s"]}


def storm(server: Server) -> Figures:
    """5,000 connections at once, each with a token of its own."""
    load = Load(STORM, users=STORM, connects_per_second=AT_ONCE, opening=0, prefix="s-")
    return _storm("storm", run(server.suited(load), server.requests(users=STORM, prefix="s-")))


def storm_with_resume(server: Server) -> Figures:
    """The same, each with a cursor ten messages ago."""
    assert isinstance(server, Belfry)
    cursors = [_cursor(server, f"r-{number}") for number in range(STORM)]
    batches.accepted_per_second(server, prefix="r-", users=STORM, messages=STORM * RESUMED)
    awaited = STORM * RESUMED
    load = Load(STORM, users=STORM, connects_per_second=AT_ONCE, opening=0, hold=10, awaited=awaited, prefix="r-")
    requests = server.requests(users=STORM, prefix="r-", cursors=cursors, resume=True)
    return _storm("storm_resume", _whole(run(server.suited(load), requests), expected=awaited))


def _storm(name: str, result: dict[str, Any]) -> Figures:
    connected = f"{result['connected']:,} of {STORM:,} connected"
    _require(result["connected"] == STORM, f"{connected} {short(result['complaint'])}".strip())
    return {f"{name}_per_s": STORM / result["connect_s"], f"{name}_first_p99_ms": result["first_p99_ms"]}


def _cursor(server: Belfry, user: str) -> str:
    answer = _session.get(
        f"{server.url}/feed?limit=1", headers={"Authorization": f"Bearer {server.token(user)}"}, timeout=10
    )
    answer.raise_for_status()
    cursor: str = answer.json()["cursor"]
    return cursor


_session = http.Session()
_session.trust_env = False


def idle(connections: int) -> Callable[[Server], Figures]:
    """What open connections cost that get heartbeats only: memory, and processor time over two heartbeats.

    More than one process may open are held by several load generators, each connection by a user of its own.
    """

    def measure(server: Server) -> Figures:
        run(server.suited(WARM_UP), server.requests(users=WARM_UP.users, prefix=WARM_UP.prefix))
        before = memory_kb(server.workers())
        load = Load(connections, users=connections, hold=HOLD_SECONDS, prefix="i-")
        with contextlib.ExitStack() as stack:
            _hold(stack, server, load)
            after = memory_kb(server.workers())
            busiest = max(open_sockets(pid) for pid in server.workers())
            total = memory_kb(server.everyone(), "Pss")
            share = _share_of_a_core(server, 2 * HEARTBEAT_SECONDS)
        name = f"idle_{connections}"
        return {
            f"{name}_kb": (after - before) / connections,
            f"{name}_total_mb": total / 1024,
            f"{name}_core_percent": share,
            f"{name}_busiest_percent": busiest / connections * 100,
        }

    return measure


def _hold(stack: contextlib.ExitStack, server: Server, load: Load) -> None:
    """Open all connections, until the stack ends."""
    parts = server.suited(load).spread()
    processes = [
        stack.enter_context(running(part, server.requests(users=part.users, prefix=part.prefix))) for part in parts
    ]
    for process, part in zip(processes, parts, strict=True):
        wait_until_ready(process, part.connections)


def _share_of_a_core(server: Server, seconds: float) -> float:
    pids = server.workers()
    before = cpu_seconds(pids)
    time.sleep(seconds)
    return (cpu_seconds(pids) - before) / seconds * 100


def growth_of_users(server: Server) -> Figures:
    """Processor time per message: 1,000 connected users, then 10,000."""
    costs = [_cost(server, Load(n, n, publishers=8, messages=10_000, prefix=f"g{n}-")) for n in (1_000, 10_000)]
    return {"growth_users": costs[1] / costs[0]}


def growth_of_history(server: Server) -> Figures:
    """Processor time per message: 100 users with an empty feed, then with 1,000 messages each."""
    assert isinstance(server, Belfry)
    load = Load(100, users=100, publishers=8, messages=10_000, prefix="h-")
    empty = _cost(server, load)
    batches.accepted_per_second(server, prefix="hh-", users=100, messages=100_000)
    full = Load(100, users=100, publishers=8, messages=10_000, prefix="hh-")
    return {"growth_history": _cost(server, full) / empty}


def growth_of_topics(server: Server) -> Figures:
    """Processor time per message to a topic with one connected reader: 100 topics, then 1,000."""
    assert isinstance(server, Belfry)
    loads = [Load(n, n, publishers=8, messages=5_000, prefix=f"t{n}-") for n in (100, 1_000)]
    costs = [_timed(server, load, server.topic_requests(load.users, load.prefix))[1] for load in loads]
    return {"growth_topics": costs[1] / costs[0]}


def _cost(server: Server, load: Load) -> float:
    return _timed(server, load)[1] / load.messages


def page_of_the_feed(server: Server) -> Figures:
    """Reading the newest 50 of 1,000 messages."""
    assert isinstance(server, Belfry)
    batches.accepted_per_second(server, prefix="page-", users=1, messages=1_000)
    headers = {"Authorization": f"Bearer {server.token('page-0')}"}
    seconds = []
    for _ in range(FEED_READS):
        begun = time.perf_counter()
        answer = _session.get(f"{server.url}/feed?limit=50", headers=headers, timeout=10)
        seconds.append(time.perf_counter() - begun)
        _require(len(answer.json()["messages"]) == 50, answer.text[:200])
    return {"feed_page_p50_ms": statistics.median(seconds) * 1e3}


def _timed(server: Server, load: Load, requests: Requests | None = None) -> tuple[dict[str, Any], float]:
    """The load's report, and the processor time of workers and stores meanwhile, in seconds."""
    requests = requests or server.requests(users=load.users, prefix=load.prefix)
    _wait_for_rewrites(server)
    pids = [*server.workers(), *server.stores()]
    with running(server.suited(load), requests) as process:
        wait_until_ready(process, load.connections)
        opened = cpu_seconds(pids)
        result = report(process)
    each = load.connections if load.broadcast else load.connections // load.users
    return _whole(result, load.messages * each), cpu_seconds(pids) - opened


def _wait_for_rewrites(server: Server) -> None:
    """Return when no store rewrites its file: what earlier messages left to do is not the next ones' cost."""
    deadline = time.monotonic() + REWRITE_SECONDS
    while any(descendants(pid) for pid in server.stores()):
        _require(time.monotonic() < deadline, f"a store's rewrite took longer than {REWRITE_SECONDS:g} s")
        time.sleep(0.05)


def _whole(result: dict[str, Any], expected: int) -> dict[str, Any]:
    """The report, if each message arrived once and in order."""
    wrong = {name: result[name] for name in ("refused", "publish_err", "gaps", "dups", "reorders") if result[name]}
    if result["events"] != expected:
        wrong["events"] = f"{result['events']} of {expected}"
    told = ", ".join(f"{name} {value}" for name, value in wrong.items())
    _require(not wrong, f"{told} {short(result['complaint'])}".strip())
    return result


def short(complaint: str) -> str:
    """Of a bad answer its first line, and Belfry's code: the rest may be a page of HTML."""
    line = complaint.partition("\n")[0].strip()
    code = re.search(r'"code":\s*"(\w+)"', complaint)
    return f"{line} {code[1]}" if code else line


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise BenchError(otherwise)


SCENARIOS = (
    Scenario("fanout_1000", fan_out(1_000, 300), fan_out=True),
    Scenario("fanout_10000", fan_out(10_000, 30), fan_out=True),
    Scenario("posts_1", posts(1, 2_000), once=True),
    Scenario("posts_8", posts(8, 10_000)),
    Scenario("posts_64", posts(64, 10_000), once=True),
    Scenario("latency_100", latency(100, 500), once=True),
    Scenario("latency_1000", latency(1_000, 5_000)),
    Scenario("latency_5000", latency(5_000, 15_000), once=True),
    Scenario("latency_fanout", latency_of_fan_out),
    Scenario("batch", batch, own=True),
    Scenario("storm", storm, fresh=True, once=True),
    Scenario("storm_resume", storm_with_resume, fresh=True, own=True),
    Scenario("idle_10000", idle(10_000), fresh=True, once=True),
    Scenario("idle_20000", idle(20_000), fresh=True, own=True, workers=2),
    Scenario("two_workers", fan_out(1_000, 300), own=True, workers=2),
    Scenario("growth_users", growth_of_users, own=True),
    Scenario("growth_history", growth_of_history, own=True),
    Scenario("growth_topics", growth_of_topics, own=True),
    Scenario("feed_page", page_of_the_feed, own=True),
)
