"""`./run` and `belfry serve`: starts the embedded store and gunicorn, prints their addresses, and stops both.

It starts processes, waits for them and passes on signals. It stays in memory as long as they run. So it imports neither
redis nor gevent nor flask, and not the module that reads settings.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from . import embedded, installation, plan
from .address import AddressError, BindAddress
from .embedded import DataDirectory, EmbeddedError
from .plan import PlanError

# A cold start of all workers takes a few seconds on a small, busy machine.
READY_SECONDS = 60.0
# The store may have to write its last bytes to a slow disk.
STORE_STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
STANDIN_HOST = "127.0.0.1"  # as in standin.py, whose asyncio would take 4 MB of memory here
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StopRequestedError(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM. This is the normal end of a server."""


class LaunchError(RuntimeError):
    """Nothing is served, or nothing any more. The text explains why to the operator."""


class Signals:
    """The signals to this process, as something to wait for.

    Handlers do nothing. The interpreter writes each signal's number to a pipe, and `wait` reads it from there. So no
    code of Belfry ever runs in the middle of other code.
    """

    HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in self.HEARD:
            signal.signal(number, _ignore)

    def wait(self, seconds: float | None) -> int | None:
        """Wait for the next signal and return its number.

        Return None after `seconds` without one; None waits forever.
        """
        readable, _, _ = select.select([self._reader], [], [], seconds)
        return os.read(self._reader, 1)[0] if readable else None


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


@dataclass(slots=True)
class Child:
    """A server that the launcher started. It leads its own session, so a Ctrl-C reaches only the launcher."""

    name: str
    process: subprocess.Popen[bytes]
    stop_seconds: float

    @classmethod
    def start(
        cls, name: str, command: list[str], environ: Mapping[str, str], *, lock: int | None, stop_seconds: float
    ) -> Child:
        """Start `command`. It inherits the data directory's `lock`, and gets SIGTERM when the launcher dies."""
        launcher = os.getpid()
        process = subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            env=environ,
            cwd=installation.base(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
            preexec_fn=lambda: _die_with(launcher),  # noqa: PLW1509 - this process has one thread
        )
        return cls(name, process, stop_seconds)

    def check(self) -> None:
        """Raise `LaunchError` if it has ended."""
        status = self.process.poll()
        if status is not None:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
            raise LaunchError(f"{self.name} ended by itself ({how})")

    def send(self, number: int) -> None:
        """Send a signal to the leader. For SIGKILL, or if the leader is gone, send it to the whole session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.process.poll() is None and number != signal.SIGKILL:
                self.process.send_signal(number)
            else:
                os.killpg(self.process.pid, number)

    def stop(self, signals: Signals) -> None:
        """End it and everything that it started. Sends SIGTERM, then SIGKILL after `stop_seconds`.

        Another Ctrl-C or SIGTERM to the launcher also leads to SIGKILL.
        """
        deadline = time.monotonic() + self.stop_seconds
        self.send(signal.SIGTERM)
        while self._is_alive():
            hurried = signals.wait(POLL_SECONDS) in {signal.SIGINT, signal.SIGTERM}
            if hurried or time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                self.process.wait()
                return

    def _is_alive(self) -> bool:
        """Return whether the leader or, after its death, any process of its session is alive."""
        if self.process.poll() is None:
            return True
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _die_with(launcher: int) -> None:
    """Make the kernel send SIGTERM when the launcher dies for any reason. This runs between fork and exec.

    The launcher may have died before this was set. Then the parent is already another process.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        os._exit(1)


