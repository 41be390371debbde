"""The pieces in which an answer is read."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

DONE: Final = "[DONE]"  # the data of the last block of a stream


class Piece(NamedTuple):
    """One JSON object of an answer: `text` is the object as it may be sent on, `event` the event's name, if any."""

    text: str
    value: dict[str, Any]
    event: str = ""

    @property
    def is_chunk(self) -> bool:
        """Whether it has choices, so that no name of an event makes noise of it."""
        return isinstance(self.value.get("choices"), list)


END: Final = Piece(DONE, {})
