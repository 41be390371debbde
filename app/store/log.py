"""The log: an append-only Redis Stream with contiguous offsets, an epoch, a bounded length and age, and a channel.

A user's feed, a topic and everyone's feed are logs; `keys` says what one consists of, `lua/` what an append and a read
do in one atomic step. This module sends the scripts and turns their replies into values. All calls take many logs and
send them in as few round trips as is sensible; all raise `BelfryError` `store_unavailable`.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from app.core.catch_up import Entry, Page
from app.core.cursor import EPOCH_LENGTH, Position, Vector
from app.core.message import Message
from app.core.settings import Settings
from app.store.connection import Command, Reply, Script
from app.store.keys import Keys

ROUND_TRIP_COMMANDS = 200  # more in one write gains nothing and makes everybody else on the server wait
PAGE_ENTRIES = 100
PAGE_BYTES = 262_144
OWN_ID_SECONDS = 60  # an id that the server made up is only ever repeated by the connection's own retry

APPEND, READ, READ_BACK = SCRIPTS = tuple([Script("open", verb) for verb in ("append", "read", "read_back")])

_EPOCH_ALPHABET = string.digits + string.ascii_letters


class Commands(Protocol):
    """What runs commands: a `Connection`, or something that shares one between many callers."""

    def run(self, commands: Sequence[Command]) -> list[Reply]: ...


class Status(Enum):
    """What an append did."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    REUSED = "reused"


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome of one append. `offset` is 0 for a message that is not kept; `online`: somebody is connected."""

    status: Status
    position: Position
    online: bool


class LogStore:
    """All logs of one deployment."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._settings = settings
        self.keys = Keys(settings.redis_prefix)

    def append(self, appends: Sequence[tuple[str, Message]]) -> list[Appended]:
        """Append each message to the log named beside it. On failure some may have been appended: repeat them all."""
        replies = self._run([self._append_command(name, message) for name, message in appends])
        return [
            Appended(Status(status.decode()), Position(epoch.decode(), offset), receivers > 0)
            for status, epoch, offset, receivers in replies
        ]

    def read(self, requests: Sequence[tuple[str, Vector]]) -> list[Page]:
        """A page of each named log, oldest first, after the vector's position in it. Opens a log that has no epoch."""
        limits = (PAGE_ENTRIES, PAGE_BYTES)
        return [_page(reply) for reply in self._run([self._call(READ, name, limits, at) for name, at in requests])]

    def read_back(self, requests: Sequence[tuple[str, Vector]], count: int) -> list[Page]:
        """A page of each named log, newest first, before the vector's position in it, from the newest without one."""
        calls = [self._call(READ_BACK, name, (count,), before) for name, before in requests]
        return [_page(reply) for reply in self._run(calls)]

    def tails(self, names: Sequence[str]) -> list[Position | None]:
        """The newest position of each named log, None where the log is gone."""
        replies = self._run([("HMGET", self.keys.meta(name), "epoch", "top") for name in names])
        return [Position(epoch.decode(), int(top)) if epoch else None for epoch, top in replies]

    def forget(self, names: Sequence[str]) -> None:
        """Remove the named logs. Their next epoch is another one, so that readers with a cursor hear of the loss."""
        keys = self.keys
        self._run([("DEL", keys.log(name), keys.meta(name), keys.replaced(name)) for name in names])

    def _run(self, commands: Sequence[Command]) -> list[Reply]:
        return [reply for batch in _batches(commands) for reply in self._commands.run(batch)]

    def _append_command(self, name: str, message: Message) -> Command:
        keys, settings = self.keys, self._settings
        return APPEND.call(
            (*self._log_keys(name), keys.message_id(name, message.id), keys.live(name)),
            new_epoch(),
            self._kept_seconds(name),
            settings.history_length,
            message.record,
            message.digest,
            OWN_ID_SECONDS if message.own_id else settings.dedup_seconds,
            message.expires_ms,
            message.key,
            "1" if message.transient else "0",
        )

    def _call(self, script: Script, name: str, limits: tuple[int, ...], vector: Vector) -> Command:
        positions = [f"{epoch}.{offset}" for epoch, offset in vector]
        return script.call(self._log_keys(name), new_epoch(), self._kept_seconds(name), *limits, *positions)

    def _kept_seconds(self, name: str) -> int:
        """A run's log must not outlive the state of its run, which says how it ended."""
        return self._settings.run_seconds if name.startswith("run:") else self._settings.history_seconds

    def _log_keys(self, name: str) -> tuple[str, str, str]:
        return self.keys.log(name), self.keys.meta(name), self.keys.replaced(name)


def new_epoch() -> str:
    """A name for a log's history, used if the log has none: 62⁶ of them."""
    return "".join([secrets.choice(_EPOCH_ALPHABET) for _ in range(EPOCH_LENGTH)])


def _batches(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    for start in range(0, len(commands), ROUND_TRIP_COMMANDS):
        yield commands[start : start + ROUND_TRIP_COMMANDS]


def _page(reply: Any) -> Page:
    epoch, top, oldest, kept, start, entries = reply
    return Page(
        epoch=epoch.decode(),
        top=top,
        oldest=oldest,
        kept=kept,
        after=None if start < 0 else start,
        entries=tuple([_entry(entry_id, fields) for entry_id, fields in entries]),
    )


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """`fields` are r, record, t, seconds and, where the message expires, x, milliseconds."""
    offset = int(entry_id.partition(b"-")[0])
    return Entry(offset, fields[1], int(fields[5]) if len(fields) > 5 else 0)
