"""The built site of the documentation, which several tests and the wheel need."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.servers import REPOSITORY

SITE: Final = REPOSITORY / "app" / "site"
SOURCES: Final = (
    "docs",
    "app/web/api",
    "templates/openapi",
    "deploy",
    "clients/python/README.md",
    "clients/js/README.md",
)
PAGES: Final = ("README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md", ".github/SECURITY.md")


def built_documentation() -> Path:
    """Return the folder of the site. It is built first, by one process at a time, if a source is newer."""
    with (REPOSITORY / "run").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            command = [sys.executable, "-m", "docs.site"]
            # Without coverage, which makes the build four times as long.
            environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
            done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return SITE


def _is_current() -> bool:
    made = SITE / "index.html"
    return made.is_file() and max(file.stat().st_mtime for file in _sources()) <= made.stat().st_mtime


def _sources() -> Iterator[Path]:
    for name in (*SOURCES, *PAGES):
        path = REPOSITORY / name
        files = path.rglob("*") if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)
