"""When history is gone, the server tells the client, and never skips messages silently."""

from __future__ import annotations

import re
from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import SkippedError, expect_problem, expect_sequence
from .stream import expect_cursor

GROUP: Final = Group("reset")
PAIR: Final = re.compile(r"([0-9A-Za-z]{1,16})\.(\d{1,15})")
AHEAD: Final = 1_000_000
MALFORMED: Final = ("nonsense", "a.b", "abc123.-1", "abc123.01", "abc123.1-abc123.2", "abc123.1,x", "x" * 129)


@GROUP.check("feed", "publish")
def foreign_epoch(probe: Probe) -> None:
    """A cursor of a history that is gone brings a reset, and the stream goes on from now."""
    _expect_reset(probe, _with_first(_cursor(probe), "gone00", 1))


@GROUP.check("feed", "publish")
def offset_ahead(probe: Probe) -> None:
    """A cursor ahead of the history, which a restored backup leaves, brings a reset."""
    cursor = _cursor(probe)
    found = PAIR.match(cursor)
    _expect_reset(probe, _with_first(cursor, found[1] if found else "", AHEAD))


@GROUP.check("feed")
def poll(probe: Probe) -> None:
    """A long poll from a history that is gone is told so."""
    cursor = _with_first(_cursor(probe), "gone00", 1)
    expect_problem(probe.ask("GET", "/feed", "feed", params={"after": cursor}), 410, "history_lost")


@GROUP.check("feed")
def malformed(probe: Probe) -> None:
    """What can't be a cursor is refused, for it is no lost history but a fault of the client."""
    for cursor in MALFORMED:
        expect_problem(probe.ask("GET", "/stream", "feed", headers={"Last-Event-ID": cursor}), 400, "bad_cursor")


def _cursor(probe: Probe) -> str:
    with probe.stream() as stream:
        stream.ready()
        return stream.cursor


def _with_first(cursor: str, epoch: str, offset: int) -> str:
    """The cursor with another place in the first log, the user's own. Raises `SkippedError` if it isn't of pairs."""
    if not PAIR.match(cursor):
        raise SkippedError(f"the cursor {cursor!r} is not of epoch.offset pairs")
    return PAIR.sub(f"{epoch}.{offset}", cursor, count=1)


def _expect_reset(probe: Probe, cursor: str) -> None:
    with probe.stream(cursor) as stream:
        expect_cursor(stream.wait_for("reset"))
        probe.send(0)
        stream.wait_for_number(0)
        expect_sequence([0], stream.numbers)
    probe.send(1)
    probe.resume(stream.cursor, [1])
