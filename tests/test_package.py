"""The wheel and the sdist: what is in them, and that the wheel alone does the main job in any folder."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from app import __version__
from tests.documentation import built_documentation
from tests.output import Printing
from tests.servers import free_port
from tests.waiting import patient, wait_until

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "belfry_push"
INSTALL_SECONDS = 300.0
# Modules that the server loads. Files of these names in the user's folder must not take their place.
SHADOWS = ("redis", "flask", "gevent", "gunicorn", "click", "app", "json")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@dataclass
class Built:
    """What the locked build backend makes of a checkout."""

    wheel: Path
    sdist: Path

    @classmethod
    def of(cls, checkout: Path, target: Path) -> Built:
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
        subprocess.run(command, cwd=checkout, check=True, capture_output=True)
        (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
        return cls(wheel, sdist)

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    built_documentation()
    return Built.of(ROOT, tmp_path_factory.mktemp("dist"))


@dataclass
class Installed:
    """A virtual environment in which only the wheel and its requirements are installed, and a user's home."""

    venv: Path
    home: Path
    before: set[str]

    @property
    def packages(self) -> Path:
        (found,) = self.venv.glob("lib/python3*/site-packages")
        return found

    def environ(self, **settings: str) -> dict[str, str]:
        return {"PATH": f"{self.venv}/bin:/usr/bin:/bin", "HOME": str(self.home), "WEB_CONCURRENCY": "1"} | settings

    def run(self, *words: str, folder: Path, **settings: str) -> str:
        command = [str(self.venv / "bin" / "belfry"), *words]
        done = subprocess.run(
            command, cwd=folder, env=self.environ(**settings), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    before = names_in(packages)
    _install(venv, built.wheel)
    home = folder / "home"
    home.mkdir()
    return Installed(venv, home, before)


def _install(venv: Path, wheel: Path) -> None:
    """With the locked versions; by uv where it reaches the registry, otherwise by pip, as `./run` does it."""
    locked = venv.parent / "constraints.txt"  # without extras, which pip refuses in constraints
    locked.write_text(re.sub(r"\[[^\]]*\]==", "==", (ROOT / "requirements.txt").read_text()))
    target, what = ["--python", str(venv / "bin" / "python")], ["-c", str(locked), str(wheel)]
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    commands = (
        [str(Path(sys.executable).parent / "uv"), "pip", "install", *target, *what],
        [base, "-m", "pip", *target, "install", "--no-input", *what],
    )
    told = ""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(INSTALL_SECONDS))
        if done.returncode == 0:
            return
        told += done.stderr
    raise AssertionError(told)


class Running(Printing):
    """`belfry` in a folder; its output is collected as it comes."""

    def __init__(self, installed: Installed, folder: Path, **settings: str) -> None:
        process = subprocess.Popen(
            [installed.venv / "bin" / "belfry"],
            cwd=folder,
            env=installed.environ(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        super().__init__(process)

    def wait_ready(self) -> None:
        wait_until(
            lambda: "stop     Ctrl-C" in self.output or self.process.poll() is not None, 60, what=lambda: self.output
        )
        assert self.process.poll() is None, self.output

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patient(60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user, whose own files have the names of modules that Belfry needs."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was loaded')\n")
    return tmp_path


@pytest.fixture
def running(installed: Installed, folder: Path) -> Iterator[tuple[Running, str]]:
    """`belfry` in that folder, and its port."""
    port = str(free_port())
    server = Running(installed, folder, BELFRY_BIND=f"127.0.0.1:{port}")
    try:
        server.wait_ready()
        yield server, port
    finally:
        if server.process.poll() is None:
            server.stop()
        server.close()


def test_the_wheel_has_one_package_with_templates_static_files_scripts_and_documentation(built: Built) -> None:
    names = built.wheel_names()
    assert {name.partition("/")[0] for name in names} == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}
    for needed in ("templates/base.html", "static/belfry.js", "store/lua/append.lua", "site/search.json"):
        assert f"{PACKAGE}/{needed}" in names


def test_the_wheel_has_every_file_of_the_package_and_every_template(built: Built) -> None:
    def files(folder: str, inside: str) -> set[str]:
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" for path in found}

    expected = files("app", PACKAGE) | files("templates", f"{PACKAGE}/templates")
    assert expected == {name for name in built.wheel_names() if name.startswith(f"{PACKAGE}/")}


def test_the_sdist_builds_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.2 has none
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)
    (checkout,) = tmp_path.iterdir()
    assert Built.of(checkout, tmp_path / "again").wheel_names() == built.wheel_names()


