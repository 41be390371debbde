"""The log: an append-only Redis Stream with contiguous offsets, an epoch, a bounded length and age, and a channel.

A user's feed, a topic and everyone's feed are logs; `keys` says what one consists of, `lua/` what an append and a read
do in one atomic step. This module sends the scripts and turns their replies into values. All calls take many logs and
send them in as few round trips as is sensible; all raise `BelfryError` `store_unavailable`.
"""

from __future__ import annotations

import random
import secrets
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from app.core.catch_up import Entry, Page
from app.core.cursor import EPOCH_LENGTH, Position, Vector
from app.core.marks import NO_MARKS, Marks, Offsets
from app.core.message import Message
from app.core.settings import Settings
from app.store.connection import Command, Reply, Script
from app.store.keys import Keys

ROUND_TRIP_COMMANDS = 200  # more in one write gains nothing and makes everybody else on the server wait
PAGE_ENTRIES = 100
PAGE_BYTES = 262_144
OWN_ID_SECONDS = 60  # an id that the server made up is only ever repeated by the connection's own retry

VERBS = ("append", "read", "read_back", "find", "retract", "mark")
APPEND, READ, READ_BACK, FIND, RETRACT, MARK = SCRIPTS = tuple([Script("bits", "open", verb) for verb in VERBS])

_EPOCH_ALPHABET = string.digits + string.ascii_letters
# One is made for every command and hardly ever used. Epochs must differ, not be secret, so the system's randomness
# seeds them once per worker instead of making each.
_epochs = random.Random(secrets.token_bytes(32))  # noqa: S311 - see above


_EPOCHS_AT_ONCE = 512
_stock: list[str] = []


class Commands(Protocol):
    """What runs commands: a `Connection`, or something that shares one between many callers."""

    def run(self, commands: Sequence[Command]) -> list[Reply]: ...


class Status(Enum):
    """What an append did."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    REUSED = "reused"


_STATUS = {status.value.encode(): status for status in Status}


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome of one append. `offset` is 0 for a message that is not kept; `online`: somebody is connected."""

    status: Status
    position: Position
    online: bool


class Tail(NamedTuple):
    """What tells whether a log has changed: an append moves `position`, all else `revision`, trimming `oldest`."""

    position: Position
    revision: int
    oldest: int
    expires_ms: int


