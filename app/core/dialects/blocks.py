"""Reads the blocks of a run's stream, as Belfry writes them, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class BlockTranslator(Protocol):
    """Says the blocks of a run's stream in another language."""

    def translate(self, blocks: bytes) -> bytes:
        """The blocks to send instead of these. Each given block is whole."""


def events_of(blocks: bytes) -> Iterator[tuple[str, bytes]]:
    """The type and the data of each block."""
    for block in blocks.split(b"\n\n"):
        event, data = "message", b""
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                data = line[6:]
            elif line.startswith(b"event: "):
                event = line[7:].decode()
        if data:
            yield event, data