def test_installing_adds_the_package_and_its_requirements_only(installed: Installed) -> None:
    """The lock names every requirement, so whatever else appeared is Belfry's own."""
    added = names_in(installed.packages) - installed.before
    own = {f"{PACKAGE}-{__version__}.dist-info"}
    for record in installed.packages.glob("*.dist-info/RECORD"):
        tops = {line.partition("/")[0].partition(",")[0] for line in record.read_text().splitlines()} - {".."}
        if record.parent.name in own:
            assert tops <= {PACKAGE, *own}, tops
        added -= tops
    assert added <= {"__pycache__"}
    assert not (installed.packages / "app").exists()


def test_the_command_tells_its_version(installed: Installed, folder: Path) -> None:
    assert installed.run("--version", folder=folder) == f"belfry, version {__version__}"


def test_the_command_alone_serves_publishes_and_keeps_its_data_in_the_users_data_directory(
    installed: Installed, folder: Path, running: tuple[Running, str]
) -> None:
    server, port = running
    url, bind = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
    assert url in server.output
    assert "./run" not in server.output
    installed.run("publish", "alice", "Hello from a wheel", folder=folder, BELFRY_BIND=bind)
    token = installed.run("token", "alice", folder=folder)
    headers = {"Authorization": f"Bearer {token}"}
    feed: dict[str, Any] = requests.get(f"{url}/feed", headers=headers, timeout=patient(60)).json()
    assert [message["title"] for message in feed["messages"]] == ["Hello from a wheel"]
    assert "Belfry" in requests.get(f"{url}/login", timeout=patient(60)).text
    assert requests.get(f"{url}/static/belfry.js", timeout=patient(60)).ok
    assert "Several nodes" in requests.get(f"{url}/docs/scaling/", timeout=patient(60)).text

    data = installed.home / ".local" / "share" / "belfry"
    assert {"secret", "engine"} <= names_in(data)
    assert names_in(folder) == {f"{name}.py" for name in SHADOWS}
    assert server.stop() == 0, server.output


IMPORTS = re.compile(r"^\s*(?:from|import) +app\b|[\"'`]app[\"'`.:]", re.MULTILINE)


def test_nothing_in_the_package_relies_on_the_name_app() -> None:
    """The wheel calls the package `belfry_push`, so imports are relative and strings take `__package__`."""
    found = {
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for path in (ROOT / "app").rglob("*.py")
        for match in IMPORTS.finditer(path.read_text(encoding="utf-8"))
    }
    assert found - ALLOWED == set()


# `app` as a Flask application in a docstring.
ALLOWED = {
    "app/web/edge/problems.py: `app`",
    "app/web/edge/answers.py: `app`",
    "app/web/pages/assets.py: `app`",
}


# An installer that is told the bare name. `uvx --from X belfry` and `pipx run --spec X belfry` name the command last.
WRONG = re.compile(
    rb"\b(?:(?:pip3?|uv|pipx) +(?:pip +|tool +)*(?:install|add|inject|run)|uvx)"
    rb"(?: +-(?!-from|-spec)\S+)* +[\"']?belfry(?![-_\w./])"
)


def _texts() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path != Path(__file__).resolve():
            yield path


@pytest.mark.needs("git")
def test_nothing_tells_anyone_to_install_the_strangers_package() -> None:
    """`belfry` on PyPI belongs to another project; ours is `belfry-push`."""
    found = [str(path.relative_to(ROOT)) for path in _texts() if WRONG.search(path.read_bytes())]
    assert found == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install belfry", True),
        ("uv tool install 'belfry[all]'", True),
        ("uvx belfry", True),
        ("pipx run belfry", True),
        ("pip install belfry-push", False),
        ("uvx --from belfry-push belfry", False),
        ("pip install belfry-client", False),
        ("pipx run --spec belfry-push belfry", False),
    ],
)
def test_the_search_tells_a_wrong_name_from_a_right_one(text: str, wrong: bool) -> None:
    assert bool(WRONG.search(text.encode())) is wrong
