"""The flight recorder: what happened to each user's connections. It answers why a user did not see a message.

It is a capped list beside the user's log. Workers write to it later, in batches, so no message waits for it. Publishing
a message writes nothing here: the first and last offset of a connection show which messages it received.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...core.settings import Settings
from ...core.wire.frames import compact_bytes
from ...transport.connection import Command, Commands, Script
from ..keys import Keys
from ..logs.log import ROUND_TRIP_COMMANDS
from .directory import FORGOTTEN_SECONDS

EVENTS_KEPT = 200  # events that are kept for each user
KEEP_SECONDS = 604_800

NOTE = Script("flight")
SCRIPTS = (NOTE,)

# An event as JSON: time (RFC 3339) and what. For a connection, what is connected, resumed, reset or closed, with
# connection, offset (in the user's own log), places (log name → epoch.offset) and lost or reason. For messages, what is
# read, unread, archived, unarchived, removed or retracted, with ids and their number (count), or all. For a push, what
# is pushed, with ids and the number of devices whose push service took it (devices).
Flight = dict[str, Any]

# Every user who was ever connected has at least two events, so the store keeps them under short names. It omits what a
# reader can derive: the offset, which is that of the first place, and the statement that nothing was lost.
_SHORT: Final = {"time": "t", "what": "w", "connection": "c", "places": "p", "reason": "r", "offset": "o", "lost": "l"}
_LONG: Final = {short: name for name, short in _SHORT.items()}
_BEGINNINGS: Final = ("connected", "resumed")


class FlightStore:
    """Reads and writes the flight recorders of all users."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def write(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Add events. Each item is a user and an event in the form that `written` returns."""
        batch: list[Command] = []
        for user, event in events:
            keys = self._keys.flights(user), self._keys.flights_forgotten(user)
            batch.append(NOTE.call(keys, EVENTS_KEPT, KEEP_SECONDS, event))
            if len(batch) >= ROUND_TRIP_COMMANDS:
                self._commands.run(batch)
                batch = []
        if batch:
            self._commands.run(batch)

    def of(self, user: str) -> list[Flight]:
        """Return a user's events, newest first."""
        (events,) = self._commands.run([("LRANGE", self._keys.flights(user), 0, EVENTS_KEPT - 1)])
        return [_read(event) for event in events]

    def forget(self, user: str) -> None:
        """Forget a user's events.

        For a moment, new ones are not added, because workers may still have to write some.
        """
        forgotten = ("SET", self._keys.flights_forgotten(user), "", "EX", FORGOTTEN_SECONDS)
        former = self._keys.former_flights(user)
        self._commands.run([forgotten, ("DEL", self._keys.flights(user), former)])


def written(event: Flight) -> bytes:
    """Return an event in its stored form.

    It takes a fifth of the memory of a dict, and thousands may wait to be written.
    """
    kept = {_SHORT.get(name, name): value for name, value in event.items()}
    if kept.get("o") == _first_offset(event.get("places")):
        kept.pop("o", None)
    if not kept.get("l", True):
        del kept["l"]
    return compact_bytes(kept)


def _read(event: bytes) -> Flight:
    """Return the event that `written` encoded."""
    kept = json.loads(event)
    found: Flight = {_LONG.get(name, name): value for name, value in kept.items()}
    if found.get("places"):
        found.setdefault("offset", _first_offset(found["places"]))
    if found.get("what") in _BEGINNINGS:
        found.setdefault("lost", False)
    return found


def _first_offset(places: Mapping[str, str] | None) -> int | None:
    first = next(iter((places or {}).values()), "")
    return int(first.partition(".")[2]) if "." in first else None


def record_of(fields: Any) -> Any:
    """Return the JSON of a stream entry. Its only field is `e`. redis-py makes a dict of the fields."""
    return fields[b"e"]
