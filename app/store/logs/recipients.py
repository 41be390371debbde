"""Where each message went, for as long as it can be retracted, and its retraction.

A message's logs are in many slots, so a separate key remembers them. Publishing writes that key in the same round trip,
before the message. So every kept message can be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...core.message import Message
from ...core.settings import Settings
from ...transport.connection import Command, Commands
from ..keys import Keys
from .log import LogStore


class Recipients:
    """Remembers the logs of messages."""

    def __init__(self, store: LogStore, commands: Commands, settings: Settings) -> None:
        self._store = store
        self._commands = commands
        self._seconds = settings.retract_seconds
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def remember(self, messages: Iterable[Message]) -> Iterator[Command]:
        """The commands that do, for messages that are kept.

        An id of the publisher's may be published to further logs later; one that was made here is new, so that one
        command says all of it.
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
        """The logs that a message went to; none where it is not known, or not any more."""
        first, further = self._commands.run(
            [("GET", self._keys.first_recipients(message_id)), ("SMEMBERS", self._keys.recipients(message_id))]
        )
        names = {*further, *(first.split(b"\n") if first else ())}
        return sorted([name.decode() for name in names])

    def retract(self, message_id: str, names: list[str]) -> list[str]:
        """Take a message out of the logs `names`; answers those that still had it.

        Those alone are forgotten: beside this the id may be published to further ones, or still be on its way to some.
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
