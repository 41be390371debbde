"""Finds where this copy of Belfry is: in a checkout, or installed as a package.

A checkout contains its data, and its relative paths start there. An installed Belfry can start in any folder. Its
relative paths start in that folder, and its data is in the user's data directory. Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PACKAGE: Final = __name__.partition(".")[0]  # a checkout has another package name than an installation
FOLDER: Final = Path(__file__).resolve().parents[1]
IN_CHECKOUT: Final = (FOLDER.parent / "gunicorn.conf.py").is_file()
COMMAND: Final = "./run" if IN_CHECKOUT else "belfry"
CONFIGURATION: Final = (
    str(FOLDER.parent / "gunicorn.conf.py") if IN_CHECKOUT else f"python:{PACKAGE}.server.configuration"
)


def base() -> Path:
    """Return the folder in which relative paths start and the servers run."""
    return FOLDER.parent if IN_CHECKOUT else Path.cwd()


def data_directory(configured: str, environ: Mapping[str, str]) -> Path:
    """Return the absolute data directory: the `configured` one, or the default of this installation."""
    if configured:
        return base() / configured
    return FOLDER.parent / "data" if IN_CHECKOUT else _users_data(environ) / "belfry"


def _users_data(environ: Mapping[str, str]) -> Path:
    """Return the folder for the data of the user's programs.

    The XDG Base Directory Specification says to ignore a relative path.
    """
    named = Path(environ.get("XDG_DATA_HOME", ""))
    if named.is_absolute():
        return named
    home = Path(environ.get("HOME") or Path.home())
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".local/share")


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this Belfry in the folder `base()`.

    An installed Belfry imports nothing from that folder (`-P`), because the user may keep a `redis.py` there.
    """
    return [sys.executable, *([] if IN_CHECKOUT else ["-P"]), "-m", f"{PACKAGE}.{module}", *arguments]


def gunicorn() -> list[str]:
    """Return the command that starts gunicorn.

    It uses the checkout's `gunicorn.conf.py`, or the same configuration from the package.
    """
    if IN_CHECKOUT:
        return [sys.executable, "-m", "gunicorn", "-c", CONFIGURATION]
    return python("server", "-c", CONFIGURATION)
