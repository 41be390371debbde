"""The log: an append-only Redis Stream with contiguous offsets, an epoch, a bounded length and age, and a channel.

A user's feed, a topic and everyone's feed are logs. `keys` describes the parts of a log. The scripts in `lua/` define
what an append and a read do in one atomic step. This module sends the scripts and turns their replies into values. All
calls take many logs and send them in few round trips. All calls raise `BelfryError` `store_unavailable`.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import redis

from ...core.errors import BelfryError
from ...core.log.catch_up import Entry, Page
from ...core.log.cursor import EPOCH_LENGTH, Position, Vector
from ...core.log.marks import NO_MARKS, Marks, Offsets
from ...core.message import Message
from ...core.settings import Settings
from ...transport.connection import (
    RETRY_AFTER_SECONDS,
    Command,
    Commands,
    Pending,
    Posts,
    Reply,
    Script,
    is_unlooked,
    unavailable,
)
from ...transport.shard import one_slot
from ..keys import Keys
from . import lineage
from .lineage import EPOCH_ALPHABET, Lineage, looks_first

# Larger batches gain nothing, and all other clients of the server wait for them.
ROUND_TRIP_COMMANDS = 200
# Messages that one call of the script appends. It takes half a millisecond, in which Redis serves no other client.
CHUNK_MESSAGES = 16
CHUNK_BYTES = 262_144  # of records; a chunk that has this many takes no further one
PAGE_ENTRIES = 100
# Chunks of a run are small: this many have about as many bytes as a page.
RUN_PAGE_ENTRIES = 1_000
PAGE_BYTES = 262_144

PRELUDE = ("lineage", "bits", "open")
VERBS = ("read", "read_back", "find", "retract", "mark", "mend")
APPEND = Script("room", *PRELUDE, "append")
READ, READ_BACK, FIND, RETRACT, MARK, MEND = tuple([Script(*PRELUDE, verb) for verb in VERBS])
SCRIPTS = (*lineage.SCRIPTS, APPEND, READ, READ_BACK, FIND, RETRACT, MARK, MEND)

logger = logging.getLogger("belfry.logs")

# Each command gets a new epoch and hardly ever uses it. Epochs must be different but not secret. So the system's
# randomness is used once per worker, as the seed, and not for each epoch.
_epochs = random.Random(secrets.token_bytes(32))  # noqa: S311 - see above


_EPOCHS_AT_ONCE = 512
# The letter for each random byte. Without the last 8 bytes, each letter stands for four, so all are equally likely.
_LETTERS = (EPOCH_ALPHABET.encode() * 5)[:256]
_SURPLUS = bytes(range(256 // len(EPOCH_ALPHABET) * len(EPOCH_ALPHABET), 256))
_stock: list[str] = []


class Status(Enum):
    """The effect of an append."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    REUSED = "reused"


_STATUS = {status.value.encode(): status for status in Status}


class Appended(NamedTuple):
    """The outcome of one append. `offset` is 0 for a message that is not kept.

    `online`: whether somebody is connected.
    """

    status: Status
    position: Position
    online: bool


_AHEAD = "equal or smaller than the target stream top item"  # Redis's refusal of an offset that a stream has passed

# Waits for the outcomes of posted messages and returns them. Raises like `LogStore.append`.
Outcomes = Callable[[], list[Appended]]


class Tail(NamedTuple):
    """The values that show whether a log has changed.

    An append changes `position`, and trimming changes `oldest`. Any other change increases `revision`.
    """

    position: Position
    revision: int
    oldest: int
    expires_ms: int


class Found(NamedTuple):
    """The state of one message in a log.

    `page` has no entries. `offset` is None if the log does not keep the message. `digest` identifies the content that
    was appended under the id, see `Message`. It is empty if the log does not remember the id.
    """

    page: Page
    offset: int | None
    digest: str


class _RoundTrip(NamedTuple):
    """The commands of one round trip, and the number of each message in the order of the commands.

    `order` is empty if the commands have the order of the messages.
    """

    commands: list[Command]
    order: Sequence[int]


