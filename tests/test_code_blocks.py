"""Every code block of the documentation is valid in its language.

Other tests run blocks: `tests/system/test_services_doc.py`, `tests/system/test_start_doc.py` and
`tests/system/browser/test_embedding.py`.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.conftest import absent
from tests.servers import REPOSITORY

PAGES: Final = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted(REPOSITORY.glob(".github/*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted(REPOSITORY.glob("clients/*/README.md")),
]
BLOCK: Final = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
TYPESCRIPT: Final = REPOSITORY / "tests/system/browser/node_modules/typescript"
TRANSPILE: Final = """
const [, , typescript, ...files] = process.argv;
const ts = require(typescript);
const compilerOptions = { module: "esnext", target: "esnext", jsx: "preserve" };
for (const fileName of files) {
  const text = require("fs").readFileSync(fileName, "utf8");
  const { diagnostics } = ts.transpileModule(text, { fileName, compilerOptions, reportDiagnostics: true });
  for (const told of diagnostics) console.log(fileName + ": " + ts.flattenDiagnosticMessageText(told.messageText, " "));
}
"""
HAPROXY_GLOBAL: Final = "global\n    maxconn 100\n"


@dataclass(frozen=True)
class Block:
    """A block with its page and line. `words` are those of its first line: a language, and how a test uses it."""

    place: str
    words: tuple[str, ...]
    text: str

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        body = "".join(each.removeprefix(match[1]) for each in match[3].splitlines(keepends=True))
        found.append(Block(f"{page.relative_to(REPOSITORY)}:{line}", tuple(match[2].split()), body))
    return found


ALL: Final = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def run(*command: str | Path, text: str = "") -> str:
    """The complaints of a command; '' if it accepts its input."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or f"exit code {done.returncode}"


def python(text: str) -> str:
    try:
        compile(text, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return str(error)
    return ""


def json_text(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return ""


def yaml_text(text: str) -> str:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        return str(error)
    return ""


def html(text: str) -> str:
    """Each element that is opened is closed."""
    single = {"meta", "link", "input", "br", "img", "hr", "!doctype", "p", "li", "button"}
    opened: list[str] = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            opened.remove(tag) if tag in opened else opened.append(f"/{tag}")

    Elements().feed(text)
    return ", ".join(tag for tag in opened if tag not in single)


def braces(text: str) -> str:
    return "" if text.count("{") == text.count("}") else "a brace is missing"


CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "python": python,
    "json": json_text,
    "yaml": yaml_text,
    "html": html,
    "caddyfile": braces,  # no Caddy is at hand
    "sh": lambda text: run("bash", "-n", text=text),
    "text": lambda _text: "",
    "": lambda _text: "",  # drawings and lists
}
WITH_PROGRAMS: Final = {"js", "ts", "tsx", "php", "ruby", "go", "java", "nginx", "haproxy"}


def test_every_language_has_a_check() -> None:
    assert {block.language for block in ALL} <= CHECKS.keys() | WITH_PROGRAMS


@pytest.mark.parametrize("language", sorted(CHECKS))
def test_blocks_are_valid(language: str) -> None:
    assert [f"{block.place}: {told}" for block in of(language) if (told := CHECKS[language](block.text))] == []


@pytest.mark.needs("node")
def test_javascript_and_typescript(tmp_path: Path) -> None:
    if not TYPESCRIPT.exists():
        absent("typescript (npm)")
    files = []
    for number, block in enumerate(of("js", "ts", "tsx")):
        file = tmp_path / f"{block.place.replace('/', '_').replace(':', '_')}_{number}.{block.language}"
        file.write_text(block.text, encoding="utf-8")
        files.append(file)
    assert files
    script = tmp_path / "transpile.cjs"
    script.write_text(TRANSPILE, encoding="utf-8")
    faulty = tmp_path / "faulty.js"
    faulty.write_text("const = 1;")
    command: list[str | Path] = ["node", script, TYPESCRIPT, *files, faulty]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in told if "faulty.js" not in line] == []
    assert told, "a fault is found"


@pytest.mark.parametrize(
    ("language", "command"),
    [
        pytest.param("php", ("php", "-l"), marks=pytest.mark.needs("php")),
        pytest.param("ruby", ("ruby", "-c"), marks=pytest.mark.needs("ruby")),
    ],
)
def test_other_languages(language: str, command: tuple[str, ...]) -> None:
    assert [f"{block.place}: {told}" for block in of(language) if (told := run(*command, text=block.text))] == []


@pytest.mark.needs("nginx")
def test_nginx_takes_the_configurations(tmp_path: Path) -> None:
    for number, block in enumerate(of("nginx")):
        config = tmp_path / f"{number}.conf"
        log = tmp_path / "error.log"
        config.write_text(
            f"pid {tmp_path}/nginx.pid;\nerror_log {log};\nevents {{}}\nhttp {{\naccess_log off;\n"
            f"upstream belfry {{ server 127.0.0.1:8000; }}\nserver {{\nlisten 127.0.0.1:18080;\n{block.text}}}\n}}\n"
        )
        told = run(shutil.which("nginx") or "/usr/sbin/nginx", "-t", "-q", "-p", tmp_path, "-c", config, "-e", log)
        assert told == "", block.place


@pytest.mark.needs("haproxy")
def test_haproxy_takes_the_configurations(tmp_path: Path) -> None:
    for number, block in enumerate(of("haproxy")):
        config = tmp_path / f"{number}.cfg"
        config.write_text(HAPROXY_GLOBAL + block.text)
        told = run(shutil.which("haproxy") or "/usr/sbin/haproxy", "-c", "-q", "-f", config)
        assert told == "", block.place


FAULTY: Final = {
    "python": "def f(:\n",
    "json": "{",
    "yaml": "a: [\n",
    "html": "<section>",
    "sh": "if true\n",
    "caddyfile": "a {\n",
}


@pytest.mark.parametrize("language", FAULTY)
def test_a_faulty_block_is_found(language: str) -> None:
    assert CHECKS[language](FAULTY[language])
