"""What a Redis Cluster costs beside a single Redis: processor time of a message, its latency, and each primary's share.

    ./run bench cluster [--rounds 5] [--messages 10000]

Starts a single Redis, a cluster of one primary and a cluster of three, all without files and without replicas, and
Belfry with one worker on each. In each round every deployment gets the same messages in turn, each to another one of
1,000 connected users. Processor time tells the costs also on a machine that others use.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS

from app.launch.embedded import engines
from bench.load import Load, report, running, wait_until_ready
from bench.process import Process, cpu_seconds, end_by_sigterm, free_port, listens
from bench.servers import Belfry

USERS = 1_000
START_SECONDS = 30.0
PACED_SECONDS = 5.0
SINGLE, ONE, THREE = "single Redis", "cluster of 1", "cluster of 3"
GOALS = {
    "Belfry, cluster of 3 ÷ single": "≤ 1.25",
    "Redis, cluster of 3 ÷ single": "≤ 1.5",
    "capacity of 3 primaries ÷ 1": "≥ 2.3",
    "latency p99, cluster of 3 ÷ single": "≤ 2",
}

Figures = dict[str, float]


@dataclass
class OnRedis(Belfry):
    """Belfry on servers of its own: the primaries of a cluster, or a single Redis where `primaries` is 0."""

    primaries: int = 0
    ports: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start Redis, and Belfry on it."""
        engine = next(engines(os.environ.get("PATH")), None)
        if engine is None:
            raise click.ClickException("There is no Redis and no Valkey on this machine.")
        self.ports = [free_port() for _ in range(self.primaries or 1)]
        for port in self.ports:
            cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port())) if self.primaries else ()
            listen = ("--port", str(port), "--bind", "127.0.0.1", "--dir", "{folder}", "--save", "")
            self.processes.append(Process([engine.binary, *listen, *cluster]))
            self.processes[-1].start(partial(listens, port))
        if self.primaries:
            self._form_cluster()
        self.environment = {
            "BELFRY_REDIS_URL": f"redis{'+cluster' if self.primaries else ''}://127.0.0.1:{self.ports[0]}"
        }
        super().start()

    def _form_cluster(self) -> None:
        share = -(-SLOTS // self.primaries)
        for number, port in enumerate(self.ports):
            ask(port, "CLUSTER ADDSLOTSRANGE", number * share, min((number + 1) * share, SLOTS) - 1)
            ask(port, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port in self.ports[1:]:
            (bus,) = ask(port, "CONFIG GET", "cluster-port").values()
            ask(self.ports[0], "CLUSTER MEET", "127.0.0.1", port, bus)
        deadline = time.monotonic() + START_SECONDS
        while not all("cluster_state:ok" in told(port) for port in self.ports):
            if time.monotonic() > deadline:
                raise click.ClickException("The cluster does not work.")
            time.sleep(0.1)


def ask(port: int, *command: Any) -> Any:
    """The reply of the Redis at this port."""
    with redis.Redis(port=port, decode_responses=True) as client:
        return client.execute_command(*command)


def told(port: int) -> str:
    """What it says of its cluster, as `field:value`."""
    info = ask(port, "CLUSTER INFO")
    return info if isinstance(info, str) else " ".join(f"{name}:{value}" for name, value in info.items())


def measure(server: OnRedis, messages: int, rate: float, prefix: str) -> Figures:
    """Send messages, each to another user; answers µs of processor time for each, and the latency."""
    load = Load(USERS, USERS, publishers=8, messages=messages, rate=rate, prefix=prefix)
    with running(load, server.requests(users=USERS, prefix=prefix)) as process:
        wait_until_ready(process, USERS)
        pids = [*server.workers(), *server.stores()]
        before = {pid: cpu_seconds([pid]) for pid in pids}
        result = report(process)
        used = {pid: (cpu_seconds([pid]) - before[pid]) / messages * 1e6 for pid in pids}
    wrong = {name: result[name] for name in ("refused", "publish_err", "gaps", "dups", "reorders") if result[name]}
    if wrong or result["events"] != messages:
        raise click.ClickException(f"{server.name}: {result['events']} of {messages} messages came, {wrong}")
    stores = [used[pid] for pid in server.stores()]
    return {
        "belfry": sum(used[pid] for pid in server.workers()),
        "redis": sum(stores),
        "busiest": max(stores),
        "p99": result["lat_p99_ms"],
    }


def compare(rounds: int, messages: int, rate: float) -> dict[str, Figures]:
    """The medians of all rounds, for each deployment."""
    servers = [OnRedis(SINGLE, SINGLE), OnRedis(ONE, ONE, primaries=1), OnRedis(THREE, THREE, primaries=3)]
    found: dict[str, list[Figures]] = {server.name: [] for server in servers}
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
            measure(server, messages // 2, 0, "warm-")
        for number in range(rounds):
            for server in servers:
                flood = measure(server, messages, 0, f"f{number}-")
                paced = measure(server, int(PACED_SECONDS * rate), rate, f"p{number}-")
                found[server.name].append({**flood, "p99": paced["p99"]})
                click.echo(f"round {number + 1}, {server.name}: {found[server.name][-1]}", err=True)
    return {
        name: {key: statistics.median(each[key] for each in all_) for key in all_[0]} for name, all_ in found.items()
    }


def ratios(medians: dict[str, Figures]) -> Figures:
    """What the goals are about."""
    single, one, three = medians[SINGLE], medians[ONE], medians[THREE]
    values = (
        three["belfry"] / single["belfry"],
        three["redis"] / single["redis"],
        one["busiest"] / three["busiest"],
        three["p99"] / single["p99"],
    )
    return dict(zip(GOALS, values, strict=True))


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--messages", default=10_000, show_default=True, help="To each deployment in each round.")
@click.option("--rate", default=300.0, show_default=True, help="Messages a second where latency is measured.")
def main(rounds: int, messages: int, rate: float) -> None:
    """Measure what a Redis Cluster costs beside a single Redis."""
    medians = compare(rounds, messages, rate)
    for name, figures in medians.items():
        click.echo(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in figures.items()))
    for name, value in ratios(medians).items():
        click.echo(f"{name}: {value:.2f} (goal {GOALS[name]})")


if __name__ == "__main__":
    end_by_sigterm()
    main(prog_name="./run bench cluster")
