"""Read, archived, removed, retracted: each change of the feed reaches every open connection."""

from __future__ import annotations

import json
from typing import Any, Final

from ..check import Group
from ..probe import Probe
from ..stream import Stream
from ..verdict import expect, expect_equal, expect_problem, expect_status, json_object

GROUP: Final = Group("state")


@GROUP.check("feed", "publish")
def unread(probe: Probe) -> None:
    """The stream and the feed count the same unread messages."""
    before = probe.feed()["unread"]
    probe.send_all(range(3))
    with probe.stream() as stream:
        counts = [stream.ready()["unread"], probe.feed()["unread"]]
    expect_equal([before + 3, before + 3], counts, "unread in ready and in the feed")


@GROUP.check("feed", "publish")
def read(probe: Probe) -> None:
    """A message that is read, or unread again, counts so on all connections."""
    with probe.stream() as stream:
        before = stream.ready()["unread"]
        probe.send_all([0, 1])
        stream.wait_for_number(1)
        _change(probe, "/feed/read", unread=before + 1)
        event = _heard(stream, "read", unread=before + 1)
        expect_equal([_first(probe)], event.get("ids"), "the ids")
        _change(probe, "/feed/read", unread=before + 2, read=False)


@GROUP.check("feed", "publish")
def archived(probe: Probe) -> None:
    """A message that is archived leaves the feed for the archive, and connections hear `updated`."""
    with probe.stream() as stream:
        stream.ready()
        probe.send_all([0, 1])
        stream.wait_for_number(1)
        expect_status(probe.ask("POST", "/feed/archive", "feed", json={"ids": [_first(probe)]}), 200)
        stream.wait_for("updated")
    expect_equal([1], probe.numbers_in(probe.feed()), "in the feed")
    expect_equal([0], probe.numbers_in(probe.feed(archived="true")), "in the archive")


@GROUP.check("feed", "publish")
def removed(probe: Probe) -> None:
    """A message that its reader removes leaves the feed on all devices."""
    with probe.stream() as stream:
        before = stream.ready()["unread"]
        probe.send_all([0, 1])
        stream.wait_for_number(1)
        expect_status(probe.ask("DELETE", f"/feed/{_first(probe)}", "feed"), 200)
        event = _heard(stream, "removed", unread=before + 1)
        expect_equal([_first(probe)], event.get("ids"), "the ids")
    expect_equal([1], probe.numbers_in(probe.feed()), "in the feed")
    expect_problem(probe.ask("DELETE", "/feed/no-such-message", "feed"), 404, "not_found")


@GROUP.check("feed", "publish")
def retracted(probe: Probe) -> None:
    """A message that its publisher takes back is gone from the feed, and from what a client that comes back gets."""
    with probe.stream() as stream:
        before = stream.ready()["unread"]
        cursor = stream.cursor
        probe.send_all([0, 1])
        stream.wait_for_number(1)
        expect_status(probe.ask("DELETE", f"/messages/{_first(probe)}", "publish"), 200)
        event = _heard(stream, "removed", unread=before + 1)
        expect_equal([_first(probe)], event.get("ids"), "the ids")
    expect_equal([1], probe.numbers_in(probe.feed()), "in the feed")
    probe.resume(cursor, [1])


def _first(probe: Probe) -> str:
    return str(probe.message(0)["id"])


def _change(probe: Probe, path: str, *, unread: int, **wish: Any) -> None:
    answer = probe.ask("POST", path, "feed", json={"ids": [_first(probe)], **wish})
    expect_status(answer, 200)
    expect_equal(unread, json_object(answer).get("unread"), "unread")


def _heard(stream: Stream, event: str, *, unread: int) -> dict[str, Any]:
    """The event's data. Raises `FailedError` unless it comes, without an id and with the new count."""
    block = stream.wait_for(event)
    expect("id" not in block.fields, f"{event!r} without an id", block.lines)
    data: dict[str, Any] = json.loads(block.data)
    expect_equal(unread, data.get("unread"), f"unread in {event!r}")
    return data
