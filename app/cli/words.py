"""Splits lists of the command line, and removes control characters from other people's text."""

from __future__ import annotations

import json


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


def plain(text: str) -> str:
    """Return `text` on one line, without characters that control a terminal, because strangers may have written it."""
    return "".join(char if char.isprintable() else " " for char in text)
