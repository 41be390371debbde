"""Python environments beside the tests' own, for programs whose requirements do not fit into it.

A lock file in this folder names all that an environment has, with hashes. It is installed once, under `build/`.
To renew one:

    cd tests/real
    uv pip compile --universal --no-strip-extras --generate-hashes --no-header --no-emit-index-url \
        --python-version 3.11 clients.in -o clients.txt
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.conftest import absent

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parent.parent / "build" / "environments"
INSTALL_SECONDS: Final = 900.0  # by pip on a busy machine; 30 s on a quiet one


def python_of(name: str) -> Path:
    """The Python of the environment that `<name>.txt` describes, installed if it is not there yet."""
    lock, place = HERE / f"{name}.txt", FOLDER / name
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # several processes run tests
        stamp = place / "installed.txt"
        if not stamp.exists() or stamp.read_text() != lock.read_text():
            _install(lock, place)
            shutil.copy(lock, stamp)  # last, so that an interruption is seen
    return place / "bin" / "python"


def _install(lock: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    python = place / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    uv = [["uv", "pip", "install", "--python", str(python)]] if shutil.which("uv") else []
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input"]
    for command in (*uv, pip):  # the two find certificates and proxies in different places
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
        if done.returncode == 0:
            return
    absent(f"what tests/real/{lock.name} lists, which could not be installed: {done.stderr.strip()[-500:]}")
