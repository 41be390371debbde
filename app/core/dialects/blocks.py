"""Reads the blocks of a run's stream one by one, as Belfry writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class BlockTranslator(Protocol):
    """Translates the blocks of a run's stream into another format."""

    def translate(self, blocks: bytes) -> bytes:
        """Return the blocks to send instead of `blocks`, which are complete."""


def events_of(blocks: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the type and the data of each block."""
    for block in blocks.split(b"\n\n"):
        event, data = "message", b""
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                data = line[6:]
            elif line.startswith(b"event: "):
                event = line[7:].decode()
        if data:
            yield event, data
