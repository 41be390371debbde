"""The flight recorder: what happened to each user's connections, to answer why a message was not seen.

A capped stream beside the user's log. Workers write in batches, after the fact; nothing on the way of a message waits
for it, and nothing is written per message: a connection's first and last offset say which messages it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from app.core.settings import Settings
from app.core.wire.frames import compact_bytes
from app.store.insight.directory import FORGOTTEN_SECONDS
from app.store.keys import Keys
from app.store.logs.log import ROUND_TRIP_COMMANDS
from app.transport.connection import Command, Commands, Script

EVENTS_KEPT = 200  # per user, or a few more
KEEP_SECONDS = 604_800

NOTE = Script("flight")
SCRIPTS = (NOTE,)

# An event as JSON: time (RFC 3339) and what. Of a connection: connected, resumed, reset or closed, with connection,
# offset (in the user's own log), places (log name → epoch.offset) and lost or reason. Of messages: read, unread,
# archived, unarchived, removed or retracted, with ids and how many there were (count), or all.
Flight = dict[str, Any]


class FlightStore:
    """The flight recorders of all users."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix)

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
        (entries,) = self._commands.run([("XREVRANGE", self._keys.flights(user), "+", "-", "COUNT", EVENTS_KEPT)])
        return [json.loads(record_of(fields)) for _, fields in entries]

    def forget(self, user: str) -> None:
        """Forget a user's events, also those that workers still have to write: for a moment none is taken in."""
        forgotten = ("SET", self._keys.flights_forgotten(user), "", "EX", FORGOTTEN_SECONDS)
        self._commands.run([forgotten, ("DEL", self._keys.flights(user))])


def written(event: Flight) -> bytes:
    """An event as it is kept: thousands that wait to be recorded take a fifth of the room of as many dicts."""
    return compact_bytes(event)


def record_of(fields: Any) -> Any:
    """The JSON of an entry, whose only field is `e`; redis-py makes a dict of the fields."""
    return fields[b"e"]