class ServerGroup:
    """The running servers, in the order of their start. They stop in the opposite order, the store last."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._children: list[Child] = []

    @contextlib.contextmanager
    def running(self, child: Child) -> Iterator[Child]:
        """Monitor `child` inside the context, and stop it at the end."""
        self._children.append(child)
        try:
            yield child
        finally:
            self._children.remove(child)
            child.stop(self._signals)

    def until(self, ready: Callable[[], bool], late: Callable[[], None]) -> None:
        """Wait until `ready()`. Call `late()` once if that takes longer than `READY_SECONDS`. Raises like `pause`."""
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self.pause(POLL_SECONDS)
            if time.monotonic() > deadline:
                late()
                deadline = float("inf")

    def pause(self, seconds: float | None = None) -> bool:
        """Wait for `seconds` or a signal. Return True if the signal was SIGHUP.

        Raises `StopRequestedError` if asked to stop, and `LaunchError` if a server ended by itself.
        """
        number = self._signals.wait(seconds)
        if number in {signal.SIGINT, signal.SIGTERM}:
            raise StopRequestedError
        for child in self._children:
            child.check()
        return number == signal.SIGHUP


def main() -> int:
    """Serve until asked to stop. Return 0 after a clean stop, and 1 after a failure, which is printed in one line."""
    os.umask(0o077)  # other users must not read the files in the data directory
    try:
        _serve(os.environ)
    except StopRequestedError:
        return 0
    except (AddressError, EmbeddedError, LaunchError, PlanError) as error:
        print(f"belfry: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    return 0


def _serve(given: Mapping[str, str]) -> None:
    """Start the servers in order: the directory lock, its store, the web server.

    The end stops them in reverse order.
    """
    signals = Signals()
    planned = plan.read(given)
    environ = planned.environ
    # This is longer than gunicorn's own limit for a graceful stop, so that gunicorn ends stuck workers itself.
    stop_seconds = planned.drain_seconds + 10
    crew = ServerGroup(signals)
    with contextlib.ExitStack() as stack:
        lock = None
        if planned.embeds_store:
            directory = DataDirectory(Path(environ["BELFRY_DATA_DIR"]))
            stack.enter_context(directory.in_use(stop_seconds, crew.pause))
            lock = directory.lock
            environ["BELFRY_REDIS_URL"] = directory.redis_url
            stack.enter_context(_store(crew, directory, environ))
        if planned.stands_in:
            stack.enter_context(_stand_in(crew, environ))
        address = BindAddress.parse(planned.bind).claim()
        environ["BELFRY_BIND"] = address.bind
        web = Child.start("gunicorn", installation.gunicorn(), environ, lock=lock, stop_seconds=stop_seconds)
        stack.enter_context(crew.running(web))
        crew.until(address.answers, _give_up)
        _announce(address, demo=planned.demo)
        _watch(crew, web)


@contextlib.contextmanager
def _store(crew: ServerGroup, directory: DataDirectory, environ: Mapping[str, str]) -> Iterator[None]:
    """Run the embedded store, and wait until it takes commands. If it fails, the error contains the end of its log."""
    engine = directory.choose(embedded.engines(environ.get("PATH")))
    command = directory.command(engine)
    child = Child.start(str(engine), command, environ, lock=directory.lock, stop_seconds=STORE_STOP_SECONDS)
    with crew.running(child):
        try:
            crew.until(directory.answers, lambda: _say(f"belfry: {engine} is still reading {directory.path}"))
            yield
        except LaunchError as error:
            if child.process.poll() is None:
                raise
            raise LaunchError(f"{error}; the end of {directory.log_path}:\n{directory.log_tail()}") from None


def _stand_in(crew: ServerGroup, environ: dict[str, str]) -> contextlib.AbstractContextManager[Child]:
    """Start the demo's model server, if no upstream is configured. It chooses its port before gunicorn starts."""
    with socket.socket() as probe:
        probe.bind((STANDIN_HOST, 0))
        port = probe.getsockname()[1]
    environ["BELFRY_UPSTREAM_URL"] = f"http://{STANDIN_HOST}:{port}/v1"
    command = installation.python("launch.standin", str(port))
    return crew.running(Child.start("the stand-in model server", command, environ, lock=None, stop_seconds=1.0))


def _give_up() -> None:
    raise LaunchError(f"the web server did not answer within {READY_SECONDS:.0f} seconds")


def _announce(address: BindAddress, *, demo: bool) -> None:
    sign_in = f"{address.url}/login (demo: pick a name), send from {address.url}/admin/"
    _say(
        f"Belfry is ready at {address.url}",
        f"  sign in  {sign_in if demo else f'with a token: {installation.COMMAND} token alice'}",
        f'  publish  {installation.COMMAND} publish alice "Hello"',
        "  stop     Ctrl-C",
    )
    if demo and not address.is_local:
        _say(f"belfry: warning: the demo lets anyone sign in as anyone, and {address.bind} is open to the network")


def _watch(crew: ServerGroup, web: Child) -> None:
    """Wait for the end. SIGHUP reloads gunicorn, unless it means that the terminal of the launcher has closed."""
    at_terminal = os.isatty(0)
    while True:
        hang_up = crew.pause()
        if hang_up and at_terminal and not os.isatty(0):
            raise StopRequestedError
        if hang_up:
            web.send(signal.SIGHUP)


def _say(*lines: str) -> None:
    """Print to the terminal or program that started the launcher, if it still reads."""
    with contextlib.suppress(OSError):
        print(*lines, sep="\n", flush=True)  # noqa: T201 - a command's answer


if __name__ == "__main__":
    sys.exit(main())