class LogStore:
    """Reads and changes all logs of one deployment.

    A method that takes a `user` returns pages with that user's marks.
    """

    def __init__(
        self,
        commands: Commands,
        settings: Settings,
        appends: Commands | None = None,
        posts: Posts | None = None,
        slot_of: Callable[[str], int] = one_slot,
        lineage: Lineage | None = None,
    ) -> None:
        """Make a store of logs.

        `appends` runs the appends. They may wait for replicas, and other commands must not wait with them. `posts` runs
        the appends of batches, so that other commands do not wait behind a whole batch. `slot_of` returns the same
        value for keys that one script may use. In each round trip, one script appends to all keys of a slot.
        """
        self._commands = commands
        self._appends = appends or commands
        self._posts = posts
        self._settings = settings
        self.keys = Keys(settings.redis_prefix, settings.redis_db)
        self.lineage = lineage or Lineage(commands, self.keys, settings.switchover_seconds)
        self._slot_of = slot_of

    def share_a_slot(self, one: str, other: str) -> bool:
        """Return whether commands for two keys run in the order in which they are sent together."""
        return self._slot_of(one) == self._slot_of(other)

    @looks_first
    def append(self, appends: Sequence[tuple[str, Message]], before: Sequence[Command] = ()) -> list[Appended]:
        """Append each message to the log named beside it, in this order. None of the logs may be a run's log.

        After a failure, some messages may have been appended: repeat them all. The commands `before` share the round
        trips. Raises `BelfryError` `not_replicated` as well.
        """
        outcomes: list[Appended] = []
        for trip in self._round_trips(appends, before):
            try:
                outcomes += self._outcomes(self._appends.run(trip.commands), trip.order)
            except BelfryError as failure:
                self._mend_ahead([failure], appends)
                raise _overall([failure], outcomes) from failure.__cause__
        return outcomes

    def post(self, appends: Sequence[tuple[str, Message]], before: Sequence[Command] = ()) -> Outcomes:
        """Append messages like `append`, without waiting. Call the returned function to get the outcomes.

        Messages that are posted first are appended first, even if some fail. The round trips of one call don't wait for
        each other, so no log may be in two of them.
        """
        if self._posts is None:
            outcomes = self.append(appends, before)
            return lambda: outcomes
        trips = self._round_trips(appends, before)
        return partial(self._awaited, appends, [(self._posts.post(trip.commands), trip.order) for trip in trips])

    def _awaited(
        self, appends: Sequence[tuple[str, Message]], pending: Sequence[tuple[Pending, Sequence[int]]]
    ) -> list[Appended]:
        outcomes: list[Appended] = []
        failures: list[BelfryError] = []
        for each, order in pending:
            try:
                outcomes += self._outcomes(each.get(), order)
            except BelfryError as failure:
                failures.append(failure)
        if failures:
            if any(map(is_unlooked, failures)):
                self.lineage.look_early()
            self._mend_ahead(failures, appends)
            raise _overall(failures, outcomes) from failures[0].__cause__
        return outcomes

    def _round_trips(self, appends: Sequence[tuple[str, Message]], before: Sequence[Command]) -> Iterator[_RoundTrip]:
        """Yield the commands of each round trip. They end with WAIT if the settings require replicas."""
        wanted = self._settings.publish_wait_replicas
        # Redis counts from the last write of this connection. A duplicate writes too, see `append.lua`.
        waits: list[Command] = [("WAIT", wanted, int(self._settings.publish_wait_seconds * 1_000))] if wanted else []
        for start in range(0, len(appends), ROUND_TRIP_COMMANDS):
            part = appends[start : start + ROUND_TRIP_COMMANDS]
            chunks, order = self._by_slot(part) if self._slot_of is not one_slot else (_chunks(part), ())
            commands = [self._append_command(chunk) for chunk in chunks]
            yield _RoundTrip([*(() if start else before), *commands, *waits], order)

    def _by_slot(self, appends: Sequence[tuple[str, Message]]) -> tuple[list[list[tuple[str, Message]]], Sequence[int]]:
        """Return one chunk for each slot, and the number of each message in the order of the chunks.

        So a command that must be sent again does not overtake another command for the same log.
        """
        slots: defaultdict[int, list[int]] = defaultdict(list)
        for at, (name, _) in enumerate(appends):
            slots[self._slot_of(self.keys.meta(name))].append(at)
        return [[appends[at] for at in own] for own in slots.values()], [at for own in slots.values() for at in own]

    def _outcomes(self, replies: Sequence[Reply], order: Sequence[int]) -> list[Appended]:
        """Return the outcomes of the messages of one round trip. Raises `BelfryError` `not_replicated`."""
        require_replicas(replies, self._settings)
        outcomes: list[Appended] = []
        for reply in replies:
            # A list is the reply to an append. The commands before it return a number or a word.
            if isinstance(reply, list):
                self.lineage.acknowledged_by(reply[0])
                outcomes += [_outcome(outcome) for outcome in reply[1:]]
        if order:
            placed = dict(zip(order, outcomes, strict=True))
            return [placed[at] for at in range(len(order))]
        return outcomes

    @looks_first
    def read(self, requests: Sequence[tuple[str, Vector]], user: str = "") -> list[Page]:
        """Return a page of each named log, oldest first, after the vector's position. A read creates no log.

        Before this reports a loss to a reader, it looks at the server. Otherwise the reader would get two reports of
        one loss: now, because the log is gone, and again when the next look gives every log a new epoch.
        """
        pages = self._read(requests, user)
        broken = [name for (name, _), page in zip(requests, pages, strict=True) if not page.is_whole]
        if broken:
            self._mend(broken)
            return self._read(requests, user)
        is_lost = any(at and page.after is None for (_, at), page in zip(requests, pages, strict=True))
        return self._read(requests, user) if is_lost and self.lineage.look_early() else pages

    def _mend(self, names: Sequence[str]) -> None:
        """Begin a new epoch for logs whose entries do not match their meta, see `mend.lua`."""
        mended = sum(self._run([self._call(MEND, name) for name in names]))
        if mended:
            logger.warning("%d logs have other entries than were kept: they go on under a new epoch", mended)

    def _mend_ahead(self, failures: Sequence[BelfryError], appends: Sequence[tuple[str, Message]]) -> None:
        """Mend the logs of a failed append if a stream is ahead of its meta and refuses the next offset.

        Somebody restored an earlier copy of the meta. Without this, every publish would fail until somebody reads the
        log. The publisher repeats the request.
        """
        if any(_AHEAD in str(failure.__cause__) for failure in failures):
            self._mend(list(dict.fromkeys(name for name, _ in appends)))

    def _read(self, requests: Sequence[tuple[str, Vector]], user: str) -> list[Page]:
        calls = [
            self._call(READ, name, RUN_PAGE_ENTRIES if _is_run(name) else PAGE_ENTRIES, PAGE_BYTES, *_texts(at))
            for name, at in requests
        ]
        return self._pages([name for name, _ in requests], calls, user)

    @looks_first
    def read_back(self, requests: Sequence[tuple[str, Vector]], count: int, user: str = "") -> list[Page]:
        """Return a page of each named log, newest first, before the vector's position.

        Without a position, start at the newest. A page ends when it has `count` entries or `PAGE_BYTES`.
        """
        limits = (count, PAGE_BYTES)
        names = [name for name, _ in requests]
        return self._pages(names, [self._call(READ_BACK, name, *limits, *_texts(at)) for name, at in requests], user)

    @looks_first
    def find(self, names: Sequence[str], message_ids: Sequence[str]) -> list[tuple[Page, list[int]]]:
        """Return for each named log a page without entries, and the offsets of those messages that the log keeps."""
        replies = self._run([self._call(FIND, name, *message_ids) for name in names])
        return [(_page([*reply[:-1], ()]), [int(offset) for offset in reply[-1] if offset]) for reply in replies]

    @looks_first
    def find_one(self, name: str, message_id: str) -> Found:
        """Look for one message, and for the content that the log remembers under its id."""
        # The message may be appended between two of these commands. If it was not found, the first look at its id
        # counts: it was not appended yet. If it was found, the second one does: it then knows the id.
        look = ("MGET", self.keys.message_id(name, message_id))
        (before,), reply, (after,) = self._run([look, self._call(FIND, name, message_id), look])
        page, (offset,) = _page([*reply[:-1], ()]), reply[-1]
        return Found(page, int(offset) if offset else None, _digest_of(after if offset else before, page.history))

    def place(self, name: str, message_id: str) -> Position | None:
        """Return the position of a message, even if the message is gone.

        Return None if the log does not remember its id. The epoch of the position is the log's history, because message
        ids belong to a history.
        """
        ((stored,),) = self._run([("MGET", self.keys.message_id(name, message_id))])
        if not stored:
            return None
        epoch, _, offset = stored.partition(b" ")[0].decode().partition(".")
        return Position(epoch, int(offset))

    @looks_first
    def survey(
        self, names: Sequence[str], readers: Sequence[tuple[str, Sequence[str]]]
    ) -> tuple[list[Page], list[list[Marks]]]:
        """Read the data for the unread counts of many readers together.

        Returns a page without entries for each named log. For each reader, a user with names of logs, it returns the
        marks in those logs.
        """
        commands = [self._call(FIND, name) for name in names]
        commands += [self._marks_command(user, logs) for user, logs in readers]
        replies = self._run(commands)
        pages = [_page(reply) for reply in replies[: len(names)]]
        return pages, [[Marks.load(stored) for stored in marks] for marks in replies[len(names) :]]

    @looks_first
    def tails(self, names: Sequence[str]) -> list[Tail | None]:
        """Return the tail of each named log, or None if a run's log is gone.

        Any other log that does not exist has the tail that its readers are given, see `open.lua`. A log that was last
        used before its server was restarted or replaced, or before a loss, is opened first. That ends its epoch.
        """
        replies = self._tails(names)
        outdated = [at for at, reply in enumerate(replies) if reply[0] and self._is_outdated(names[at], *reply[-2:])]
        if outdated:
            self._run([self._call(FIND, names[at]) for at in outdated])
            for at, reply in zip(outdated, self._tails([names[at] for at in outdated]), strict=True):
                replies[at] = reply
        tails = [_tail(reply) for reply in replies]
        self._fill_vacant(names, tails)
        return tails

    @looks_first
    def retract(self, names: Sequence[str], message_id: str) -> list[str]:
        """Take a message out of the named logs. Return the names of the logs that had it."""
        replies = self._run([self._call(RETRACT, name, message_id) for name in names])
        for found, server in replies:
            if found:
                self.lineage.acknowledged_by(server)
        return [name for name, (found, _) in zip(names, replies, strict=True) if found]

    def hold(self, names: Sequence[str]) -> None:
        """Extend the lifetime of the named logs as if they had just been used."""
        keys = [(key, self._kept_seconds(name)) for name in names for key in self.keys.of_log(name)[:-1]]
        # "GT" prevents an earlier expiry than the scripts assume. They set the TTL seldom, see `hold` in `open.lua`.
        self._run([("EXPIRE", key, seconds, "GT") for key, seconds in keys])

    def forget(self, names: Sequence[str]) -> None:
        """Remove the named logs. A new log gets another epoch, so readers with a cursor are notified of the loss."""
        self._run([("DEL", *self.keys.of_log(name)[:-1]) for name in names])

    def _tails(self, names: Sequence[str]) -> list[Reply]:
        fields = ("epoch", "top", "revision", "oldest", "expires", "lineage", "losses")
        return self._run([("HMGET", self.keys.meta(name), *fields) for name in names])

    def _is_outdated(self, name: str, server: bytes | None, losses: bytes | None) -> bool:
        return self.lineage.is_outdated(server, None if _is_run(name) else losses or b"0")

    def _fill_vacant(self, names: Sequence[str], tails: list[Tail | None]) -> None:
        """Set the tails of logs that do not exist to those that their readers get, see `open.lua`.

        A run's log has none.
        """
        now = int(time.time())
        unknown = []
        for at in [at for at, tail in enumerate(tails) if tail is None and not _is_run(names[at])]:
            epoch = self.lineage.vacant_epoch(self.keys.meta(names[at]), self._kept_seconds(names[at]), now)
            if epoch is None:
                unknown.append(at)
            else:
                tails[at] = Tail(Position(epoch, 0), revision=0, oldest=1, expires_ms=0)
        for at, (page, _) in zip(unknown, self.find([names[at] for at in unknown], ()), strict=True):
            tails[at] = Tail(page.tail, page.revision, page.oldest, expires_ms=0)

    def _run(self, commands: Sequence[Command]) -> list[Reply]:
        return [reply for batch in _batches(commands) for reply in self._commands.run(batch)]

    def _append_command(self, chunk: Sequence[tuple[str, Message]]) -> Command:
        settings = self._settings
        own_id_seconds = min(settings.own_id_seconds, settings.dedup_seconds)
        keys: list[str] = []
        arguments: list[Any] = [settings.history_length, settings.history_seconds, self.lineage.known]
        for name, message in chunk:
            keys += self.keys.of_append(name, message.id)
            arguments += (
                new_epoch(),
                message.record,
                message.digest,
                own_id_seconds if message.own_id else settings.dedup_seconds,
                message.id,
                _options(message),
            )
        return APPEND.call(keys, *arguments)

    def _call(self, script: Script, name: str, *arguments: Any) -> Command:
        return script.call(
            self.keys.of_log(name), new_epoch(), self._kept_seconds(name), self._losses(name), *arguments
        )

    def _kept_seconds(self, name: str) -> int:
        """Return the seconds to keep a log.

        A run's log must not outlive the state of the run, which says how it ended.
        """
        return self._settings.run_seconds if _is_run(name) else self._settings.history_seconds

    def _losses(self, name: str) -> int | str:
        """Return what a script must know about losses, and nothing for a run's log.

        If a failover loses a part of a run, the end of the run reports it.
        """
        return "" if _is_run(name) else self.lineage.known

    def _pages(self, names: Sequence[str], calls: list[Command], user: str) -> list[Page]:
        if not user:
            return [_page(reply) for reply in self._run(calls)]
        # This command comes last, so that marks from before this read are never missing.
        *replies, marks = self._run([*calls, self._marks_command(user, names)])
        return [_page(reply, Marks.load(stored)) for reply, stored in zip(replies, marks, strict=True)]

    def _marks_command(self, user: str, names: Sequence[str]) -> Command:
        return ("HMGET", self.keys.marks(user), *names)


