"""The demo's identity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import demo


def test_the_secret_is_made_once_long_enough_and_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    first = demo.secret(data_dir)
    assert len(first) >= 32
    assert demo.secret(data_dir) == first
    assert (data_dir / demo.SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_two_directories_have_two_secrets(tmp_path: Path) -> None:
    assert demo.secret(tmp_path / "a") != demo.secret(tmp_path / "b")


def test_all_who_ask_at_the_same_moment_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        got = set(pool.map(demo.secret, [tmp_path / "data"] * 64))
    assert len(got) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == [demo.SECRET_FILE]


@pytest.mark.parametrize("name", ["BELFRY_SECRET", "BELFRY_JWT_PUBLIC_KEY", "BELFRY_DEMO"])
def test_the_demo_is_on_by_itself_only_if_nothing_was_decided(name: str) -> None:
    assert demo.is_wanted({})
    assert demo.is_wanted({name: ""})
    assert not demo.is_wanted({name: "0"})


def test_the_environment_gets_the_secret_and_keeps_the_rest(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "BELFRY_SECRET": ""}
    assert demo.with_secret(given, tmp_path) == {
        "PATH": "/bin",
        "BELFRY_DEMO": "1",
        "BELFRY_SECRET": demo.secret(tmp_path),
    }
    assert given["BELFRY_SECRET"] == ""
