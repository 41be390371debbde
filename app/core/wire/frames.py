"""Belfry's own blocks of an event stream, as bytes ready for a socket.

Event types of Belfry and of EventSource are listed here once; a publisher can't use them.
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

# `open` and `error` are EventSource's own events (WHATWG HTML 9.2.2): a message of that name would be taken for them.
RESERVED_EVENTS = frozenset(
    {
        "open", "error", "ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye", "stopped", "failed",
        "belfry.figures", "belfry.whereabouts", "belfry.tabs", "belfry.born",
        "belfry.conversation",
    }
)  # fmt: skip

HEARTBEAT = sse.encode("{}", event="heartbeat")
# Belfry's own events in a run's stream look like a chunk without choices to readers that ignore the name of an event.
NO_CHOICES: Final[dict[str, Any]] = {"choices": []}
RUN_HEARTBEAT = sse.encode('{"choices":[]}', event="heartbeat")

# The record that ends a finite log, a run's: nothing follows it. A publisher can't write it, since what is published
# is an object. Its data is what OpenAI's streams end with.
END = b"message [DONE]"

# Announcements of a changed feed: live-only records that are told with the reader's own unread count.
STATE_EVENTS = frozenset({b"read", b"removed", b"updated"})
UPDATED = b"updated {}"

FIGURES = b"belfry.figures"  # a point for the dashboards, live only
WHEREABOUTS = b"belfry.whereabouts"  # asks on a user's own log where the connections stand
DISMISSAL = b"goodbye"  # announces on a user's own log that connections are to be ended
BORN = b"belfry.born"  # announces that a log was created, with the epochs that its readers stood in before
CONVERSATION = b"belfry.conversation"  # tells on a user's own log that a conversation changed, live only
TABS = b"belfry.tabs"  # tells on a user's own log how many tabs share one of the connections


class FeedCounts(NamedTuple):
    """A reader's unread messages, and the revision of its feed's state."""

    unread: int
    revision: int


class Goodbye(Enum):
    """Why the server ends a stream: the same words in the frame, the log and the metrics."""

    SHUTDOWN = "shutdown"  # this worker stops: come back, another one serves
    EXPIRED = "expired"  # the credential's time is over: come back with a new one
    REVOKED = "revoked"  # the credential was withdrawn: don't come back with it
    DISCONNECTED = "disconnected"  # an administrator ended the connection: come back later
    REPLACED = "replaced"  # the user opened more connections than allowed: don't come back by yourself


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)  # json.dumps would make one for each call


def stream_safe(json_text: bytes) -> bytes:
    """The same JSON, safe as data of an event stream for every kind of reader.

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
    """JSON on one line, without spaces, safe in a stream; other non-ASCII characters stay as they are."""
    return stream_safe(_ENCODER.encode(value).encode()).decode()


def compact_bytes(value: object) -> bytes:
    """JSON in UTF-8, not for streams: five times as fast as `compact`. Floats may be written in another way."""
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
    """The first block of a stream: the reconnect delay, and a cursor before any message came.

    `behind` messages follow that the counts know already; each one after those is one more. `connection` is the name by
    which administrators see it. `left_out` are topics that the stream does not carry, each with the code of the reason.
    """
    place: dict[str, object] = {"connection": connection, "behind": behind}
    if left_out:
        place["left_out"] = [{"topic": topic, "code": code} for topic, code in left_out]
    data = compact_bytes({"user": user, "unread": counts.unread, "revision": counts.revision, **place})
    return sse.encode(stream_safe(data).decode(), event="ready", id=cursor.encode(vector), retry=retry_ms)


def run_ready(vector: Vector, retry_ms: int, run_id: str, status: str) -> bytes:
    """The first block of a run's stream."""
    data = compact({"id": run_id, "status": status, **NO_CHOICES})
    return sse.encode(data, event="ready", id=cursor.encode(vector), retry=retry_ms)


def message(vector: Vector, record: bytes) -> bytes:
    """One kept message. `record` is `<event> <JSON on one line>`, as in the store; `vector` is the cursor after it."""
    return b"id: %b\n%b" % (cursor.encode(vector).encode(), live_only(record))


class LogFramer:
    """Makes the frames of one log's messages. The parts of the cursor for other logs are encoded once."""

    __slots__ = ("_after", "_before")

    def __init__(self, vector: Vector, at: int, epoch: str) -> None:
        before, after = cursor.encode(vector[:at]), cursor.encode(vector[at + 1 :])
        self._before = f"id: {before}{'-' if before else ''}{epoch}.".encode()
        self._after = f"{'-' if after else ''}{after}\n".encode()

    def message(self, offset: int, record: bytes) -> bytes:
        """As the function `message`, for the entry at `offset`."""
        return self.block(offset, live_only(record))

    def block(self, offset: int, block: bytes) -> bytes:
        """As `message`, for a block that `live_only` made from the entry's record."""
        return b"%b%d%b%b" % (self._before, offset, self._after, block)


def live_only(record: bytes) -> bytes:
    """One message without a cursor: the client's cursor stays unchanged."""
    event, _, data = record.partition(b" ")
    if event == b"message":
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event, data)


def changed(record: bytes, counts: FeedCounts) -> bytes:
    """A change of a reader's feed, as one of `STATE_EVENTS` announced it, with the counts after the change."""
    event, _, data = record.partition(b" ")
    members = data[:-1] + (b"," if data != b"{}" else b"")
    return b'event: %b\ndata: %b"unread":%d,"revision":%d}\n\n' % (event, members, *counts)


def reset(vector: Vector) -> bytes:
    """History after the client's cursor is gone. The client fetches `/feed` again and continues from here."""
    return sse.encode("{}", event="reset", id=cursor.encode(vector))


def goodbye(reason: Goodbye, retry_ms: int) -> bytes:
    """The last block of a stream that the server ends."""
    return sse.encode(compact({"reason": reason.value}), event="goodbye", retry=retry_ms)
