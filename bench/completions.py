"""Completions through Belfry, beside a direct connection to the same upstream and, if it is given, LiteLLM's proxy.

    python -m bench.completions [--rounds 3] [--litellm PATH]

One worker each. Every round measures every way in turn, so what the machine does meanwhile hits all alike; the
figures are medians over the rounds. The worker's processor time per token says more on a busy machine than the clock.
LiteLLM is no requirement of the project: PATH is its `litellm` command, in a virtual environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jwt

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 10.0
STREAMS, RATE = 200, 50
PACED = {"streams": STREAMS, "chunks": 8 * RATE, "rate": RATE, "ramp": 2.0}
FAST = {"streams": 50, "chunks": 400, "rate": 0}
FIRST = {"streams": 40, "chunks": 1, "rate": 0, "ramp": 4.0}  # one at a time
WARM_UP = {"streams": 20, "chunks": 50, "rate": 0}
THOUSAND = {"streams": STREAMS, "chunks": 1_000, "rate": 100, "ramp": 1.0}
TEN_THOUSAND = {"streams": 1, "chunks": 10_000, "rate": 0}
RESUMES = 5

LITELLM_CONFIG = """
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "{url}", api_key: none}}
litellm_settings: {{telemetry: false}}
"""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the upstream. `worker`: the process that relays, 0 where there is none."""

    name: str
    port: int
    path: str = "v1"
    token: str = "none"
    worker: int = 0

    def load(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the load generator, a process of its own, found."""
        given = {**asked, "port": self.port, "way": self.path, "token": self.token}
        command = [sys.executable, "-m", "bench.completions_load", json.dumps(given)]
        found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        return found


def measure(rounds: int = 3, litellm: str = "", say: Callable[[str], None] = print) -> dict[str, Any]:
    """The figures of each way, `{way: {figure: median}}`, and all rounds under `rounds`."""
    results: dict[str, list[Figures]] = {}
    with _upstream() as upstream, _belfry(upstream) as belfry, _litellm(litellm, upstream) as others:
        ways = [Way("direct", upstream), *belfry, *others]
        for way in ways:
            way.load(WARM_UP)
        for number in range(1, rounds + 1):
            for way in ways:
                figures = _figures(way)
                results.setdefault(way.name, []).append(figures)
                say(f"round {number} of {rounds}: {way.name}: {figures}")
        runs = belfry[-1]
        results[runs.name].append(_memory(runs) | _resume(runs))
    return {**{name: _medians(found) for name, found in results.items()}, "rounds": results}


def _figures(way: Way) -> Figures:
    first = way.load(FIRST)
    fast = way.load(FAST)
    used = cpu_seconds(way.worker)
    paced = way.load(PACED)
    used = cpu_seconds(way.worker) - used
    return {
        "first_token_ms": first["first_p50"],
        "tokens_per_s": fast["per_s"],
        "paced_tokens_per_s": paced["per_s"],
        "token_p50_ms": paced["p50"],
        "token_p99_ms": paced["p99"],
        "cpu_us_per_token": round(used / paced["chunks"] * 1e6, 1),
        "unfinished": sum(found["unfinished"] for found in (first, fast, paced)),
    }


def _memory(runs: Way) -> Figures:
    """What the worker grows by at most while so many runs reach 1,000 tokens, per run."""
    runs.load({**THOUSAND, "chunks": 10})
    before = _memory_kb(runs.worker, "VmRSS")
    Path(f"/proc/{runs.worker}/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew, see proc(5)
    runs.load(THOUSAND)
    return {"memory_kb_per_run": round((_memory_kb(runs.worker, "VmHWM") - before) / THOUSAND["streams"], 1)}


def _resume(runs: Way) -> Figures:
    """How long it takes to read a run of 10,000 chunks from its beginning."""
    (run_id,) = runs.load(TEN_THOUSAND)["ids"]
    found = [runs.load({**TEN_THOUSAND, "id": run_id}) for _ in range(RESUMES)]
    return {"resume_10000_ms": statistics.median(result["seconds"] * 1_000 for result in found)}


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


# Servers


@contextlib.contextmanager
def _upstream() -> Iterator[int]:
    port = free_port()
    with _running([sys.executable, "-m", "bench.completions_upstream", str(port)], port, ROOT):
        yield port


@contextlib.contextmanager
def _belfry(upstream: int) -> Iterator[list[Way]]:
    """The whole program with one worker; both of its ways."""
    port, secret = free_port(), secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="belfry-bench-") as folder:
        environment = {
            "BELFRY_BIND": f"127.0.0.1:{port}",
            "BELFRY_SECRET": secret,
            "BELFRY_DATA_DIR": folder,
            "BELFRY_UPSTREAM_URL": f"http://127.0.0.1:{upstream}/v1",
            "WEB_CONCURRENCY": "1",
        }
        claims = {"sub": "bench", "scope": "complete", "exp": int(time.time()) + 86_400, "iat": int(time.time())}
        token = jwt.encode(claims, secret, "HS256")
        with _running([sys.executable, "-m", "app.launcher"], port, ROOT, environment) as launcher:
            leaves = [pid for pid in descendants(launcher) if not descendants(pid)]
            (worker,) = [pid for pid in leaves if "python" in Path(f"/proc/{pid}/exe").resolve().name]
            yield [Way("/v1", port, "v1", token, worker), Way("runs", port, "runs", token, worker)]


@contextlib.contextmanager
def _litellm(command: str, upstream: int) -> Iterator[list[Way]]:
    """LiteLLM's proxy with one worker and nothing to look up elsewhere; none without its command."""
    if not command:
        yield []
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="belfry-bench-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(LITELLM_CONFIG.format(url=f"http://127.0.0.1:{upstream}/v1"), encoding="ascii")
        environment = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOG": "ERROR",
        }
        options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        with _running([command, *options], port, Path(folder), environment) as pid:
            yield [Way("litellm", port, worker=pid)]


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server that listens on `port`, in a session of its own, which ends with all that it started."""
    with tempfile.TemporaryFile() as log:
        own = {**os.environ, **(environment or {})}
        process = subprocess.Popen(
            command, cwd=folder, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read()[-2_000:].decode(errors='replace')}")
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def descendants(pid: int) -> list[int]:
    """Every child, grandchild … of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, in seconds; see proc(5)."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_kb(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--litellm", default="", metavar="PATH", help="The `litellm` command, to measure its proxy as well.")
@click.option("--json", "as_json", is_flag=True, help="Print every round as JSON.")
def main(rounds: int, litellm: str, as_json: bool) -> None:
    """Measure completions; prints the medians of all rounds."""
    command = shutil.which(litellm) if litellm else ""
    if command is None:
        raise click.UsageError(f"there is no command {litellm}")
    results = measure(rounds, command, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(results, indent=1) if as_json else table(results))


if __name__ == "__main__":
    main()
