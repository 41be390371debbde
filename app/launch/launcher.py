"""`./run` and `belfry serve`: starts the embedded store and gunicorn, prints their addresses, and ends both at its end.

It starts processes, waits for them and passes signals on, and it stays in memory as long as they do. So it imports
neither redis nor gevent nor flask, and not the module that reads settings.
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

READY_SECONDS = 60.0  # a cold start of every worker on a small, busy machine takes a few seconds
STORE_STOP_SECONDS = 30.0  # the store writes its last bytes to a slow disk
POLL_SECONDS = 0.02
STANDIN_HOST = "127.0.0.1"  # as in standin.py, whose asyncio would stay in memory here: 4 MB
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StopRequestedError(Exception):
    """Someone pressed Ctrl-C or sent SIGTERM: the way a server normally ends."""


class LaunchError(RuntimeError):
    """Why nothing is served (any more); its text is for the operator."""


class Signals:
    """The signals sent to this process, as something to wait for.

    Handlers do nothing: the interpreter writes each signal's number to a pipe, and `wait` reads it from there. So no
    code of ours ever runs in the middle of other code.
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
        """The next signal's number, or None after `seconds` without one; None waits for ever."""
        readable, _, _ = select.select([self._reader], [], [], seconds)
        return os.read(self._reader, 1)[0] if readable else None


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


@dataclass(slots=True)
class Child:
    """A server of ours. It leads its own session, so a Ctrl-C at the terminal reaches only the launcher."""

    name: str
    process: subprocess.Popen[bytes]
    stop_seconds: float

    @classmethod
    def start(
        cls, name: str, command: list[str], environ: Mapping[str, str], *, lock: int | None, stop_seconds: float
    ) -> Child:
        """Start `command`. It inherits the data directory's `lock` and gets SIGTERM when the launcher dies."""
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
        """Send a signal to the whole session, its workers too if the leader is gone already."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.process.poll() is None and number != signal.SIGKILL:
                self.process.send_signal(number)
            else:
                os.killpg(self.process.pid, number)

    def stop(self, signals: Signals) -> None:
        """End it and all it started: kindly, and hard after `stop_seconds` or at another Ctrl-C or SIGTERM."""
        deadline = time.monotonic() + self.stop_seconds
        self.send(signal.SIGTERM)
        while self._is_alive():
            hurried = signals.wait(POLL_SECONDS) in {signal.SIGINT, signal.SIGTERM}
            if hurried or time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                self.process.wait()
                return

    def _is_alive(self) -> bool:
        """Whether the leader or, after its death, any process of its session is left."""
        if self.process.poll() is None:
            return True
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _die_with(launcher: int) -> None:
    """Between fork and exec: have the kernel send SIGTERM when the launcher dies, however it dies.

    The launcher may have died before this was set; then the parent is another process already.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        os._exit(1)


class ServerGroup:
    """The servers that run, in order of their start; they stop in the opposite order, the store last."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._children: list[Child] = []

    @contextlib.contextmanager
    def running(self, child: Child) -> Iterator[Child]:
        """Watch over `child` inside, and stop it on the way out."""
        self._children.append(child)
        try:
            yield child
        finally:
            self._children.remove(child)
            child.stop(self._signals)

    def until(self, ready: Callable[[], bool], late: Callable[[], None]) -> None:
        """Wait until `ready()`; call `late()` once if that takes more than `READY_SECONDS`. Raises as `pause` does."""
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self.pause(POLL_SECONDS)
            if time.monotonic() > deadline:
                late()
                deadline = float("inf")

    def pause(self, seconds: float | None = None) -> bool:
        """Wait for `seconds` or a signal; True if that was SIGHUP.

        Raises `StopRequestedError` when asked to stop, `LaunchError` when a server ended by itself.
        """
        number = self._signals.wait(seconds)
        if number in {signal.SIGINT, signal.SIGTERM}:
            raise StopRequestedError
        for child in self._children:
            child.check()
        return number == signal.SIGHUP


def main() -> int:
    """Serve until asked to stop. The exit code: 0 after a clean stop, 1 after a failure that was told in one line."""
    os.umask(0o077)  # what is kept in the data directory is nobody else's business
    try:
        _serve(os.environ)
    except StopRequestedError:
        return 0
    except (AddressError, EmbeddedError, LaunchError, PlanError) as error:
        print(f"belfry: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    return 0


def _serve(given: Mapping[str, str]) -> None:
    """Start what is needed, in order: the directory, its store, the web server. Leaving stops them in reverse."""
    signals = Signals()
    planned = plan.read(given)
    environ = planned.environ
    # Longer than gunicorn's own limit for a graceful stop, so that it is the one that ends stuck workers.
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
    """The embedded store, ready to take commands. Its own log ends in the error when it fails."""
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
    """The demo's model server, where no upstream is configured. It takes the port before gunicorn is started."""
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
    """Wait for the end. SIGHUP reloads gunicorn, unless it says that the terminal we were started in has closed."""
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
