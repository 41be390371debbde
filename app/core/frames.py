"""Belfry's own blocks of an event stream, as bytes ready for a socket.

Event types of Belfry and of EventSource are listed here once; a publisher can't use them.
"""

from __future__ import annotations

import json
from enum import Enum

from app.core import cursor, sse
from app.core.cursor import Vector

# `open` and `error` are EventSource's own events (WHATWG HTML 9.2.2): a message of that name would be taken for them.
RESERVED_EVENTS = frozenset(
    {"open", "error", "ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye", "stopped", "failed"}
)

HEARTBEAT = sse.encode("{}", event="heartbeat")

# The record that ends a finite log, a run's: nothing follows it. A publisher can't write it, since what is published
# is an object. Its data is what OpenAI's streams end with.
END = b"message [DONE]"


class Goodbye(Enum):
    """Why the server ends a stream: the same words in the frame, the log and the metrics."""

    SHUTDOWN = "shutdown"  # this worker stops: come back, another one serves
    EXPIRED = "expired"  # the credential's time is over: come back with a new one
    REVOKED = "revoked"  # the credential was withdrawn: don't come back with it
    REPLACED = "replaced"  # the user opened more connections than allowed: don't come back by yourself


def compact(value: object) -> str:
    """JSON on one line, without spaces, non-ASCII as it is."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def ready(vector: Vector, retry_ms: int, user: str, unread: int, revision: int) -> bytes:
    """The first block of a stream: the reconnect delay, and a cursor before any message came."""
    data = compact({"user": user, "unread": unread, "revision": revision})
    return sse.encode(data, event="ready", id=cursor.encode(vector), retry=retry_ms)


def run_ready(vector: Vector, retry_ms: int, run_id: str, status: str) -> bytes:
    """The first block of a run's stream."""
    data = compact({"id": run_id, "status": status})
    return sse.encode(data, event="ready", id=cursor.encode(vector), retry=retry_ms)


def message(vector: Vector, record: bytes) -> bytes:
    """One kept message. `record` is `<event> <JSON on one line>`, as the store holds it; `vector` its place."""
    return b"id: %b\n%b" % (cursor.encode(vector).encode(), live_only(record))


def live_only(record: bytes) -> bytes:
    """One message without a place in the log: it leaves the client's cursor where it was."""
    event, _, data = record.partition(b" ")
    if event == b"message":
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event, data)


def reset(vector: Vector) -> bytes:
    """History after the client's cursor is gone: it fetches `/feed` again and goes on from here."""
    return sse.encode("{}", event="reset", id=cursor.encode(vector))


def goodbye(reason: Goodbye, retry_ms: int) -> bytes:
    """The last block of a stream that the server ends."""
    return sse.encode(compact({"reason": reason.value}), event="goodbye", retry=retry_ms)
