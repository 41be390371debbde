"""Reads lists from the command line, and prints other people's text without control characters."""

from __future__ import annotations

import json


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def harmless_json(text: str) -> str:
    """The same JSON without what a terminal would obey.

    Such a character stands in a string, where it may be escaped, or between two tokens, where a space will do.
    """
    return "".join([char if char.isprintable() else _escaped(char) for char in text])


def _escaped(char: str) -> str:
    if char < " ":
        return " "
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]  # which leaves this one as it is


def plain(text: str) -> str:
    """`text` on one line and without what a terminal would obey: a message's writer is not its reader."""
    return "".join(char if char.isprintable() else " " for char in text)
