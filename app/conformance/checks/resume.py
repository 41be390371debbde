"""A client that reconnects continues exactly where it stopped."""

from __future__ import annotations

from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import expect_sequence

GROUP: Final = Group("resume")


@GROUP.check("feed", "publish")
def header(probe: Probe) -> None:
    """Last-Event-ID brings what was missed, once and in order, and then what is new."""
    with probe.stream() as stream:
        stream.ready()
        probe.send(0)
        stream.wait_for_number(0)
    probe.send_all([1, 2, 3])
    with probe.stream(stream.cursor) as again:
        again.wait_for_number(3)
        probe.send(4)
        again.expect_numbers([1, 2, 3, 4])


@GROUP.check("feed", "publish")
def query(probe: Probe) -> None:
    """`?last_event_id=` does the same, for a new EventSource can send no header."""
    with probe.stream() as stream:
        stream.ready()
    probe.send_all([0, 1])
    probe.resume("", [0, 1], params={"last_event_id": stream.cursor})


@GROUP.check("feed", "publish")
def every_id(probe: Probe) -> None:
    """Every id is a place to go on from."""
    with probe.stream() as stream:
        stream.ready()
        probe.send_all(range(4))
        stream.wait_for_number(3)
    cursors = [block.id for block in (stream.blocks[0], *stream.messages)]
    for number, cursor in enumerate(cursors[:-1]):
        probe.resume(cursor, range(number, 4))


@GROUP.check("feed", "publish")
def up_to_date(probe: Probe) -> None:
    """Who missed nothing gets nothing again."""
    with probe.stream() as stream:
        stream.ready()
        probe.send(0)
        stream.wait_for_number(0)
    with probe.stream(stream.cursor) as again:
        again.ready()
        probe.send(1)
        again.expect_numbers([1])


@GROUP.check("feed", "publish")
def feed_cursor(probe: Probe) -> None:
    """A stream that opens with the feed's cursor misses nothing."""
    probe.send(0)
    page = probe.feed()
    probe.send(1)
    expect_sequence([0], probe.numbers_in(page))
    probe.resume(page["cursor"], [1])
