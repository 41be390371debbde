"""`./run` on a machine that has next to nothing, with a project of one module in the place of Belfry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import absent

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "cat", "cksum", "dirname", "flock", "ls", "mv", "rm")
SETTING_UP = "belfry: setting up .venv from requirements.txt (once)\n"
SCRIPTS = ("run", ".ci/run")
BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python3"


class Project:
    """A copy of `run` that finds only the tools it is given. Any word prints itself, its arguments and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a project"
        self.tools = folder / "tools"
        (self.folder / "app").mkdir(parents=True)
        (self.folder / "app" / "cli.py").write_text("import os, sys\nprint(*sys.argv[1:], os.getcwd(), sep='|')\n")
        (self.folder / "requirements.txt").touch()
        shutil.copy(ROOT / "run", self.folder)
        self.tools.mkdir()
        self.offer(Path(found) for tool in TOOLS if (found := shutil.which(tool)))

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    def offer(self, programs: Iterable[Path]) -> Project:
        for program in programs:
            (self.tools / program.name).symlink_to(program)
        return self

    def fake(self, name: str, script: str) -> Project:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)
        return self

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.folder / "run", *words],
            cwd="/",
            env={"PATH": str(self.tools), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, complaints."""
        with self.start(*words) as process:
            output, complaints = process.communicate()
        return process.returncode, output, complaints


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A machine without Python."""
    return Project(tmp_path)


@pytest.fixture
def project(bare: Project) -> Project:
    """A machine with a Python that has pip, and without uv."""
    if subprocess.run([BASE_PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        absent(f"pip for {BASE_PYTHON}")
    return bare.offer([BASE_PYTHON])


def test_a_word_sets_everything_up_once_and_goes_to_the_command_line(project: Project) -> None:
    answer = f"publish|alice|two words|{project.folder}\n"
    assert project.run("publish", "alice", "two words") == (0, answer, SETTING_UP)
    assert project.run("publish", "alice", "two words") == (0, answer, "")


def test_changed_requirements_are_set_up_again(project: Project) -> None:
    project.run("word")
    (project.folder / "requirements.txt").write_text("# changed\n")
    assert project.run("word")[2] == SETTING_UP
    assert project.run("word")[2] == ""


@pytest.mark.parametrize("damage", ["stamp", "python"])
def test_a_half_made_environment_is_made_again(project: Project, damage: str) -> None:
    project.run("word")
    (project.venv / "left-over").touch()
    (project.venv / {"stamp": "requirements.txt", "python": "bin/python"}[damage]).unlink()
    code, _, complaints = project.run("word")
    assert (code, complaints) == (0, SETTING_UP)
    assert not (project.venv / "left-over").exists()


def test_several_at_once_set_up_once(project: Project) -> None:
    if not (project.tools / "flock").exists():
        absent("flock")
    runs = [project.start("word") for _ in range(4)]
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    assert sorted(complaints for _, complaints in answers) == ["", "", "", SETTING_UP]


def test_a_failed_set_up_is_told_and_tried_again(project: Project) -> None:
    (project.folder / "requirements.txt").write_text("no-hash==1.0\n")
    code, output, complaints = project.run("word")
    assert code != 0
    assert output == ""
    assert "hash" in complaints
    (project.folder / "requirements.txt").write_text("")
    assert project.run("word")[0] == 0


def test_without_python_it_says_what_to_install(bare: Project) -> None:
    code, _, complaints = bare.run("word")
    assert code == 1
    assert complaints.endswith(
        "belfry: needs Python 3.11 or newer (Debian: apt-get install python3 python3-pip) or uv\n"
    )


def test_an_old_python_counts_as_none(bare: Project) -> None:
    assert "needs Python 3.11" in bare.fake("python3", "exit 1").run("word")[2]


def test_without_pip_it_says_what_to_install(bare: Project) -> None:
    code, _, complaints = bare.fake("python3", 'case "$*" in *pip*) exit 1 ;; esac').run("word")
    assert code == 1
    assert "belfry: python3 has no pip (Debian: apt-get install python3-pip); uv would do as well\n" in complaints


def test_uv_is_used_where_it_is_present(bare: Project) -> None:
    uv = Path(sys.executable).parent / "uv"  # of the development requirements
    bare.fake("uv", f'PATH="{os.environ["PATH"]}" exec "{uv}" "$@"')  # it looks for a Python there
    code, output, _ = bare.run("word")
    assert (code, output) == (0, f"word|{bare.folder}\n")
    assert "uv" in (bare.venv / "pyvenv.cfg").read_text()


@pytest.fixture
def windows_checkout(tmp_path: Path) -> Path:
    """The scripts as Git for Windows checks them out: it turns line ends into CRLF unless .gitattributes says no."""
    origin, checkout = tmp_path / "origin", tmp_path / "checkout"
    for name in (".gitattributes", *SCRIPTS):
        copy = origin / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    author = "-c", "user.name=Test", "-c", "user.email=test@example.com"
    commands: list[list[str | Path]] = [
        ["-C", origin, "init", "--quiet"],
        ["-C", origin, "add", "--all"],
        ["-C", origin, *author, "commit", "--quiet", "--no-gpg-sign", "--message", "The scripts"],
        ["-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "--quiet", origin, checkout],
    ]
    for command in commands:
        subprocess.run(["git", *command], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    return checkout


@pytest.mark.needs("git")
def test_scripts_keep_their_line_ends_in_a_windows_checkout(windows_checkout: Path) -> None:
    assert [name for name in SCRIPTS if b"\r" in (windows_checkout / name).read_bytes()] == []
    assert [name for name in SCRIPTS if not os.access(windows_checkout / name, os.X_OK)] == []
