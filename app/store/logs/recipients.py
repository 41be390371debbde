"""The recipients of each message, for as long as it can be retracted, and its retraction.

A message's logs are in many slots, so a separate key stores their names. Publishing writes that key in the same round
trip, before the message. So every kept message can be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...core.message import Message
from ...core.settings import Settings
from ...transport.connection import Command, Commands
from ..keys import Keys
from .log import LogStore


class Recipients:
    """Remembers which logs each message went to, and retracts messages from them."""

    def __init__(self, store: LogStore, commands: Commands, settings: Settings) -> None:
        self._store = store
        self._commands = commands
        self._seconds = settings.retract_seconds
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def remember(self, messages: Iterable[Message]) -> Iterator[Command]:
        """Yield the commands that remember the logs of messages. Messages that are not kept are left out.

        A publisher may use its own id again later, with further logs. An id that Belfry made is new, so one command
        with all logs is enough.
        """
        for message in messages:
            if message.transient:
                continue
            if message.own_id:
                yield ("SET", self._keys.first_recipients(message.id), "\n".join(message.logs), "EX", self._seconds)
            else:
                key = self._keys.recipients(message.id)
                yield ("SADD", key, *message.logs)
                yield ("EXPIRE", key, self._seconds)

    def of(self, message_id: str) -> list[str]:
        """Return the logs that received a message. The list is empty if the message is unknown or too old."""
        first, further = self._commands.run(
            [("GET", self._keys.first_recipients(message_id)), ("SMEMBERS", self._keys.recipients(message_id))]
        )
        names = {*further, *(first.split(b"\n") if first else ())}
        return sorted([name.decode() for name in names])

    def retract(self, message_id: str, names: list[str]) -> list[str]:
        """Take a message out of the logs `names`. Return the names of the logs that still had it.

        Only those names are forgotten. At the same time, somebody may publish the id to further logs, or it may still
        be on its way to some.
        """
        found = self._store.retract(names, message_id)
        if found:
            self._commands.run(
                [
                    ("DEL", self._keys.first_recipients(message_id)),
                    ("SREM", self._keys.recipients(message_id), *found),
                ]
            )
        return found
