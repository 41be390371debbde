"""docs/architecture.md is true: what it names exists, and each step of a path calls the next one."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.test_guarantees_doc import NAMED, functions_of

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PAGE: Final = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACE: Final = re.compile(r"`(app/[\w/]+\.(?:py|lua))(?::([\w.]+))?`")
STEP: Final = re.compile(r"^( *)(?:\d+\.|-) " + PLACE.pattern + r"(.*)$")
ARROW: Final = re.compile(r"→ `(\w+)`")
SOURCES: Final = [
    path
    for path in sorted((REPOSITORY / "app").rglob("*"))
    if path.suffix in {".py", ".lua", ".js"} and "vendor" not in path.parts
]


class Step(NamedTuple):
    """One line of a path. `calls` is the word of its arrow, '' without one."""

    file: str
    function: str
    nested: bool
    calls: str

    @property
    def name(self) -> str:
        """The word by which a caller names it."""
        owner, _, last = self.function.rpartition(".")
        return owner if last == "__init__" else last or Path(self.file).stem


@cache
def source_of(file: str, function: str) -> str:
    """The code of a function, or of a whole file where `function` is empty."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    if not function:
        return text
    if file.endswith(".lua"):
        found = re.search(rf"^local function {function}\(.*?^end$", text, re.DOTALL | re.MULTILINE)
        assert found is not None, f"{file} has no function {function}"
        return found[0]
    at: Any = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for part in function.split("."):
        at = inspect.getattr_static(at, part)
    function_of_property: Any = at.fget if isinstance(at, property) else at
    return inspect.getsource(function_of_property)


def paths() -> Iterator[tuple[str, list[Step]]]:
    """Each list of steps, with its heading."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title.startswith("Path"):
            for number, block in enumerate(re.split(r"\n\n(?=1\. )", f"\n{body}")[1:]):
                matches = [STEP.match(line) for line in block.splitlines()]
                steps = [_step(match) for match in matches if match]
                yield f"{title} ({number + 1})", steps


def _step(match: re.Match[str]) -> Step:
    arrow = ARROW.search(match[4])
    return Step(match[2], match[3] or "", bool(match[1]), arrow[1] if arrow else "")


@cache
def words(file: str, function: str) -> frozenset[str]:
    """The words of a function's code, without comments and docstrings."""
    source = source_of(file, function)
    if file.endswith(".lua"):
        return frozenset(re.findall(r"\w+", re.sub(r"--.*", "", source)))
    found: set[str] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(source))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            found.add(str(node.value))
    return frozenset(found)


def fault(steps: list[Step]) -> str:
    """The first step that does not call the one after it; '' where all do."""
    outer = [step for step in steps if not step.nested]
    for step, following in itertools.pairwise(outer):
        word = step.calls or following.name
        if word not in words(step.file, step.function):
            return f"{step.function or step.file} does not name {word}"
    above: list[Step] = []
    for step in steps:
        if not step.nested:
            above = [step]
        elif any(step.name in words(caller.file, caller.function) for caller in above):
            above.append(step)
        else:
            return f"none of {[caller.function for caller in above]} names {step.name}"
    return ""


@pytest.mark.parametrize(("file", "function"), sorted(set(PLACE.findall(PAGE))), ids="-".join)
def test_what_the_page_names_exists(file: str, function: str) -> None:
    assert source_of(file, function)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))), ids="::".join)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name in functions_of(REPOSITORY / file)


@pytest.mark.parametrize(("title", "steps"), list(paths()), ids=[title for title, _ in paths()])
def test_each_step_of_a_path_calls_the_next(title: str, steps: list[Step]) -> None:
    assert len([step for step in steps if not step.nested]) >= 4, title
    assert fault(steps) == ""


def test_the_page_has_every_path() -> None:
    titles = " ".join(title for title, _ in paths())
    assert [word for word in ("message", "cursor", "chunk", "read mark", "slow reader") if word not in titles] == []


def test_a_message_crosses_twelve_files_at_most() -> None:
    steps = next(steps for title, steps in paths() if "message" in title)
    assert len({step.file for step in steps if not step.nested}) <= 12


def test_every_line_of_a_path_is_a_step() -> None:
    text = PAGE.partition("## Questions")[0]
    numbered = re.findall(r"^ *(?:\d+\.|-) `app/[^\n]*", text, re.MULTILINE)
    assert len(numbered) == sum(len(steps) for _, steps in paths())


def test_a_step_that_does_not_call_the_next_is_found() -> None:
    first = Step("app/core/log/cursor.py", "parse", nested=False, calls="")
    other = Step("app/core/log/cursor.py", "encode", nested=False, calls="")
    assert fault([first, other]) == "parse does not name encode"
    assert fault([first._replace(calls="BelfryError"), other]) == ""
    assert fault([first, other._replace(nested=True)]) == "none of ['parse'] names encode"


def vocabulary() -> dict[str, list[str]]:
    """Each word of the vocabulary with the names in which it is seen."""
    rows = re.findall(r"^\| ([\w -]+) \| [^|\n]+ \| ([^|\n]+) \|$", PAGE.partition("## Vocabulary")[2], re.MULTILINE)
    return {word: re.findall(r"`([^`]+)`", seen) for word, seen in rows if word != "Word"}


@pytest.mark.parametrize(("word", "seen"), vocabulary().items(), ids=list(vocabulary()))
def test_a_word_of_the_vocabulary_is_seen_where_the_page_says(word: str, seen: list[str]) -> None:
    code = everything()
    parts = [part for name in seen for part in name.split() if part not in {"GET", "POST"}]
    assert parts, word
    assert [part for part in parts if part not in code] == []


@cache
def everything() -> str:
    """All of the code."""
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def test_the_vocabulary_has_every_word_once() -> None:
    words = re.findall(r"^\| ([\w -]+) \|", PAGE.partition("## Vocabulary")[2], re.MULTILINE)
    assert len(words) == len(set(words))
    assert len(words) > 40
