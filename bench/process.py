"""Processes that are measured: started, watched through /proc, ended with all that they started (Linux)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
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

    def stop(self) -> None:
        """End its whole session, kindly first, and remove its folder."""
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
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def descendants(pid: int) -> list[int]:
    """Every child, grandchild … of a process that lives now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(_fields(int(entry.name))[1], []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _fields(pid: int) -> tuple[str, int, int]:
    """`/proc/<pid>/stat`: name, parent and processor time in ticks (proc(5))."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, int(fields[1]), int(fields[11]) + int(fields[12])


def name_of(pid: int) -> str:
    """The name of its program, 15 characters at most."""
    return _fields(pid)[0]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time used so far, user and system, in seconds."""
    return sum(_fields(pid)[2] for pid in pids) / TICKS_PER_SECOND


def memory_kb(pids: Iterable[int], key: str = "Rss") -> int:
    """Resident memory in KiB; with "Pss" each shared page counts once over all its processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{key}:"):
                total += int(line.split()[1])
    return total
