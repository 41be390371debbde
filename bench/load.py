"""The load generator (`load.c`): built once, run with a scenario's numbers, its report read."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPARE_DESCRIPTORS = 100  # for publishers, the epoll and the standard streams
_READY = re.compile(r"ready connected=(\d+) refused=\d+ (.*)")


class LoadError(RuntimeError):
    """The load generator could not be built or ended badly."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send and to hold. `rate` 0 is as fast as it goes.

    Without messages of its own it holds for `hold` seconds, or until `awaited` messages of others have come.
    """

    connections: int
    users: int
    publishers: int = 0
    messages: int = 0
    rate: float = 0
    broadcast: bool = False
    hold: float = 0
    awaited: int = 0
    connects_per_second: int = 2_000
    opening: int = 500  # at a time: a server that is slower than that pace has no crowd at its door; 0: any number
    prefix: str = "u"
    timeout: float = 120

    def arguments(self) -> list[str]:
        numbers = {
            "-c": self.connections,
            "-u": self.users,
            "-P": self.publishers,
            "-n": self.messages,
            "-r": self.rate,
            "-w": self.hold,
            "-E": self.awaited,
            "-O": self.opening,
            "-R": self.connects_per_second,
            "-x": self.prefix,
            "-T": self.timeout,
        }
        flags = [str(part) for pair in numbers.items() for part in pair]
        return [*flags, "-B"] if self.broadcast else flags

    def spread(self, most: int = 0) -> list[Load]:
        """The same connections in as many load generators as it takes, of `most` each: what one process may open."""
        most = most or resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS
        count = -(-self.connections // most)
        sizes = [self.connections // count + (number < self.connections % count) for number in range(count)]
        return [replace(self, connections=n, users=n, prefix=f"{self.prefix}{i}-") for i, n in enumerate(sizes)]


@dataclass(frozen=True, slots=True)
class Requests:
    """How this server is spoken to: two request templates, and a line a user of tokens and cursors."""

    port: int
    subscribe: str
    publish: str | None = None
    tokens: Sequence[str] = field(default=())
    cursors: Sequence[str] = field(default=())
    publish_port: int = 0  # where it is another one


@cache
def compiled(source: str, *options: str) -> Path:
    """The program made of a C file beside this one, by the machine's C compiler; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="belfry-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / Path(source).stem
    try:
        subprocess.run(["cc", "-O2", *options, "-o", program, HERE / source], check=True, capture_output=True)
    except FileNotFoundError:
        raise LoadError("needs a C compiler, cc (Debian: apt-get install gcc libc6-dev)") from None
    except subprocess.CalledProcessError as error:
        raise LoadError(f"{source} does not compile: {error.stderr.decode()}") from None
    return program


@contextlib.contextmanager
def running(load: Load, requests: Requests) -> Iterator[subprocess.Popen[str]]:
    """The load generator at work; it says "ready" on its standard error once every connection is open or refused."""
    with tempfile.TemporaryDirectory(prefix="belfry-bench-") as folder:
        ports = ["-p", str(requests.port), "-Q", str(requests.publish_port)]
        arguments = [*load.arguments(), *ports, *_files(requests, Path(folder))]
        with subprocess.Popen(
            [compiled("load.c"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _files(requests: Requests, folder: Path) -> Iterator[str]:
    texts = {
        "-s": requests.subscribe,
        "-b": requests.publish,
        "-t": "\n".join(requests.tokens),
        "-k": "\n".join(requests.cursors),
    }
    for flag, text in texts.items():
        if text:
            path = folder / flag[1:]
            path.write_text(text, encoding="utf-8", newline="")
            yield flag
            yield str(path)


def wait_until_ready(process: subprocess.Popen[str], connections: int = 0) -> int:
    """Return how many connections are open once every one is open or refused; LoadError if fewer than `connections`."""
    assert process.stderr is not None
    line = process.stderr.readline()
    ready = _READY.match(line)
    if ready is None and line:
        raise LoadError(f"the load generator said {line!r}")
    connected, why = (int(ready[1]), ready[2]) if ready else (report(process)["connected"], "when the time was over")
    if connected < connections:
        raise LoadError(f"{connected:,} of {connections:,} connected {why}".strip())
    return connected


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Its report, at its end."""
    out, err = process.communicate()
    if process.returncode or not out.startswith("{"):
        raise LoadError(f"the load generator ended with {process.returncode}: {err[-500:]}")
    result: dict[str, Any] = json.loads(out)
    result["complaint"] = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("ready"))
    return result


def run(load: Load, requests: Requests) -> dict[str, Any]:
    """The whole load, and its report."""
    with running(load, requests) as process:
        return report(process)
