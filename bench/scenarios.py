"""What is measured: each scenario drives one running server and answers its figures.

A scenario is a function of a server; `suite` names them, `figures.py` says what each number is. Processor time is
that of the server's workers and stores, so it means something on a busy machine too. A load that loses, doubles or
reorders a message is no measurement but a `BenchError`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import batches, relays
from bench.load import Load, Requests, report, run, running, wait_until_ready
from bench.process import cpu_seconds, descendants, memory_kb, open_sockets
from bench.servers import Belfry, Server

WARM_UP = Load(connections=200, users=200, publishers=8, messages=2_000, prefix="w")
HEARTBEAT_SECONDS = 15
STORM = 5_000
RESUMED = 10
AT_ONCE = 1_000_000  # connects per second: all that the listener takes
FEED_READS = 100
REST_SECONDS = 30.0
LOOK_SECONDS = 0.2
RESTING_PERCENT = 10.0  # of a core
TOKENS = relays.Loads(streams=200, seconds=4.0)
HOLD_SECONDS = 300.0  # longer than anything is looked at meanwhile

Figures = dict[str, float]


class BenchError(RuntimeError):
    """A server did not do what was asked: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement, for servers that do its kind. `fresh`: on a server of its own, that has served nobody before.

    `once`: a peer does it in the first round only: no goal hangs on it, or it hardly varies.
    """

    name: str
    measure: Callable[[Server], Figures]
    kind: str = "users"
    fresh: bool = False
    once: bool = False
    workers: int = 1

    def suits(self, server: Server) -> bool:
        """Whether this server can be measured so."""
        return self.kind in server.kinds


def fan_out(connections: int, messages: int) -> Callable[[Server], Figures]:
    """One publisher, one user, every message to every connection, as fast as it goes."""

    def measure(server: Server) -> Figures:
        count = max(1, int(messages * server.part))
        load = Load(connections, users=1, publishers=1, messages=count, broadcast=True, prefix=f"f{connections}-")
        timed = _timed(server, load)
        name = f"fanout_{connections}"
        return {
            f"{name}_per_s": timed.report["events_per_s"],
            f"{name}_cpu_us": timed.cpu_seconds / timed.report["events"] * 1e6,
            **timed.shares(name),
        }

    return measure


def posts(name: str, publishers: int, messages: int, users: int = 1_000) -> Callable[[Server], Figures]:
    """Single POSTs, each to another one of so many connected users."""

    def measure(server: Server) -> Figures:
        load = Load(users, users, publishers=publishers, messages=messages, prefix=f"{name}-")
        timed = _timed(server, load)
        return {
            f"{name}_per_s": timed.report["publish_per_s"],
            f"{name}_cpu_us": timed.cpu_seconds / messages * 1e6,
            f"{name}_workers_us": sum(timed.used[pid] for pid in server.workers()) / messages * 1e6,
            **timed.shares(name),
        }

    return measure


def latency(rate: int, messages: int, connections: int = 1_000) -> Callable[[Server], Figures]:
    """From the start of a POST to the message's arrival, `rate` messages a second to distinct users."""

    def measure(server: Server) -> Figures:
        load = Load(connections, connections, publishers=8, messages=messages, rate=rate, prefix=f"l{rate}-")
        timed, name = _timed(server, load), f"latency_{rate}"
        figures = {f"{name}_{part}_ms": timed.report[f"lat_{part}_ms"] for part in ("p50", "p99")}
        return {**figures, **timed.shares(name)}

    return measure


def latency_of_fan_out(server: Server) -> Figures:
    """The same for 100 messages a second to 100 connections of one user."""
    load = Load(100, users=1, publishers=1, messages=300, rate=100, broadcast=True, prefix="lf-")
    return {"latency_fanout_p99_ms": _timed(server, load).report["lat_p99_ms"]}


def batch(server: Server) -> Figures:
    """NDJSON to 1,000 distinct users: nobody connected, then all of them."""
    assert isinstance(server, Belfry)
    with _watched(server) as accepted:
        sent = batches.publish(server, prefix="na-", users=1_000, messages=50_000)
    load = Load(1_000, users=1_000, hold=batches.LONGEST_SECONDS, awaited=50_000, prefix="nd-")
    with running(load, server.requests(users=1_000, prefix="nd-")) as process:
        wait_until_ready(process, load.connections)
        batches.publish(server, prefix="nd-", users=1_000, messages=50_000)
        result = _whole(report(process), expected=50_000)
    return {
        "batch_accepted_per_s": sent.messages / sent.seconds,
        "batch_cpu_us": sum(accepted.values()) / sent.messages * 1e6,
        "batch_delivered_per_s": result["events_per_s"],
        "batch_server_share": max(accepted.values()) / sent.seconds,
        "batch_load_share": sent.own_cpu_seconds / sent.seconds,
    }