def _is_run(name: str) -> bool:
    return name.startswith("run:")


def new_epoch() -> str:
    """Return a name for a log's history. The log uses it if it has none. There are 62⁶ names."""
    if not _stock:
        # One call for many letters. A choice for each letter takes three times as long.
        letters = _epochs.randbytes(EPOCH_LENGTH * _EPOCHS_AT_ONCE).translate(_LETTERS, _SURPLUS).decode()
        whole = len(letters) - len(letters) % EPOCH_LENGTH
        _stock.extend([letters[at : at + EPOCH_LENGTH] for at in range(0, whole, EPOCH_LENGTH)])
    return _stock.pop()


def _chunks(appends: Sequence[tuple[str, Message]]) -> Iterator[Sequence[tuple[str, Message]]]:
    """Yield the messages that one call of the script appends."""
    start = size = 0
    for at, (_, message) in enumerate(appends):
        if at - start >= CHUNK_MESSAGES or size >= CHUNK_BYTES:
            yield appends[start:at]
            start, size = at, 0
        size += len(message.record)
    if appends:
        yield appends[start:]


def _options(message: Message) -> str:
    """Return the rare options of a message as one argument, see `append.lua`."""
    if message.expires_ms or message.transient or message.key:
        return f"{message.expires_ms} {message.transient:d} {message.key}"
    return ""


