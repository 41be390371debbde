"""The demo's identity: secrets made once per data directory, so that `./run` works without any configuration.

The launcher and the command line both need it before any server runs. So it imports none of the servers' packages.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from ..core.push import private_key
from ..core.settings import load
from . import installation

SECRET_FILE = "secret"
PUSH_KEY_FILE = "push-key"
_DECIDING = ("BELFRY_SECRET", "BELFRY_JWT_PUBLIC_KEY", "BELFRY_JWKS_URL", "BELFRY_DEMO")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return `given` with an absolute data directory and the demo's secret, for the servers and the command line.

    The demo is on if `BELFRY_DEMO` says so, or if nothing was configured that decides about it. `installation.py` finds
    the data directory. Raises `SettingsError`, and `OSError` if the data directory can't hold the secret.
    """
    settings = load(given)
    data_dir = installation.data_directory(settings.data_dir, given)
    environ = {**given, "BELFRY_DATA_DIR": str(data_dir)}
    if settings.secret or not (settings.demo or _is_undecided(given)):
        return environ
    own = {"BELFRY_DEMO": "1", "BELFRY_SECRET": secret(data_dir)}
    return {**environ, **own, "BELFRY_PUSH_PRIVATE_KEY": settings.push_private_key or push_key(data_dir)}


def _is_undecided(given: Mapping[str, str]) -> bool:
    """Return whether no setting defines how tokens are checked, and none turns the demo on or off."""
    return not any(given.get(name) for name in _DECIDING)


def secret(data_dir: Path) -> str:
    """Return the data directory's secret, which only its owner can read. The first call makes it."""
    return _kept(data_dir / SECRET_FILE, lambda: secrets.token_urlsafe(48))


def push_key(data_dir: Path) -> str:
    """Return the data directory's private key for Web Push, see `private_key.py`. The first call makes it.

    The devices that subscribed are tied to it.
    """
    return _kept(data_dir / PUSH_KEY_FILE, new_push_key)


def new_push_key() -> str:
    """Return a new private key for Web Push."""
    return private_key.encoded_key(secrets.randbelow(private_key.ORDER - 1) + 1)


def _kept(path: Path, new: Callable[[], str]) -> str:
    """Return the text of a file that only its owner can read. The first call makes it."""
    if not path.exists():
        _make(path, new())
    return path.read_text(encoding="ascii").strip()


def _make(path: Path, text: str) -> None:
    """Write a new secret under another name, then link it.

    If two processes do this, both use the first one's secret.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
