"""How many have read a message to a topic or to everyone.

Nobody knows who its readers are, so it is counted over the users that are known, those first who were seen last, up to
a limit; a batch at a time, so that the store serves others in between.
"""

from __future__ import annotations

from typing import NamedTuple

from ...core.settings import Settings
from ..insight.directory import Directory
from .log import ROUND_TRIP_COMMANDS, LogStore


class Read(NamedTuple):
    """How many have read it, of how many that were looked at."""

    read: int
    of: int


class Readers:
    """Counts."""

    def __init__(self, store: LogStore, directory: Directory, settings: Settings) -> None:
        self._store = store
        self._directory = directory
        self._most = settings.counted_users

    def count(self, log: str, message_id: str) -> Read:
        """Who has read the message in `log`; nobody, where it is not kept there."""
        ((page, offsets),) = self._store.find([log], [message_id])
        users = self._directory.newest(self._most)
        if not offsets:
            return Read(0, len(users))
        read = 0
        for at in range(0, len(users), ROUND_TRIP_COMMANDS):
            _, marks = self._store.survey((), [(user, (log,)) for user in users[at : at + ROUND_TRIP_COMMANDS]])
            read += sum(page._replace(marks=mark).own_marks.read.has(offsets[0]) for (mark,) in marks)
        return Read(read, len(users))