def storm(server: Server) -> Figures:
    """5,000 connections at once, each with a token of its own."""
    load = Load(STORM, users=STORM, connects_per_second=AT_ONCE, opening=0, prefix="s-")
    return _storm("storm", server, load, server.requests(users=STORM, prefix="s-"))


def storm_with_resume(server: Server) -> Figures:
    """The same, each with a cursor ten messages ago."""
    assert isinstance(server, Belfry)
    cursors = list(_cursors(server, [f"r-{number}" for number in range(STORM)]))
    awaited = STORM * RESUMED
    batches.publish(server, prefix="r-", users=STORM, messages=awaited)
    load = Load(STORM, users=STORM, connects_per_second=AT_ONCE, opening=0, hold=10, awaited=awaited, prefix="r-")
    return _storm("storm_resume", server, load, server.requests(users=STORM, prefix="r-", cursors=cursors, resume=True))


def _storm(name: str, server: Server, load: Load, requests: Requests) -> Figures:
    with _watched(server) as used, running(server.suited(load), requests) as process:
        result = report(process)
    connected = f"{result['connected']:,} of {STORM:,} connected"
    _require(result["connected"] == STORM, f"{connected} {short(result['complaint'])}".strip())
    _whole(result, load.awaited)
    figures = {
        f"{name}_per_s": STORM / result["connect_s"],
        f"{name}_cpu_us": sum(used.values()) / STORM * 1e6,
        f"{name}_load_share": result["connect_cpu_s"] / result["connect_s"],
    }
    if result["first_p99_ms"] > 0:  # a server that says nothing by itself has no first bytes
        figures[f"{name}_first_p99_ms"] = result["first_p99_ms"]
    return figures


def _cursors(server: Belfry, users: Sequence[str]) -> Iterator[str]:
    """Where the feed of each ends, asked for over one connection."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        for user in users:
            connection.request("GET", "/feed?limit=1", headers={"Authorization": f"Bearer {server.token(user)}"})
            answer = connection.getresponse()
            text = answer.read()
            _require(answer.status == 200, text[:200].decode())
            yield json.loads(text)["cursor"]


def idle(connections: int) -> Callable[[Server], Figures]:
    """What open connections cost that get heartbeats only: memory, and processor time over one heartbeat of each.

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
            share = _share_of_a_core(server, HEARTBEAT_SECONDS)
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


def growth_of_history(server: Server) -> Figures:
    """Processor time per message: 50 users with an empty feed, then with 1,000 messages each."""
    assert isinstance(server, Belfry)
    load = Load(50, users=50, publishers=8, messages=10_000, prefix="h-")
    empty = _timed(server, load).cpu_seconds
    batches.publish(server, prefix="hh-", users=50, messages=50_000)
    return {"growth_history": _timed(server, replace(load, prefix="hh-")).cpu_seconds / empty}


def growth_of_topics(server: Server) -> Figures:
    """Processor time per message to a topic with one connected reader: 100 topics, then 1,000."""
    assert isinstance(server, Belfry)
    loads = [Load(n, n, publishers=8, messages=5_000, prefix=f"t{n}-") for n in (100, 1_000)]
    few, many = [_timed(server, load, server.topic_requests(load.users, load.prefix)).cpu_seconds for load in loads]
    return {"growth_topics": many / few}


def page_of_the_feed(server: Server) -> Figures:
    """Reading the newest 50 of 1,000 messages."""
    assert isinstance(server, Belfry)
    batches.publish(server, prefix="page-", users=1, messages=1_000)
    headers = {"Authorization": f"Bearer {server.token('page-0')}"}
    seconds = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        for _ in range(FEED_READS):
            begun = time.perf_counter()
            connection.request("GET", "/feed?limit=50", headers=headers)
            text = connection.getresponse().read()
            seconds.append(time.perf_counter() - begun)
            _require(len(json.loads(text).get("messages", ())) == 50, text[:200].decode())
    return {"feed_page_p50_ms": statistics.median(seconds) * 1e3}


