"""What the launcher is told to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.settings import SettingsError
from app.launch.embedded import EmbeddedError
from app.launch.planner import plan

SECRET = "s" * 32


def test_a_store_of_its_own_is_for_who_named_none(tmp_path: Path) -> None:
    given = {"BELFRY_DATA_DIR": str(tmp_path / "data"), "BELFRY_SECRET": SECRET}
    assert plan(given).embeds_store
    assert not plan(given | {"BELFRY_REDIS_URL": "redis://localhost"}).embeds_store
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "stands_in"),
    [
        ({"BELFRY_DEMO": "1"}, True),
        ({"BELFRY_DEMO": "1", "BELFRY_UPSTREAM_URL": "http://127.0.0.1:1/v1"}, False),
        ({"BELFRY_DEMO": "1", "BELFRY_UPSTREAMS": '[{"url": "http://127.0.0.1:1/v1"}]'}, False),
        ({}, False),
    ],
)
def test_a_stand_in_is_for_a_demo_without_an_upstream(
    tmp_path: Path, settings: dict[str, str], stands_in: bool
) -> None:
    given = {"BELFRY_DATA_DIR": str(tmp_path), "BELFRY_SECRET": SECRET} | settings
    assert plan(given).stands_in == stands_in


def test_nobody_serves_without_an_identity_or_a_place_for_the_demo_s(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BELFRY_SECRET is not set"):
        plan({"BELFRY_DATA_DIR": str(tmp_path), "BELFRY_DEMO": "0"})
    with pytest.raises(SettingsError, match="BELFRY_SECRET must be random bytes"):
        plan({"BELFRY_DATA_DIR": str(tmp_path), "BELFRY_SECRET": f"ssh-rsa {SECRET}"})
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="can't write to"):
        plan({"BELFRY_DATA_DIR": str(tmp_path / "file" / "data")})
