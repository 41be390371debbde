"""Completions through Belfry, beside a direct connection to the same upstream and, if it is given, LiteLLM's proxy.

    ./run bench completions [--rounds 3] [--litellm PATH] [--out docs/bench/completions.json]

One worker each. Every round measures every way in turn, so what the machine does meanwhile hits all alike; the
figures are medians over the rounds. The worker's processor time per token says more on a busy machine than the clock.
LiteLLM is no requirement of the project: PATH is its `litellm` command, in a virtual environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.given import given
from bench.process import end_by_sigterm, free_port, memory_kb
from bench.relays import Loads, Way, upstream, ways_through
from bench.report import Run
from bench.rounds import Measured
from bench.servers import belfry, started

TEN_THOUSAND = {"streams": 1, "chunks": 10_000, "rate": 0}
RESUMES = 5

Figures = dict[str, float]


def measure(
    rounds: int = 3,
    litellm: str = "",
    say: Callable[[str], None] = print,
    streams: int = 200,
    seconds: float = 8.0,
) -> dict[str, Any]:
    """The medians of each way, `{way: {figure: number}}`, and all rounds under `rounds`."""
    loads = Loads(streams, seconds)
    results: dict[str, list[Figures]] = {}
    with _ways(litellm) as ways:
        for way in ways:
            way.load(loads.warm_up)
        for number in range(1, rounds + 1):
            for way in ways:
                figures = _figures(way, loads)
                results.setdefault(way.name, []).append(figures)
                say(f"round {number} of {rounds}: {way.name}: {figures}")
        runs = next(way for way in ways if way.name == "runs")
        results[runs.name].append(_memory(runs, loads) | _resume(runs))
    return {**{name: _medians(found) for name, found in results.items()}, "rounds": results}


def _figures(way: Way, loads: Loads) -> Figures:
    first = way.load(loads.first)
    fast = way.load(loads.fast)
    used = way.cpu_seconds()
    paced = way.load({**loads.paced, "chunks": int(loads.paced["chunks"] * way.part)})
    used = way.cpu_seconds() - used
    return {
        "first_token_ms": first["first_p50"],
        "tokens_per_s": fast["per_s"],
        "paced_tokens_per_s": paced["per_s"],
        "token_p50_ms": paced["p50"],
        "token_p99_ms": paced["p99"],
        "cpu_us_per_token": round(used / paced["chunks"] * 1e6, 1),
        "unfinished": sum(found["unfinished"] for found in (first, fast, paced)),
    }


def _memory(runs: Way, loads: Loads) -> Figures:
    """What the worker grows by at most while so many runs reach 1,000 tokens, per run; nothing where some did not."""
    runs.load({**loads.thousand, "chunks": 10})
    before = memory_kb([runs.worker])
    Path(f"/proc/{runs.worker}/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew, see proc(5)
    if runs.load(loads.thousand)["unfinished"]:
        return {}
    return {"memory_kb_per_run": round((_peak_kb(runs.worker) - before) / loads.streams, 1)}


def _peak_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _resume(runs: Way) -> Figures:
    """How long it takes to read a run of 10,000 chunks from its beginning."""
    (run_id,) = runs.load(TEN_THOUSAND)["ids"]
    found = [runs.load({**TEN_THOUSAND, "id": run_id}) for _ in range(RESUMES)]
    return {"resume_10000_ms": round(statistics.median(result["seconds"] * 1_000 for result in found), 1)}


def _medians(rounds: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: round(statistics.median(f[name] for f in rounds if name in f), 2) for name in names}


def table(results: Mapping[str, Any]) -> str:
    """One line a figure, one column a way."""
    ways = [name for name in results if name != "rounds"]
    names = dict.fromkeys(name for way in ways for name in results[way])
    lines = [f"{'':24}" + "".join(f"{way:>12}" for way in ways)]
    lines += [f"{name:24}" + "".join(f"{results[way].get(name, ''):>12}" for way in ways) for name in names]
    return "\n".join(lines)


@contextlib.contextmanager
def _ways(litellm: str) -> Iterator[list[Way]]:
    """Everything that is measured, running; LiteLLM only with its command."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        ways = [stack.enter_context(upstream(port))]
        for server in (belfry(), *given(litellm=litellm)):
            server.upstream_port = port
            ways += ways_through(stack.enter_context(started(server)))
        yield ways


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--litellm", default="", metavar="PATH", help="The `litellm` command, to measure its proxy as well.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep date, machine and all figures in this JSON file.")
@click.option("--json", "as_json", is_flag=True, help="Print every round as JSON.")
def main(rounds: int, litellm: str, out: Path | None, as_json: bool) -> None:
    """Measure completions; prints the medians of all rounds."""
    command = shutil.which(litellm) if litellm else ""
    if command is None:
        raise click.UsageError(f"there is no command {litellm}")
    results = measure(rounds, command, lambda line: click.echo(line, err=True))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        told = {"measured": Run.now(rounds, Measured()).caption(), **results}
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(results, indent=1) if as_json else table(results))


if __name__ == "__main__":
    end_by_sigterm()
    main(prog_name="./run bench completions")