def completions(server: Server) -> Figures:
    """Tokens per second as fast as it goes, of concurrent completions; and the time to the first of a single one."""
    with relays.upstream(server.upstream_port) as direct:
        ways = relays.ways_through(server)
        for way in (direct, *ways):
            way.load(TOKENS.warm_up)
        figures = {"direct_tokens_per_s": _unbroken(direct, TOKENS.fast)["per_s"]}
        for way in ways:
            used = way.cpu_seconds()
            found = _unbroken(way, TOKENS.fast)
            name = "runs" if way.name == "runs" else "tokens"
            figures[f"{name}_per_s"] = found["per_s"]
            figures[f"{name}_cpu_us"] = (way.cpu_seconds() - used) / found["chunks"] * 1e6
        first = [_unbroken(way, TOKENS.first)["first_p50"] for way in (direct, ways[0])]
    return {**figures, "first_token_ms": first[1] - first[0]}


def _unbroken(way: relays.Way, asked: relays.Asked) -> dict[str, Any]:
    found = way.load(asked)
    _require(not found["unfinished"], f"{found['unfinished']} of {asked['streams']} answers were not whole")
    return found


@dataclass(frozen=True, slots=True)
class Timed:
    """A load's report, and the processor time meanwhile of each worker and store, in seconds."""

    report: dict[str, Any]
    used: dict[int, float]

    @property
    def cpu_seconds(self) -> float:
        """Of all workers and stores."""
        return sum(self.used.values())

    def shares(self, name: str) -> Figures:
        """What the server's busiest process and the load generator had of a core each: who waited for whom."""
        seconds = self.report["work_s"]
        return {
            f"{name}_server_share": max(self.used.values()) / seconds,
            f"{name}_load_share": self.report["work_cpu_s"] / seconds,
        }


def _timed(server: Server, load: Load, requests: Requests | None = None) -> Timed:
    """The load, from when every connection is open."""
    requests = requests or server.requests(users=load.users, prefix=load.prefix)
    _wait_for_rest(server)
    with running(server.suited(load), requests) as process:
        wait_until_ready(process, load.connections)
        with _watched(server) as used:
            result = report(process)
    each = load.connections if load.broadcast else load.connections // load.users
    return Timed(_whole(result, load.messages * each), used)


@contextlib.contextmanager
def _watched(server: Server) -> Iterator[dict[int, float]]:
    """The processor time of each worker and store from here to the end, in seconds; there at the end."""
    used: dict[int, float] = {}
    before = {pid: cpu_seconds([pid]) for pid in (*server.workers(), *server.stores())}
    yield used
    used.update({pid: cpu_seconds([pid]) - seconds for pid, seconds in before.items()})


def _wait_for_rest(server: Server) -> None:
    """Return when no worker works and no store rewrites its file: what was left to do is not the next load's cost."""
    deadline = time.monotonic() + REST_SECONDS
    while _share_of_a_core(server, LOOK_SECONDS) > RESTING_PERCENT or any(descendants(pid) for pid in server.stores()):
        _require(time.monotonic() < deadline, f"a server worked on for more than {REST_SECONDS:g} s")


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


def suite(*, brief: bool = False) -> tuple[Scenario, ...]:
    """All of them; with `brief` most send less."""
    part = 0.4 if brief else 1.0
    return (
        Scenario("fanout_1000", fan_out(1_000, int(300 * part)), "fan-out"),
        Scenario("fanout_10000", fan_out(10_000, int(30 * part)), "fan-out"),
        Scenario("posts_1", posts("posts_1", 1, int(2_000 * part)), once=True),
        Scenario("posts_8", posts("posts_8", 8, int(10_000 * part))),
        Scenario("users_10000", posts("users_10000", 8, int(10_000 * part), users=10_000), "own"),
        Scenario("posts_64", posts("posts_64", 64, int(10_000 * part)), once=True),
        Scenario("latency_100", latency(100, int(300 * part)), once=True),
        Scenario("latency_1000", latency(1_000, int(5_000 * part))),
        Scenario("latency_5000", latency(5_000, int(15_000 * part)), once=True),
        Scenario("latency_fanout", latency_of_fan_out),
        Scenario("batch", batch, "own"),
        Scenario("storm", storm, fresh=True, once=True),
        Scenario("storm_resume", storm_with_resume, "own", fresh=True),
        Scenario("idle_10000", idle(10_000), fresh=True, once=True),
        Scenario("idle_20000", idle(20_000), "own", fresh=True, workers=2),
        Scenario("two_workers", posts("posts_64", 64, int(10_000 * part)), "own", workers=2),
        Scenario("growth_history", growth_of_history, "own"),
        Scenario("growth_topics", growth_of_topics, "own"),
        Scenario("feed_page", page_of_the_feed, "own"),
        Scenario("completions", completions, "tokens", fresh=True, once=True),
    )
