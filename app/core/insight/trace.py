"""Reconstructs what happened to one message and one user, from what is known of the user's connections.

Nothing is recorded per message. The first and last position of a connection in a log show which messages it received. A
client that returns with a cursor shows which messages it has. Times are RFC 3339 in UTC, so that they sort as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..log.catch_up import Page
from ..log.cursor import Position

BEGINNINGS = ("connected", "resumed")
END = "closed"
PUSHED = "pushed"
CHANGES = ("read", "unread", "archived", "unarchived", "removed", "retracted")

# An event is what was recorded about a connection or a change. A step is a part of the answer. Both are JSON objects.
Event = Mapping[str, Any]
Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message in one log. `offset` is None, and `published` is empty, if they are no longer known.

    `page` shows which positions belong to the same history as the offset.
    """

    id: str
    log: str
    offset: int | None
    page: Page
    published: str


def steps(sent: Sent, events: Sequence[Event], connections: Sequence[Event]) -> list[Step]:
    """Return what is known about the message, in the order of time.

    `events` are the user's events, oldest first. `connections` are the open connections, with their last reported
    places.
    """
    found = [{"time": sent.published, "what": "published"}] if sent.published else []
    if sent.offset is not None:
        began = {event["connection"]: event for event in events if event["what"] in BEGINNINGS}
        ended = {event["connection"]: event for event in events if event["what"] == END}
        is_open = {event["id"]: event for event in connections}
        for connection in dict.fromkeys([*began, *ended, *is_open]):
            # The list of open connections may be a second old, so a recorded end counts more.
            last = ended.get(connection) or is_open.get(connection)
            found += _journey(sent, sent.offset, connection, began.get(connection), last)
    found += _changes(sent, events)
    return _without_repetition(sorted(found, key=lambda step: str(step["time"])))


def _journey(sent: Sent, offset: int, connection: str, first: Event | None, last: Event | None) -> Iterator[Step]:
    """Yield the steps of one connection. `first` is how it began, `last` is its end or its current place."""
    begin, end = _place(sent, first), _place(sent, last)
    if first is not None and begin is not None and begin >= offset:
        what = "acknowledged" if first["what"] == "resumed" else "began_after"
        yield {"time": first["time"], "what": what, "connection": connection}
    elif last is not None and end is not None:
        # An open connection has no end. It was reported at its beginning, and again with its current place.
        start = first["time"] if first is not None else last.get("since", "")
        until = last.get("told") or last["time"]
        if end >= offset and first is None and start > sent.published:
            # It came later, perhaps with a cursor after the message. This is unknown until its beginning is recorded.
            return
        if end >= offset:
            caught_up = start > sent.published
            time = max(start, sent.published)
            yield {"time": time, "what": "sent", "connection": connection, "until": until, "caught_up": caught_up}
        elif until >= sent.published:
            what = "ended_before" if last.get("what") == END else "not_yet"
            yield {"time": until, "what": what, "connection": connection}


def _place(sent: Sent, event: Event | None) -> int | None:
    """Return where a connection was in the message's log.

    Return None if it did not read that log, or read another history of it.
    """
    place = (event or {}).get("places", {}).get(sent.log, "")
    epoch, _, offset = place.partition(".")
    return sent.page.place(Position(epoch, int(offset))) if offset else None


def _changes(sent: Sent, events: Sequence[Event]) -> Iterator[Step]:
    for event in events:
        if event["time"] < sent.published:
            continue
        if event["what"] == "reset" or (event["what"] in BEGINNINGS and event.get("lost")):
            yield {"time": event["time"], "what": "reset", "connection": event["connection"]}
        elif event["what"] in CHANGES and (event.get("all") or sent.id in event.get("ids", ())):
            yield {"time": event["time"], "what": event["what"]}
        elif event["what"] == PUSHED and sent.id in event.get("ids", ()):
            yield {"time": event["time"], "what": PUSHED, "devices": event["devices"]}


def _without_repetition(found: list[Step]) -> list[Step]:
    """Remove steps that later connections repeat.

    Only the first acknowledgement and the first connection that began after the message stay. The latter is removed
    as well if an earlier connection received the message.
    """
    had: set[str] = set()
    kept: list[Step] = []
    for step in found:
        what = str(step["what"])
        repeated = what == "acknowledged" and what in had
        if not repeated and not (what == "began_after" and had & {"sent", "acknowledged", what}):
            kept.append(step)
        had.add(what)
    return kept
