"""Belfry's own blocks of an event stream, as bytes ready for a socket.

This module lists the event types of Belfry and of EventSource. Publishers can't use them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from ..log import cursor
from ..log.cursor import Vector
from . import sse

# `open` and `error` are EventSource's own events (WHATWG HTML 9.2.2). Clients would confuse messages with them.
RESERVED_EVENTS = frozenset(
    {
        "open", "error", "ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye", "stopped", "failed",
        "belfry.figures", "belfry.whereabouts", "belfry.tabs", "belfry.born",
        "belfry.conversation",
    }
)  # fmt: skip

HEARTBEAT = sse.encode("{}", event="heartbeat")
# Belfry's own events in a run's stream look like a chunk without choices to readers that ignore event names.
NO_CHOICES: Final[dict[str, Any]] = {"choices": []}
RUN_HEARTBEAT = sse.encode('{"choices":[]}', event="heartbeat")

# The record that ends a finite log, which is a run's log: no record follows it. A publisher can't send it, because
# published records are objects. Its data is the end mark of OpenAI's streams.
END = b"message [DONE]"

# Announcements of a changed feed: live-only records that each reader gets with its own unread count.
STATE_EVENTS = frozenset({b"read", b"removed", b"updated"})
UPDATED = b"updated {}"

FIGURES = b"belfry.figures"  # announces a point of the dashboard's figures, live only
WHEREABOUTS = b"belfry.whereabouts"  # asks on a user's own log for the positions of the connections
DISMISSAL = b"goodbye"  # asks on a user's own log to end connections
BORN = b"belfry.born"  # announces a new log, with the epochs in which its readers were before
CONVERSATION = b"belfry.conversation"  # announces on a user's own log that a conversation changed, live only
TABS = b"belfry.tabs"  # announces on a user's own log how many tabs share one of the connections


class FeedCounts(NamedTuple):
    """The number of a reader's unread messages, and the revision of its feed's state."""

    unread: int
    revision: int


class Goodbye(Enum):
    """The reason why the server ends a stream. It is the same word in the frame, the log and the metrics."""

    SHUTDOWN = "shutdown"  # this worker stops: reconnect, another one serves
    EXPIRED = "expired"  # the credential has expired: reconnect with a new one
    REVOKED = "revoked"  # the credential was revoked: don't reconnect with it
    DISCONNECTED = "disconnected"  # an administrator ended the connection: reconnect later
    REPLACED = "replaced"  # the user opened more connections than allowed: don't reconnect automatically


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)  # json.dumps would make an encoder for each call


def stream_safe(json_text: bytes) -> bytes:
    """Return the same JSON in a form that is safe as data of an event stream for every kind of reader.

    htmx and Turbo put the data of an event into the page as HTML. So `<`, `>` and `&` are escaped, as Go does.
    Readers built on Python's `str.splitlines` end a line at U+0085, U+2028 and U+2029, so these are escaped too. JSON
    allows none of the other characters that end a line there.
    All six occur only inside JSON's strings, so nothing needs to be parsed. A cursor and an event type contain none of
    them, so whole blocks may be passed as well.
    """
    json_text = json_text.replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026")
    if json_text.isascii():
        return json_text
    json_text = json_text.replace(b"\xc2\x85", rb"\u0085")
    return json_text.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")


def compact(value: object) -> str:
    """Return JSON on one line, without spaces, safe in a stream. Other non-ASCII characters stay unchanged."""
    return stream_safe(_ENCODER.encode(value).encode()).decode()


def compact_bytes(value: object) -> bytes:
    """Return JSON in UTF-8, which is not safe in a stream. It is five times as fast as `compact`.

    It may write floats in another way.
    """
    return to_json(value)


def ready(
    vector: Vector,
    retry_ms: int,
    user: str,
    counts: FeedCounts,
    behind: int,
    connection: str,
    left_out: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return the first block of a stream, with the reconnect delay, and a cursor before any message.

    `behind` is the number of following messages that the counts already include. Each message after those adds one.
    `connection` is the id that administrators see. `left_out` are topics that the stream does not carry, each with the
    code of the reason.
    """
    place: dict[str, object] = {"connection": connection, "behind": behind}
    if left_out:
        place["left_out"] = [{"topic": topic, "code": code} for topic, code in left_out]
    data = compact_bytes({"user": user, "unread": counts.unread, "revision": counts.revision, **place})
    return sse.encode(stream_safe(data).decode(), event="ready", id=cursor.encode(vector), retry=retry_ms)


def run_ready(vector: Vector, retry_ms: int, run_id: str, status: str) -> bytes:
    """Return the first block of a run's stream."""
    data = compact({"id": run_id, "status": status, **NO_CHOICES})
    return sse.encode(data, event="ready", id=cursor.encode(vector), retry=retry_ms)


def message(vector: Vector, record: bytes) -> bytes:
    """Return one kept message. `record` is `<event> <JSON on one line>`, as in the store.

    `vector` is the cursor after it.
    """
    return b"id: %b\n%b" % (cursor.encode(vector).encode(), live_only(record))


class LogFramer:
    """Makes the frames of one log's messages. It encodes the cursor's parts for other logs only once."""

    __slots__ = ("_after", "_before")

    def __init__(self, vector: Vector, at: int, epoch: str) -> None:
        before, after = cursor.encode(vector[:at]), cursor.encode(vector[at + 1 :])
        self._before = f"id: {before}{'-' if before else ''}{epoch}.".encode()
        self._after = f"{'-' if after else ''}{after}\n".encode()

    def message(self, offset: int, record: bytes) -> bytes:
        """Return the frame of the entry at `offset`, like the function `message`."""
        return self.block(offset, live_only(record))

    def block(self, offset: int, block: bytes) -> bytes:
        """Return a frame like `message`, from a block that `live_only` made from the entry's record."""
        return b"%b%d%b%b" % (self._before, offset, self._after, block)


def live_only(record: bytes) -> bytes:
    """Return one message without a cursor, so that the client's cursor stays unchanged."""
    event, _, data = record.partition(b" ")
    if event == b"message":
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event, data)


def unnamed(record: bytes) -> bytes:
    """Return the record of the same message for a reader that wants every message as an event of the type `message`.

    A native EventSource does not deliver events of types that it does not know. The JSON names the type of the message
    as `event`. Belfry's own types stay, because a reader knows them.
    """
    event, _, data = record.partition(b" ")
    return record if event == b"message" or event.decode() in RESERVED_EVENTS else b"message %b" % data


def changed(record: bytes, counts: FeedCounts) -> bytes:
    """Return a change of a reader's feed, which one of `STATE_EVENTS` announced, with the counts after the change."""
    event, _, data = record.partition(b" ")
    members = data[:-1] + (b"," if data != b"{}" else b"")
    return b'event: %b\ndata: %b"unread":%d,"revision":%d}\n\n' % (event, members, *counts)


def reset(vector: Vector) -> bytes:
    """Return the block that reports a loss: the history after the client's cursor is gone.

    The client fetches `/feed` again and continues from this cursor.
    """
    return sse.encode("{}", event="reset", id=cursor.encode(vector))


def goodbye(reason: Goodbye, retry_ms: int) -> bytes:
    """Return the last block of a stream that the server ends."""
    return sse.encode(compact({"reason": reason.value}), event="goodbye", retry=retry_ms)
