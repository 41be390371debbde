"""The flight recorder: what happened to each user's connections. It answers why a user did not see a message.

A capped list beside the user's log. Workers write to it in batches, later, so no message waits for it. Nothing is
written per message: a connection's first and last offset say which messages it was sent.
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

EVENTS_KEPT = 200  # per user
KEEP_SECONDS = 604_800

NOTE = Script("flight")
SCRIPTS = (NOTE,)

# An event as JSON: time (RFC 3339) and what. Of a connection: connected, resumed, reset or closed, with connection,
# offset (in the user's own log), places (log name → epoch.offset) and lost or reason. Of messages: read, unread,
# archived, unarchived, removed or retracted, with ids and how many there were (count), or all.
Flight = dict[str, Any]

# Every user who was ever connected has two events at least, so they are kept under short names. What a reader can tell
# by itself is left out: the offset, which is that of the first place, and that nothing was lost.
_SHORT: Final = {"time": "t", "what": "w", "connection": "c", "places": "p", "reason": "r", "offset": "o", "lost": "l"}
_LONG: Final = {short: name for name, short in _SHORT.items()}
_BEGINNINGS: Final = ("connected", "resumed")


class FlightStore:
    """The flight recorders of all users."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def write(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Add events, `written`, each of the user named beside it."""
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
        """A user's events, newest first."""
        (events,) = self._commands.run([("LRANGE", self._keys.flights(user), 0, EVENTS_KEPT - 1)])
        return [_read(event) for event in events]

    def forget(self, user: str) -> None:
        """Forget a user's events, also those that workers still have to write: for a moment none is taken in."""
        forgotten = ("SET", self._keys.flights_forgotten(user), "", "EX", FORGOTTEN_SECONDS)
        former = self._keys.former_flights(user)
        self._commands.run([forgotten, ("DEL", self._keys.flights(user), former)])


def written(event: Flight) -> bytes:
    """An event as it is kept: thousands that wait to be recorded take a fifth of the room of as many dicts."""
    kept = {_SHORT.get(name, name): value for name, value in event.items()}
    if kept.get("o") == _first_offset(event.get("places")):
        kept.pop("o", None)
    if not kept.get("l", True):
        del kept["l"]
    return compact_bytes(kept)


def _read(event: bytes) -> Flight:
    """What was `written`."""
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
    """The JSON of an entry, whose only field is `e`; redis-py makes a dict of the fields."""
    return fields[b"e"]
