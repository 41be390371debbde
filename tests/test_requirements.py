"""The lock files name each extra that is asked for: Debian 12's pip 23.0.1 refuses a hashed lock otherwise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import REPOSITORY

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^]]*)\])?==", re.MULTILINE)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def pinned(lock: str) -> dict[str, set[str]]:
    """Each package of a lock file and the extras that it is pinned with."""
    found = PINNED.findall((REPOSITORY / lock).read_text())
    return {canonicalize_name(name): set(extras.split(",")) - {""} for name, extras in found}


def asked_for(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What a package asks for here, if it is installed: the lock is for other systems as well."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return
    for line in lines:
        each = Requirement(line)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield each


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_a_package_is_pinned_with_every_extra_that_another_asks_for(lock: str) -> None:
    known = pinned(lock)
    groups = PROJECT["dependency-groups"]
    asked = [Requirement(line) for line in groups["build"] if "build" in lock or "dev" in lock]
    if "build" not in lock:
        asked += [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    if "dev" in lock:
        asked += [Requirement(line) for line in groups["dev"] if isinstance(line, str)]
    asked += [each for name, extras in known.items() for each in asked_for(name, extras)]
    missing = {
        f"{each.name}[{extra}]"
        for each in asked
        if canonicalize_name(each.name) in known
        for extra in each.extras - known[canonicalize_name(each.name)]
    }
    assert missing == set()


def test_the_command_at_the_head_of_pyproject_keeps_extras() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert text.count("# " + "  uv pip compile --universal --no-strip-extras") == 3
