"""The pieces in which an answer is read."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

DONE: Final = "[DONE]"  # the data of the last block of a stream


class Piece(NamedTuple):
    """One JSON object of an answer. `text` is the object in the form for passing on.

    `event` is the event's name, if any. `is_body` is whether it is the whole body, so that no other piece follows.
    """

    text: str
    value: dict[str, Any]
    event: str = ""
    is_body: bool = False

    @property
    def is_chunk(self) -> bool:
        """Whether it has choices. If so, it counts as a chunk under any event name."""
        return isinstance(self.value.get("choices"), list)


END: Final = Piece(DONE, {})