def require_replicas(replies: Sequence[Reply], settings: Settings) -> None:
    """Raise `BelfryError` `not_replicated` if WAIT, the last reply, reports too few replicas."""
    wanted = settings.publish_wait_replicas
    if wanted and replies[-1] < wanted:
        raise BelfryError(
            "not_replicated",
            f"{replies[-1]} of {wanted} replicas have it; try again with the same message id.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


def _overall(failures: Sequence[BelfryError], outcomes: Sequence[Appended]) -> BelfryError:
    """Return the error for all round trips of one call. `store_full` promises that nothing at all was kept."""
    others = [failure for failure in failures if failure.code != "store_full"]
    if others:
        return others[0]
    return unavailable(redis.exceptions.OutOfMemoryError()) if outcomes else failures[0]


def _outcome(reply: Reply) -> Appended:
    """Return the script's outcome for one message. Raises `BelfryError` `store_unavailable` if the append failed."""
    if reply[0] == b"failed":
        cause = redis.exceptions.ResponseError(reply[1].decode())
        raise unavailable(cause) from cause
    status, epoch, offset, receivers = reply
    return Appended(_STATUS[status], Position(epoch.decode(), offset), receivers > 0)


def _batches(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    for start in range(0, len(commands), ROUND_TRIP_COMMANDS):
        yield commands[start : start + ROUND_TRIP_COMMANDS]


def _digest_of(stored: bytes | None, history: str) -> str:
    """Return the digest in the value of a message id. An id of an earlier history counts no longer."""
    if not stored or not stored.startswith(history.encode() + b"."):
        return ""
    return stored.split(b" ")[1].decode()


def _texts(vector: Vector) -> list[str]:
    return [f"{epoch}.{offset}" for epoch, offset in vector]


def _tail(reply: Reply) -> Tail | None:
    epoch, *numbers, _, _ = reply
    if not epoch:
        return None
    top, revision, oldest, expires_ms = [int(number or 0) for number in numbers]
    return Tail(Position(epoch.decode(), top), revision, oldest, expires_ms)


def _page(reply: Any, marks: Marks = NO_MARKS) -> Page:
    epoch, top, oldest, kept, revision, gone_base, gone, history, former, start, entries = reply
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
        history=history.decode(),
        former=_positions(former) if former else (),
    )


def _positions(former: bytes) -> Vector:
    pairs = (position.split(".") for position in former.decode().split(" "))
    return tuple([Position(epoch, int(offset)) for epoch, offset in pairs])


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """Return an entry. `fields` are r, record, t, seconds and, if the message expires, x, milliseconds."""
    offset = int(entry_id.partition(b"-")[0])
    return Entry(offset, fields[1], int(fields[5]) if len(fields) > 5 else 0)
