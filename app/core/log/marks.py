"""The marks of a user in a log: the messages that are read, archived or removed.

A log's offsets are contiguous, so a set of offsets is a bit string. It has 125 bytes for a feed of a thousand messages,
whatever the number of marked messages. The unread count is one population count over two bit strings. It never drifts:
marking a message twice, or one that is gone, changes nothing.

Bit strings as the store has them: bit `n % 8` of byte `n // 8` is the offset `base + n`, with a base divisible by 8.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Mark(Enum):
    """The marks that a user can set on a message. The value is its place in the stored marks, see `mark.lua`."""

    READ = 1
    ARCHIVED = 2
    REMOVED = 3


class Offsets(NamedTuple):
    """A set of offsets. Bit n of `bits` is the offset `base + n`."""

    base: int
    bits: int

    @classmethod
    def load(cls, base: int, stored: bytes) -> Offsets:
        """Return the set for a bit string of the store."""
        return cls(base, int.from_bytes(stored, "little"))

    def has(self, offset: int) -> bool:
        """Return whether `offset` is in the set."""
        return offset >= self.base and bool(self.bits >> (offset - self.base) & 1)

    def union(self, other: Offsets) -> Offsets:
        """Return the set of offsets that are in either set."""
        base = min(self.base, other.base)
        return Offsets(base, self.bits << (self.base - base) | other.bits << (other.base - base))

    def count_between(self, first: int, last: int) -> int:
        """Return how many offsets from `first` to `last` are in the set."""
        bits = self.bits & ((1 << max(0, last - self.base + 1)) - 1)
        return (bits >> max(0, first - self.base)).bit_count()


NO_OFFSETS = Offsets(0, 0)


class Marks(NamedTuple):
    """One user's marks in one log. They are valid only for the history `history` of the log."""

    history: str
    read: Offsets
    archived: Offsets
    removed: Offsets

    @classmethod
    def load(cls, stored: bytes | None) -> Marks:
        """Read the marks that `mark.lua` stored: `<history> <base> <size> `, then three bit strings of `size` bytes."""
        if stored is None:
            return NO_MARKS
        history, base, size_text, bits = stored.split(b" ", 3)
        size = int(size_text)
        read, archived, removed = [Offsets.load(int(base), bits[at * size : (at + 1) * size]) for at in range(3)]
        return cls(history.decode(), read, archived, removed)

    def within(self, history: str) -> Marks:
        """Return the marks in `history`. Return no marks if they were made in another history."""
        return self if self.history == history else NO_MARKS

    @property
    def handled(self) -> Offsets:
        """The offsets that are no longer unread, for any reason."""
        return self.read.union(self.archived).union(self.removed)


NO_MARKS = Marks("", NO_OFFSETS, NO_OFFSETS, NO_OFFSETS)
