"""Where a checkout and an installed Belfry keep their data, and how their modules are started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.launch import installation

HOME = {"HOME": "/home/alice"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Belfry as it is after `pip install`, started in a folder of the user; the folder."""
    monkeypatch.setattr(installation, "IN_CHECKOUT", False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_keeps_its_data_in_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir("/")
    assert installation.base() == root
    assert installation.data_directory("", HOME) == root / "data"
    assert installation.data_directory("some/where", HOME) == root / "some/where"
    assert installation.data_directory("/some/where", HOME) == Path("/some/where")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/alice/.local/share/belfry"),
        ({"XDG_DATA_HOME": "/srv/data"}, "/srv/data/belfry"),
        ({"XDG_DATA_HOME": "relative/is/ignored"}, "/home/alice/.local/share/belfry"),
        ({"XDG_DATA_HOME": ""}, "/home/alice/.local/share/belfry"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_an_installed_belfry_keeps_its_data_in_the_users_data_directory(environ: dict[str, str], expected: str) -> None:
    assert installation.data_directory("", HOME | environ) == Path(expected)


@pytest.mark.usefixtures("installed")
def test_on_macos_the_data_directory_is_in_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert installation.data_directory("", HOME) == Path("/home/alice/Library/Application Support/belfry")


def test_an_installed_belfry_takes_relative_paths_from_the_current_folder_and_no_modules(installed: Path) -> None:
    assert installation.base() == installed
    assert installation.data_directory("store", HOME) == installed / "store"
    assert "-P" in installation.python("launch.planner")
    assert "-P" in installation.gunicorn()
