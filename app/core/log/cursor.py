"""A cursor: the position in every log that a connection reads, as the text of an SSE `id:`.

An offset alone does not show where a reader is. A reader may have read 1, 2, 3 of a log that was then lost. If the new
log also counts 1, 2, 3, the reader would seem to be up to date. So each offset has its log's epoch (centrifuge,
`StreamPosition`), and positions are compared only within one epoch.

Grammar: `epoch.offset` pairs joined by `-`, for example `k3f9q2.42-b71x0a.7`. A cursor has at most 8 pairs and 128
bytes of `[0-9A-Za-z._-]`, so that it is allowed in a CORS-safelisted request header (Fetch, 2.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import BelfryError

MAX_BYTES = 128
MAX_LOGS = 8
EPOCH_LENGTH = (
    6  # 8 × (6 + "." + 8 digits + "-") - 1 = 127 bytes: eight logs of up to a hundred million messages each fit
)

_PAIR = re.compile(r"([0-9A-Za-z]{1,16})\.(0|[1-9][0-9]{0,14})", re.ASCII)


class Position(NamedTuple):
    """A place in one log: after `offset` (0 is before the first entry) of the epoch `epoch`."""

    epoch: str
    offset: int


# One position per log of a connection, in the connection's order of logs. It is immutable. So connections at the same
# place share it, and a frame is encoded once for all of them.
Vector = tuple[Position, ...]


def encode(vector: Iterable[Position]) -> str:
    """Return the text of a cursor."""
    return "-".join([f"{epoch}.{offset}" for epoch, offset in vector])


def parse(text: str) -> Vector:
    """Read a cursor that a client sent.

    Raises `BelfryError` `bad_cursor` for anything that `encode` can't have written.
    """
    if len(text) > MAX_BYTES:
        raise BelfryError("bad_cursor", f"A cursor has at most {MAX_BYTES} bytes, got {len(text)}.")
    matches = [_PAIR.fullmatch(pair) for pair in text.split("-")]
    found = [Position(match[1], int(match[2])) for match in matches if match]
    if len(found) != len(matches) or len({position.epoch for position in found}) != len(found):
        raise BelfryError("bad_cursor", "A cursor is epoch.offset pairs joined by '-', each epoch once.")
    if len(found) > MAX_LOGS:
        raise BelfryError("bad_cursor", f"A cursor has at most {MAX_LOGS} positions, got {len(found)}.")
    return tuple(found)


def replace(vector: Vector, position: Position, at: int) -> Vector:
    """Return the vector with the position of log number `at` replaced."""
    return (*vector[:at], position, *vector[at + 1 :])
