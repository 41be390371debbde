"""The words of a command line: lists come in as one word, and what others wrote goes out as plain text."""

from __future__ import annotations


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def plain(text: str) -> str:
    """`text` on one line and without what a terminal would obey: a message's writer is not its reader."""
    return "".join(char if char.isprintable() else " " for char in text)