class LogStore:
    """All logs of one deployment. What reads for a `user` answers pages with that user's marks."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._settings = settings
        self.keys = Keys(settings.redis_prefix)

    def append(self, appends: Sequence[tuple[str, Message]], before: Sequence[Command] = ()) -> list[Appended]:
        """Append each message to the log named beside it. On failure some may have been appended: repeat them all.

        The commands `before` share the round trips.
        """
        replies = self._run([*before, *[self._append_command(name, message) for name, message in appends]])
        return [
            Appended(_STATUS[status], Position(epoch.decode(), offset), receivers > 0)
            for status, epoch, offset, receivers in replies[len(before) :]
        ]

    def read(self, requests: Sequence[tuple[str, Vector]], user: str = "") -> list[Page]:
        """A page of each named log, oldest first, after the vector's position; a log without an epoch gets one."""
        limits = (PAGE_ENTRIES, PAGE_BYTES)
        names = [name for name, _ in requests]
        return self._pages(names, [self._call(READ, name, *limits, *_texts(at)) for name, at in requests], user)

    def read_back(self, requests: Sequence[tuple[str, Vector]], count: int, user: str = "") -> list[Page]:
        """A page of each named log, newest first, before the vector's position in it, from the newest without one.

        It ends with the entry that brings it to `count` entries, or to `PAGE_BYTES`.
        """
        limits = (count, PAGE_BYTES)
        names = [name for name, _ in requests]
        return self._pages(names, [self._call(READ_BACK, name, *limits, *_texts(at)) for name, at in requests], user)

    def find(self, names: Sequence[str], message_ids: Sequence[str]) -> list[tuple[Page, list[int]]]:
        """Of each named log a page without entries, and the offsets of those messages that are kept there."""
        replies = self._run([self._call(FIND, name, *message_ids) for name in names])
        return [(_page([*reply[:-1], ()]), [int(offset) for offset in reply[-1] if offset]) for reply in replies]

    def survey(
        self, names: Sequence[str], readers: Sequence[tuple[str, Sequence[str]]]
    ) -> tuple[list[Page], list[list[Marks]]]:
        """What the unread counts of many readers follow from, read together.

        A page without entries of each named log, and for each reader, a user with names of logs, the marks in those.
        """
        commands = [self._call(FIND, name) for name in names]
        commands += [self._marks_command(user, logs) for user, logs in readers]
        replies = self._run(commands)
        pages = [_page(reply) for reply in replies[: len(names)]]
        return pages, [[Marks.load(stored) for stored in marks] for marks in replies[len(names) :]]

    def tails(self, names: Sequence[str]) -> list[Tail | None]:
        """What has become of each named log, None where it is gone."""
        fields = ("epoch", "top", "revision", "oldest", "expires")
        return [_tail(reply) for reply in self._run([("HMGET", self.keys.meta(name), *fields) for name in names])]

    def retract(self, names: Sequence[str], message_id: str) -> list[str]:
        """Take a message out of the named logs; answers those that had it."""
        replies = self._run([self._call(RETRACT, name, message_id) for name in names])
        return [name for name, found in zip(names, replies, strict=True) if found]

    def hold(self, names: Sequence[str]) -> None:
        """Let the named logs live on as if they had just been used."""
        keys = [(key, self._kept_seconds(name)) for name in names for key in self.keys.of_log(name)[:-1]]
        self._run([("EXPIRE", key, seconds) for key, seconds in keys])

    def forget(self, names: Sequence[str]) -> None:
        """Remove the named logs. Their next epoch is another one, so that readers with a cursor hear of the loss."""
        self._run([("DEL", *self.keys.of_log(name)[:-1]) for name in names])

    def _run(self, commands: Sequence[Command]) -> list[Reply]:
        return [reply for batch in _batches(commands) for reply in self._commands.run(batch)]

    def _append_command(self, name: str, message: Message) -> Command:
        keys, settings = self.keys, self._settings
        return APPEND.call(
            (*self.keys.of_log(name), keys.message_id(name, message.id)),
            new_epoch(),
            self._kept_seconds(name),
            settings.history_length,
            message.record,
            message.digest,
            OWN_ID_SECONDS if message.own_id else settings.dedup_seconds,
            message.expires_ms,
            message.key,
            "1" if message.transient else "0",
            message.id,
        )

    def _call(self, script: Script, name: str, *arguments: Any) -> Command:
        return script.call(self.keys.of_log(name), new_epoch(), self._kept_seconds(name), *arguments)

    def _kept_seconds(self, name: str) -> int:
        """A run's log must not outlive the state of its run, which says how it ended."""
        return self._settings.run_seconds if name.startswith("run:") else self._settings.history_seconds

    def _pages(self, names: Sequence[str], calls: list[Command], user: str) -> list[Page]:
        if not user:
            return [_page(reply) for reply in self._run(calls)]
        # Last, so that what was marked before this read is never missing in it.
        *replies, marks = self._run([*calls, self._marks_command(user, names)])
        return [_page(reply, Marks.load(stored)) for reply, stored in zip(replies, marks, strict=True)]

    def _marks_command(self, user: str, names: Sequence[str]) -> Command:
        return ("HMGET", self.keys.marks(user), *names)


def new_epoch() -> str:
    """A name for a log's history, used if the log has none: 62⁶ of them."""
    if not _stock:
        letters = "".join(_epochs.choices(_EPOCH_ALPHABET, k=EPOCH_LENGTH * _EPOCHS_AT_ONCE))
        _stock.extend([letters[at : at + EPOCH_LENGTH] for at in range(0, len(letters), EPOCH_LENGTH)])
    return _stock.pop()


def _batches(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    for start in range(0, len(commands), ROUND_TRIP_COMMANDS):
        yield commands[start : start + ROUND_TRIP_COMMANDS]


def _texts(vector: Vector) -> list[str]:
    return [f"{epoch}.{offset}" for epoch, offset in vector]


def _tail(reply: Reply) -> Tail | None:
    epoch, *numbers = reply
    if not epoch:
        return None
    top, revision, oldest, expires_ms = [int(number or 0) for number in numbers]
    return Tail(Position(epoch.decode(), top), revision, oldest, expires_ms)


def _page(reply: Any, marks: Marks = NO_MARKS) -> Page:
    epoch, top, oldest, kept, revision, gone_base, gone, start, entries = reply
    return Page(
        epoch=epoch.decode(),
        top=top,
        oldest=oldest,
        kept=kept,
        after=None if start < 0 else start,
        entries=tuple([_entry(entry_id, fields) for entry_id, fields in entries]),
        revision=revision,
        gone=Offsets.load(gone_base, gone),
        marks=marks,
    )


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """`fields` are r, record, t, seconds and, where the message expires, x, milliseconds."""
    offset = int(entry_id.partition(b"-")[0])
    return Entry(offset, fields[1], int(fields[5]) if len(fields) > 5 else 0)
