"""The browser's modules that need no browser run under node; and browsers get the same code as the repository has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.web.assets import without_comments
from tests.conftest import absent
from tests.servers import REPOSITORY

HERE = Path(__file__).parent
SCRIPTS = REPOSITORY / "app/static"
TYPESCRIPT = REPOSITORY / "tests/live/browser/node_modules/typescript"
OLDEST_NODE = 20


@pytest.fixture(scope="module")
def node() -> str:
    path = shutil.which("node")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout if path else "v0"
    if path is None or int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        absent(f"Node.js {OLDEST_NODE} or later")
    return path


@pytest.mark.parametrize("script", [path.name for path in sorted(HERE.glob("*.test.mjs"))])
def test_node_s_tests_pass(node: str, script: str) -> None:
    told = subprocess.run([node, "--test", HERE / script], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("folder", ["modules", "pages"])
def test_a_script_without_its_comments_is_the_same_code(node: str, tmp_path: Path, folder: str) -> None:
    """The server leaves comments out by what a line looks like; the TypeScript compiler knows what they are."""
    if not TYPESCRIPT.exists():
        absent("typescript (npm)")
    for path in (SCRIPTS / folder).glob("*.js"):
        (tmp_path / path.name).write_text(without_comments(path.read_text()))
    # Lines of a template literal are indented in the repository only. CSS does not care; nothing else has such lines.
    assert differing(node, SCRIPTS / folder, tmp_path) <= {"styles.js"}
    (tmp_path / "styles.js").write_text("// nothing")
    found = differing(node, SCRIPTS / folder, tmp_path)
    assert ("styles.js" in found) == (folder == "modules"), "the comparison sees nothing"


def differing(node: str, before: Path, after: Path) -> set[str]:
    command: list[str | Path] = [node, HERE / "same_code.mjs", TYPESCRIPT, before, after]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
