"""The browser's modules that need no browser run under node; and browsers get the same code as the repository has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.web.pages.assets import without_comments
from tests.conftest import absent
from tests.servers import REPOSITORY

HERE = Path(__file__).parent
SCRIPTS = REPOSITORY / "app/static"
TYPESCRIPT = REPOSITORY / "tests/system/browser/node_modules/typescript"
OLDEST_NODE = 20


@pytest.fixture(scope="module")
def node() -> str:
    path = shutil.which("node")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout if path else "v0"
    if path is None or int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        absent(f"Node.js {OLDEST_NODE} or later")
    return path


@pytest.mark.timeout(120)
@pytest.mark.parametrize("script", [path.name for path in sorted(HERE.glob("*.test.mjs"))])
def test_node_s_tests_pass(node: str, script: str) -> None:
    told = subprocess.run([node, "--test", HERE / script], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@pytest.mark.timeout(180)  # the compiler reads every script
def test_a_script_without_its_comments_is_the_same_code(node: str, tmp_path: Path) -> None:
    """The server leaves comments out by what a line looks like; the TypeScript compiler knows what they are."""
    if not TYPESCRIPT.exists():
        absent("typescript (npm)")
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    for path in [
        *(SCRIPTS / "modules").glob("*.js"),
        *(SCRIPTS / "pages").glob("*.js"),
        SCRIPTS / "belfry.js",
        SCRIPTS / "belfry-push.js",
    ]:
        (before / path.name).write_text(path.read_text())
        (after / path.name).write_text(without_comments(path.read_text()))
    (before / "another.js").write_text("one();")
    (after / "another.js").write_text("other();")
    command: list[str | Path] = [node, HERE / "same_code.mjs", TYPESCRIPT, before, after]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    # Lines of a template literal lose their indentation. Only styles have such lines, and CSS ignores it.
    assert sorted(told) == ["another.js", "styles.js", "toasts.js"]
