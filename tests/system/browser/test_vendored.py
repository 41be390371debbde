"""Other people's code is shipped as it was published, with its licence, at the version that the lock file names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.servers import REPOSITORY

VENDOR = REPOSITORY / "app/static/vendor"
HERE = Path(__file__).parent
# Which of the package's files each of ours is.
FILES = {
    "marked": {"marked.esm.js": "lib/marked.esm.js", "marked.esm.d.ts": "lib/marked.d.ts", "LICENSE": "LICENSE"},
    "uplot": {
        "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
        "uPlot.min.css": "dist/uPlot.min.css",
        "uPlot.d.ts": "dist/uPlot.d.ts",
        "LICENSE": "LICENSE",
    },
}


def locked(name: str) -> str:
    lock = json.loads((HERE / "package-lock.json").read_text())
    return str(lock["packages"][f"node_modules/{name}"]["version"])


def test_nothing_else_is_vendored() -> None:
    assert sorted(folder.name for folder in VENDOR.iterdir()) == sorted(f"{name}-{locked(name)}" for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_was_published(name: str) -> None:
    vendored = VENDOR / f"{name}-{locked(name)}"
    published = HERE / "node_modules" / name
    if not published.exists():
        absent(f"{name} (npm)")
    assert json.loads((published / "package.json").read_text())["version"] == locked(name)
    assert {file.name for file in vendored.iterdir()} == set(FILES[name])
    for file, source in FILES[name].items():
        assert (vendored / file).read_bytes() == (published / source).read_bytes()
