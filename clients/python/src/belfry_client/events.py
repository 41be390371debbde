"""The events of a stream, read from bytes (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

FINAL: Final = frozenset({"replaced", "revoked"})  # reasons of a goodbye after which a client stays away

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is the cursor after it, empty for an event without a place; `data` is its JSON.

    After `reset`, history was lost: fetch the feed again.
    """

    type: str
    data: Any
    id: str = ""
    retry_ms: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the server asks the client to stay away."""
        return self.type == "goodbye" and self.data.get("reason") in FINAL


class Decoder:
    """Turns the bytes of one connection into events, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, received: bytes) -> Iterator[Event]:
        lines = _LINE_END.split(self._rest + received)
        self._rest = lines.pop()
        if received.endswith(b"\r"):  # the other half of this line's end may follow
            self._rest = lines.pop() + b"\r"
        for line in lines:
            if line:
                name, _, value = line.decode(errors="replace").partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            elif self._fields:
                yield from self._event()

    def _event(self) -> Iterator[Event]:
        fields, self._fields = self._fields, {}
        if "data" in fields:
            retry = fields.get("retry", [""])[-1]
            yield Event(
                fields.get("event", ["message"])[-1],
                json.loads("\n".join(fields["data"])),
                fields.get("id", [""])[-1],
                int(retry) if retry.isdecimal() else None,
            )
