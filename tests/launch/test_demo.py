"""The demo's identity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.launch import demo, installation


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


def test_with_nothing_decided_the_demo_is_on_with_its_secrets(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "BELFRY_SECRET": "", "BELFRY_DATA_DIR": str(tmp_path)}
    assert demo.environment(given) == given | {
        "BELFRY_DEMO": "1",
        "BELFRY_SECRET": demo.secret(tmp_path),
        "BELFRY_PUSH_PRIVATE_KEY": demo.push_key(tmp_path),
    }
    assert given["BELFRY_SECRET"] == ""


def test_the_demo_keeps_its_key_for_web_push_unless_another_one_is_given(tmp_path: Path) -> None:
    """The devices that subscribed are tied to it."""
    given = {"BELFRY_DATA_DIR": str(tmp_path)}
    first = demo.environment(given)["BELFRY_PUSH_PRIVATE_KEY"]
    assert demo.environment(given)["BELFRY_PUSH_PRIVATE_KEY"] == first
    assert (tmp_path / demo.PUSH_KEY_FILE).stat().st_mode & 0o777 == 0o600
    own = demo.new_push_key()
    assert demo.environment({**given, "BELFRY_PUSH_PRIVATE_KEY": own})["BELFRY_PUSH_PRIVATE_KEY"] == own


@pytest.mark.parametrize(
    "decided",
    [
        {"BELFRY_SECRET": "s" * 32},
        {"BELFRY_SECRET": "s" * 32, "BELFRY_DEMO": "1"},
        {"BELFRY_JWT_PUBLIC_KEY": "key.pem"},
        {"BELFRY_DEMO": "0"},
    ],
)
def test_what_was_decided_stays_as_it_is(tmp_path: Path, decided: dict[str, str]) -> None:
    given = {"BELFRY_DATA_DIR": str(tmp_path / "data"), **decided}
    assert demo.environment(given) == given
    assert not (tmp_path / "data").exists()


def test_a_demo_that_was_asked_for_gets_a_secret_beside_a_public_key(tmp_path: Path) -> None:
    given = {"BELFRY_DATA_DIR": str(tmp_path), "BELFRY_DEMO": "yes", "BELFRY_JWT_PUBLIC_KEY": "key.pem"}
    assert demo.environment(given)["BELFRY_SECRET"] == demo.secret(tmp_path)


def test_a_relative_data_directory_is_the_projects_wherever_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    given = {"BELFRY_SECRET": "s" * 32, "BELFRY_DATA_DIR": "some/data"}
    assert demo.environment(given)["BELFRY_DATA_DIR"] == str(installation.base() / "some" / "data")
