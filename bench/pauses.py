"""What keeps Belfry's event loop from its sockets: each pause with the work that caused it, and what readers notice.

    ./run bench pauses [--rate 1000] [--seconds 10] [--users 1000] [--cpu] [--json]

Starts Redis or Valkey and one worker with the trace of `loop_trace.py`, connects the users, publishes at a steady rate
to one user after the other, and lets all of them hang up at once. The trace costs some time itself, so the latency is
a little higher than in the other measurements. On a busy machine, other programs make every iteration longer; `--cpu`
counts the processor time of the worker instead.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import click

from bench.load import HERE, Load, report, running, wait_until_ready
from bench.process import Process, free_port
from bench.servers import Belfry
from bench.store import started

END_SECONDS = 2.0  # for the work after all readers have left


class Pause(NamedTuple):
    """One long iteration: when it began, how long it was, and the seconds of each greenlet by name."""

    at: float
    seconds: float
    parts: dict[str, float]

    @property
    def cause(self) -> str:
        """The greenlet that took most of it."""
        return max(self.parts, key=self.parts.__getitem__, default="unknown")


class Row(NamedTuple):
    """The pauses of one phase with one cause."""

    phase: str
    cause: str
    pauses: int
    total_ms: float
    longest_ms: float


@dataclass
class Traced(Belfry):
    """One worker with the trace, on the Redis at `redis_url`."""

    redis_url: str = ""
    cpu: bool = False

    def start(self) -> None:
        self.port = free_port()
        environment = {
            "BELFRY_BIND": f"127.0.0.1:{self.port}",
            "BELFRY_SECRET": self.secret,
            "BELFRY_REDIS_URL": self.redis_url,
            "WEB_CONCURRENCY": "1",
            "BENCH_TRACE": "{folder}/trace",
            "BENCH_TRACE_CPU": "1" if self.cpu else "",
            **self.environment,
        }
        process = Process([sys.executable, "-m", "gunicorn", "-c", str(HERE / "traced.py")], environment)
        self.processes.append(process)
        process.start(self._is_ready)

    def pauses(self) -> list[Pause]:
        """End the worker and return what it has noted."""
        (process,) = self.processes
        process.end()
        return [Pause(*each) for each in json.loads((process.folder / "trace").read_text(encoding="ascii"))]


def measure(rate: float, seconds: float, users: int, *, cpu: bool = False) -> tuple[dict[str, Any], list[Row]]:
    """Return the load generator's report, and the pauses by phase and cause."""
    load = Load(users, users, publishers=8, messages=int(rate * seconds), rate=rate)
    with started() as url:
        server = Traced("belfry", "Belfry", redis_url=url, cpu=cpu)
        try:
            server.start()
            began = time.monotonic()
            with running(load, server.requests(users=users, prefix=load.prefix)) as process:
                wait_until_ready(process, users)
                ready = time.monotonic()
                told = report(process)
            ended = time.monotonic()
            time.sleep(END_SECONDS)
            phases = (
                ("connecting", began, ready),
                ("publishing", ready, ended),
                ("leaving", ended, ended + END_SECONDS),
            )
            pauses = server.pauses()
        finally:
            server.stop()
    return told, [row for phase, since, until in phases for row in rows(phase, within(pauses, since, until))]


def within(pauses: Iterable[Pause], since: float, until: float) -> list[Pause]:
    return [pause for pause in pauses if since <= pause.at < until]


def rows(phase: str, pauses: Sequence[Pause]) -> list[Row]:
    """Return a row for each cause, the one that took most time first."""
    by_cause: defaultdict[str, list[float]] = defaultdict(list)
    for pause in pauses:
        by_cause[pause.cause].append(pause.seconds * 1_000)
    found = [Row(phase, cause, len(each), sum(each), max(each)) for cause, each in by_cause.items()]
    return sorted(found, key=lambda row: -row.total_ms)


@click.command()
@click.option("--rate", default=1_000.0, show_default=True, type=click.FloatRange(1), help="Messages a second.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(1), help="How long to publish.")
@click.option("--users", default=1_000, show_default=True, type=click.IntRange(1), help="Users with one connection.")
@click.option("--cpu", is_flag=True, help="Count processor time, on a busy machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rate: float, seconds: float, users: int, *, cpu: bool, as_json: bool) -> None:
    """Measure what keeps the event loop of a worker from its sockets."""
    told, found = measure(rate, seconds, users, cpu=cpu)
    if as_json:
        click.echo(json.dumps({"report": told, "pauses": [row._asdict() for row in found]}))
        return
    click.echo(f"latency p50 {told['lat_p50_ms']} ms, p99 {told['lat_p99_ms']} ms, longest {told['lat_max_ms']} ms")
    click.echo(f"{'phase':12}{'pauses':>8}{'together':>12}{'longest':>11}  cause")
    for row in found:
        click.echo(f"{row.phase:12}{row.pauses:8}{row.total_ms:9.1f} ms{row.longest_ms:8.1f} ms  {row.cause}")


if __name__ == "__main__":
    main()
