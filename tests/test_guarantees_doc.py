"""Every line of docs/guarantees.md names tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/.]+)::(?:[A-Z]\w+::)?(\w+)(?:\[[^`]*\])?`")
SHOWN = "Shown by |"


def functions_of(path: Path) -> set[str]:
    """The names of a file's test functions, in classes or not."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def rows() -> list[str]:
    """The rows of the tables that say what shows them."""
    found: list[str] = []
    shown = False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            shown = False
        elif line.endswith(SHOWN):
            shown = True
        elif shown and not line.startswith("|-"):
            found.append(line)
    return found


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))), ids="::".join)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions_of(REPOSITORY / file)


def test_every_promise_names_a_test() -> None:
    assert len(rows()) > 25
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_nothing_that_looks_like_a_test_goes_unread() -> None:
    assert PAGE.count("tests/") == len(NAMED.findall(PAGE))
