"""Ways to an upstream of completions: direct, Belfry's two, LiteLLM's proxy; and what is asked of each."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.given import LiteLlm
from bench.process import ROOT, Process, cpu_seconds, listens
from bench.servers import Belfry, Server

RATE = 50

Asked = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Loads:
    """What the load generator is told: so many streams at a time, for about so long."""

    streams: int
    seconds: float

    @property
    def first(self) -> Asked:
        """One after the other."""
        return {"streams": int(5 * self.seconds), "chunks": 1, "rate": 0, "ramp": self.seconds / 2}

    @property
    def warm_up(self) -> Asked:
        return {"streams": min(20, self.streams), "chunks": 50, "rate": 0}

    @property
    def paced(self) -> Asked:
        return {"streams": self.streams, "chunks": int(self.seconds * RATE), "rate": RATE, "ramp": self.seconds / 4}

    @property
    def fast(self) -> Asked:
        return {"streams": max(1, self.streams // 4), "chunks": 400, "rate": 0}

    @property
    def thousand(self) -> Asked:
        return {"streams": self.streams, "chunks": 1_000, "rate": 800 / self.seconds, "ramp": self.seconds / 8}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the upstream, by its name. `worker`: the process that relays, 0 where there is none.

    A slow one falls far behind the pace: it is asked for `part` of the tokens there, so that a round comes to its end.
    """

    name: str
    port: int
    token: str = "none"
    worker: int = 0
    part: float = 1.0

    def load(self, asked: Asked) -> dict[str, Any]:
        """What the load generator, a process of its own, found."""
        way = "runs" if self.name == "runs" else "v1"
        given = json.dumps({**asked, "port": self.port, "way": way, "token": self.token})
        command = [sys.executable, "-m", "bench.completions_load", given]
        found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        return found

    def cpu_seconds(self) -> float:
        """Processor time of the process that relays, so far."""
        return cpu_seconds([self.worker]) if self.worker else 0.0


@contextlib.contextmanager
def upstream(port: int) -> Iterator[Way]:
    """The upstream, listening there, and the way straight to it."""
    process = Process([sys.executable, "-m", "bench.completions_upstream", str(port)])
    try:
        process.start(lambda: listens(port))
        yield Way("direct", port)
    finally:
        process.stop()


def ways_through(server: Server) -> list[Way]:
    """Through a server that runs: Belfry's `v1` and `runs`, or `litellm`."""
    if isinstance(server, LiteLlm):
        return [Way("litellm", server.port, worker=server.processes[0].pid, part=0.25)]
    assert isinstance(server, Belfry)
    (worker,) = server.workers()
    token = server.token("bench", "complete")
    return [Way(name, server.port, token, worker) for name in ("v1", "runs")]
