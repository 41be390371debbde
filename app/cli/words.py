"""Words of the command line: lists, the option `--json`, and other people's text without control characters."""

from __future__ import annotations

import json
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show_json(value: Any) -> None:
    """Print a value as JSON on one line, without characters that control a terminal."""
    click.echo(harmless_json(json.dumps(value, ensure_ascii=False)))


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def harmless_json(text: str) -> str:
    """Return the same JSON without characters that control a terminal.

    Such a character is either in a string, where it can be escaped, or between two tokens, where a space can replace
    it.
    """
    return "".join([char if char.isprintable() else _escaped(char) for char in text])


def _escaped(char: str) -> str:
    if char < " ":
        return " "
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]  # json.dumps does not escape DEL


def counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def plain(text: str) -> str:
    """Return `text` on one line, without characters that control a terminal, because strangers may have written it."""
    return "".join(char if char.isprintable() else " " for char in text)
