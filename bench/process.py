"""Processes that are measured: started, watched through /proc, ended with all that they started (Linux)."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
START_SECONDS = 120.0  # LiteLLM took more than 60 on a crowded machine
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
PORTS = range(2_000, 12_000)  # below those of the tests, and below those that Linux gives connections
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process:
    """One server in a session and a folder of its own, which `{folder}` stands for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="belfry-bench-"))
        self._command = [self._filled(part) for part in command]
        own = {name: self._filled(value) for name, value in (environment or {}).items()}
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **own}
        self._process: subprocess.Popen[bytes] | None = None

    def _filled(self, text: str) -> str:
        return text.replace("{folder}", str(self.folder))

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} was not started")
        return self._process.pid

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it and wait until `is_ready`; RuntimeError with its log's end when it dies or never is."""
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,  # not the repository, whose gunicorn.conf.py every gunicorn would read
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} did not start:\n{self.log()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def end(self) -> None:
        """End its whole session, kindly first. Its folder stays."""
        if self._process is not None:
            family = [self.pid, *descendants(self.pid)]
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End its whole session and remove its folder."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_by_sigterm() -> None:
    """Let SIGTERM end this process as SIGINT does, so that it ends what it started."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def free_port() -> int:
    """A TCP port that nobody has now. The kernel gives it to no connection before its server listens on it."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class EndedError(RuntimeError):
    """A process that was to be measured is no more: a server that crashed, for one."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} ended while it was measured")


def descendants(pid: int) -> list[int]:
    """Every child, grandchild … of a process that lives now."""
    return _family([pid])[1:]


def _family(pids: Iterable[int]) -> list[int]:
    """The processes and all of their descendants that live now, each once, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(_stat(int(entry.name)).parent, []).append(int(entry.name))
    found = dict.fromkeys(pids)
    queue = list(found)
    for parent in queue:
        new = [child for child in children.get(parent, []) if child not in found]
        found.update(dict.fromkeys(new))
        queue += new
    return queue


class _Stat(NamedTuple):
    """`/proc/<pid>/stat`: processor time in ticks, its own and that of children that were waited for (proc(5))."""

    name: str
    parent: int
    ticks: int
    reaped_ticks: int


def _stat(pid: int) -> _Stat:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return _Stat(name, int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))


def name_of(pid: int) -> str:
    """The name of its program, 15 characters at most; "" where it has ended."""
    with contextlib.suppress(OSError):
        return _stat(pid).name
    return ""


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time used so far, user and system, in seconds: by these, their children, and children that have ended.

    A store forks to rewrite its file, and the child is gone a moment later. What it used moves into its parent's
    account when it ends: if one did while they were read, all are read again. EndedError where one of `pids` did.
    """
    while True:
        family = _family(pids)
        stats = {pid: _stat_or_none(pid) for pid in family}
        for pid in pids:
            if stats[pid] is None:
                raise EndedError(pid)
        if _family(pids) == family:
            return sum(stat.ticks + stat.reaped_ticks for stat in stats.values() if stat) / TICKS_PER_SECOND


def _stat_or_none(pid: int) -> _Stat | None:
    with contextlib.suppress(OSError):
        return _stat(pid)
    return None


def memory_kb(pids: Iterable[int], key: str = "Rss") -> int:
    """Resident memory in KiB; with "Pss" each shared page counts once over all its processes."""
    return sum(_memory_kb(pid, key) for pid in pids)


def _memory_kb(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise EndedError(pid) from None
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def open_sockets(pid: int) -> int:
    """How many sockets it holds."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count
