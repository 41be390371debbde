"""One open SSE connection of a check. It reads only when the check asks for more."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import requests
import urllib3

from .blocks import Block, Splitter
from .verdict import FailedError, expect, expect_equal, expect_sequence

CHUNK_BYTES: Final = 65_536
MOST: Final = 10  # times its patience that a stream gets while messages come
OWN_EVENTS: Final = frozenset(
    {"ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye", "stopped", "failed"}
)


class Stream:
    """The blocks that came, and those that a check waits for. `prefix` begins the ids of the check's messages."""

    def __init__(self, answer: requests.Response, prefix: str, patience: float) -> None:
        self.headers = answer.headers
        self.blocks: list[Block] = []
        self._answer = answer
        self._prefix = prefix
        self._patience = patience
        self._splitter = Splitter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._answer.close()

    @property
    def cursor(self) -> str:
        return self._splitter.cursor

    @property
    def messages(self) -> list[Block]:
        """Those of this check. Other publishers may write to the same user."""
        return [block for block in self.blocks if _message_id(block).startswith(self._prefix)]

    @property
    def numbers(self) -> list[int]:
        """The `data` of this check's messages."""
        return [json.loads(block.data)["data"] for block in self.messages]

    def count(self, event: str) -> int:
        """How many events of this type came."""
        return sum(block.type == event for block in self.blocks)

    def ready(self) -> dict[str, Any]:
        """The data of the first event."""
        found: dict[str, Any] = json.loads(self.wait_for("ready").data)
        return found

    def wait_for(self, event: str, seconds: float | None = None) -> Block:
        """The first event of this type. Raises `FailedError` when none comes in time."""
        return self.wait_until(lambda block: block.type == event, f"an event {event!r}", seconds)

    def wait_for_number(self, number: int) -> Block:
        """The check's message with this `data`, which is the last one of interest: all before it have come by then."""
        return self.wait_until(lambda block: self.is_number(block, number), f"message {number}")

    def is_number(self, block: Block, number: int) -> bool:
        """Whether a block is the check's message with this `data`."""
        return _message_id(block).startswith(self._prefix) and json.loads(block.data).get("data") == number

    def expect_numbers(self, numbers: Sequence[int]) -> None:
        """Wait for the last of `numbers`. Raises `FailedError` unless all came, once, in order and without a reset."""
        self.wait_for_number(numbers[-1])
        self.expect_no_reset()
        expect_sequence(numbers, self.numbers)

    def expect_no_reset(self) -> None:
        """Raises `FailedError` if the client was told that history is lost."""
        if any(block.type == "reset" for block in self.blocks):
            raise FailedError("the messages without a reset, for nothing was lost", "a reset")

    def expect_goodbye(self, reason: str, seconds: float | None = None) -> None:
        """Raises `FailedError` unless the server ends the stream in time, for this reason, and names a delay."""
        block = self.wait_for("goodbye", seconds)
        expect_equal(reason, json.loads(block.data).get("reason"), "the reason")
        expect(block.event and block.event.retry, "a retry in ms with the goodbye", block.lines)
        self.read_to_end()

    def wait_until(self, fits: Callable[[Block], bool], what: str, seconds: float | None = None) -> Block:
        """The first block that fits. Raises `FailedError` when none comes in time."""
        patience = self._patience if seconds is None else seconds
        started = last = time.monotonic()
        looked_at = 0
        while True:
            for block in self.blocks[looked_at:]:
                if fits(block):
                    return block
                # A slow deployment may take its time for each of many messages, but not for ever.
                last = time.monotonic() if _message_id(block).startswith(self._prefix) else last
            looked_at = len(self.blocks)
            if time.monotonic() > min(last + patience, started + MOST * patience) or not self._read():
                raise FailedError(f"{what} within {patience:g} s", f"{looked_at} blocks: {self._last_types()}")

    def read_to_end(self, seconds: float | None = None) -> list[Block]:
        """Every block until the server ends the connection. Raises `FailedError` when it doesn't."""
        deadline = time.monotonic() + (self._patience if seconds is None else seconds)
        while chunk := self._chunk("the end of the stream"):
            self.blocks += self._splitter.feed(chunk)
            if time.monotonic() > deadline:
                raise FailedError("the end of the stream", f"{len(self.blocks)} blocks: {self._last_types()}")
        return self.blocks

    def _read(self) -> bool:
        """Read once; False at the end or after a silence as long as the check's patience."""
        try:
            chunk = self._chunk("more")
        except FailedError:
            return False
        self.blocks += self._splitter.feed(chunk)
        return bool(chunk)

    def _chunk(self, what: str) -> bytes:
        try:
            # read1() answers with what is there; requests' own iterators wait until a chunk is full.
            chunk: bytes = self._answer.raw.read1(CHUNK_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise FailedError(what, type(error).__name__) from None
        return chunk

    def _last_types(self) -> str:
        return ", ".join([block.type or "a comment" for block in self.blocks[-4:]]) or "nothing"


def _message_id(block: Block) -> str:
    if not block.event or block.type in OWN_EVENTS:
        return ""
    try:
        message = json.loads(block.data)
    except ValueError:
        return ""
    return str(message.get("id", "")) if isinstance(message, dict) else ""
