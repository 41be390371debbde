"""The demo's identity: a secret made once per data directory, so that `./run` works before anything is configured.

Standard library only: the launcher and the command line both need it before any server is up.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

SECRET_FILE = "secret"


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the demo is on by itself: nothing says how tokens are checked, and nobody decided about the demo."""
    return not any(environ.get(name) for name in ("BELFRY_SECRET", "BELFRY_JWT_PUBLIC_KEY", "BELFRY_DEMO"))


def with_secret(environ: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """A copy of `environ` that signs with the demo's secret. Raises `OSError` if `data_dir` can't hold one."""
    return {**environ, "BELFRY_DEMO": "1", "BELFRY_SECRET": secret(data_dir)}


def secret(data_dir: Path) -> str:
    """The data directory's secret, readable by its owner only; made at the first call."""
    path = data_dir / SECRET_FILE
    if not path.exists():
        _make(path)
    return path.read_text(encoding="ascii").strip()


def _make(path: Path) -> None:
    """Write a new secret under another name and link it into place: who comes second finds the first one's, whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
