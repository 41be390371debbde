"""The delivery of a message: its state at each recipient, and how many readers of a topic have read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...core.log.catch_up import Page
from ...core.log.cursor import Position
from ...core.log.marks import Marks
from ...core.settings import Settings
from ..insight.directory import Directory
from ..keys import user_log
from .log import ROUND_TRIP_COMMANDS, LogStore

USER = "user:"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient's log, and the state of the message in it. `offset` is None if the log no longer keeps it.

    For a message to a topic or to everyone, the flags are False. `Readers` counts who has read such a message.
    """

    log: str
    offset: int | None
    read: bool
    archived: bool
    removed: bool


class Read(NamedTuple):
    """How many of the counted users have read the message."""

    read: int
    of: int


class Unhandled(NamedTuple):
    """A message that may still have to be shown to a user. `record` is None if the user handled it or it is gone.

    `appended`: whether it is in the user's log, or was. `digest` identifies the content that was appended under its id,
    see `Message`. It is empty if the log no longer remembers the id.
    """

    appended: bool
    digest: str = ""
    record: bytes | None = None


class Readers:
    """Counts the users who have read a message to a topic or to everyone.

    Nobody knows all readers of such a message. So this counts only known users, up to `counted_users`, and prefers
    those who were seen last. It reads one batch of users at a time, so that the store can serve other requests in
    between.
    """

    def __init__(self, store: LogStore, directory: Directory, settings: Settings) -> None:
        self._store = store
        self._directory = directory
        self._most = settings.counted_users

    def count(self, log: str, message_id: str) -> Read:
        """Return how many users have read the message in `log`.

        Return 0 readers if the log does not keep the message.
        """
        ((page, offsets),) = self._store.find([log], [message_id])
        users = self._directory.newest(self._most)
        if not offsets:
            return Read(0, len(users))
        read = 0
        for at in range(0, len(users), ROUND_TRIP_COMMANDS):
            _, marks = self._store.survey((), [(user, (log,)) for user in users[at : at + ROUND_TRIP_COMMANDS]])
            read += sum(page._replace(marks=mark).own_marks.read.has(offsets[0]) for (mark,) in marks)
        return Read(read, len(users))


def deliveries(store: LogStore, message_id: str, names: Sequence[str]) -> list[Delivery]:
    """Return the state of the message in each of the logs `names`."""
    users = [(name.removeprefix(USER), (name,)) for name in names if name.startswith(USER)]
    _, marks = store.survey((), users)
    marks_of = {name: mark for (_, (name,)), (mark,) in zip(users, marks, strict=True)}
    found = zip(names, store.find(names, [message_id]), strict=True)
    return [_delivery(name, page, offsets, marks_of.get(name)) for name, (page, offsets) in found]


def content_of(store: LogStore, message_id: str, names: Sequence[str]) -> bytes | None:
    """Return the message's record from the first of the logs `names` that keeps it, or None if none of them does."""
    for name, (page, offsets) in zip(names, store.find(names, [message_id]), strict=True):
        if offsets:
            (found,) = store.read_back([(name, (Position(page.epoch, offsets[0] + 1),))], 1)
            if found.entries and found.entries[0].offset == offsets[0]:
                return found.entries[0].record
    return None


def unhandled(store: LogStore, user: str, message_id: str, now: float) -> Unhandled:
    """Return a message of the user's own log, unless the user handled it: read it, archived it or removed it.

    A message that was retracted, replaced or has expired is gone.
    """
    log = user_log(user)
    page, offset, digest = store.find_one(log, message_id)
    if offset is None:
        return Unhandled(appended=bool(digest), digest=digest)
    (found,) = store.read_back([(log, (Position(page.epoch, offset + 1),))], 1, user)
    entry = next((entry for entry in found.entries if entry.offset == offset), None)
    is_over = entry is None or 0 < entry.expires_ms <= now * 1_000 or found.own_marks.handled.has(offset)
    return Unhandled(appended=True, digest=digest, record=None if entry is None or is_over else entry.record)


def _delivery(name: str, page: Page, offsets: list[int], marks: Marks | None) -> Delivery:
    if not offsets or marks is None:
        return Delivery(name, offsets[0] if offsets else None, read=False, archived=False, removed=False)
    (offset,), marks = offsets, page._replace(marks=marks).own_marks
    return Delivery(name, offset, marks.read.has(offset), marks.archived.has(offset), marks.removed.has(offset))
