"""A published message arrives at its recipients, once and in order, and nowhere else."""

from __future__ import annotations

import threading
from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import SkippedError, expect, expect_equal, expect_problem, expect_sequence

GROUP: Final = Group("delivery")
MESSAGES: Final = 12
TRAFFIC: Final = 36
PER_CONNECTION: Final = 7


@GROUP.check("feed", "publish")
def order(probe: Probe) -> None:
    """Messages arrive once and in the order in which they were taken."""
    with probe.stream() as stream:
        stream.ready()
        for number in range(MESSAGES):
            probe.send(number)
        stream.expect_numbers(range(MESSAGES))


@GROUP.check("feed", "publish")
def batch_order(probe: Probe) -> None:
    """A batch arrives once and in its own order."""
    with probe.stream() as stream:
        stream.ready()
        probe.send_all(range(MESSAGES))
        stream.expect_numbers(range(MESSAGES))


@GROUP.check("feed", "publish")
def offsets(probe: Probe) -> None:
    """Each receipt names a higher offset than the one before."""
    got = [probe.send(number)["offset"] for number in range(3)]
    expect(got[0] < got[1] < got[2], "growing offsets", got)


@GROUP.check("feed", "publish")
def all_connections(probe: Probe) -> None:
    """All connections of a user get every message."""
    with probe.stream() as first, probe.stream() as second:
        first.ready()
        second.ready()
        probe.send_all(range(3))
        for stream in (first, second):
            stream.expect_numbers(range(3))


@GROUP.check("feed", "publish")
def reconnecting(probe: Probe) -> None:
    """A client that comes and goes during traffic gets everything once and in order."""
    numbers: list[int] = []
    with probe.stream() as stream:
        cursor = stream.wait_for("ready").id
    publishing = threading.Thread(target=probe.send_each, args=(range(TRAFFIC),))
    publishing.start()
    try:
        while len(numbers) < TRAFFIC:
            with probe.stream(cursor) as stream:
                stream.wait_for_number(min(len(numbers) + PER_CONNECTION, TRAFFIC) - 1)
                stream.expect_no_reset()
                numbers += stream.numbers
                cursor = stream.cursor
    finally:
        publishing.join()
    expect_sequence(range(TRAFFIC), numbers)


@GROUP.check("feed", "publish")
def transient(probe: Probe) -> None:
    """A transient message is live only: it has no place in the feed, and moves no cursor."""
    with probe.stream() as stream:
        stream.ready()
        offset = probe.send(0, transient=True)["offset"]
        block = stream.wait_for_number(0)
    expect_equal(None, offset, "offset")
    expect("id" not in block.fields, "no id", block.lines)
    expect_equal([], probe.numbers_in(probe.feed()), "in the feed")


@GROUP.check("feed", "publish")
def isolation(probe: Probe) -> None:
    """Nobody gets another user's messages, live or later."""
    other = probe.credentials.user()
    probe.credentials.sign(other, "feed")  # with given tokens there is one user only
    with probe.stream() as stream:
        stream.ready()
        probe.send(0, to=other)
        probe.send(1)
        stream.expect_numbers([1])
    expect_equal([1], probe.numbers_in(probe.feed()), "in the feed")


@GROUP.check("publish")
def topics(probe: Probe) -> None:
    """A topic reaches those whose token grants it, and nobody else may ask for it."""
    topic = probe.prefix.rstrip(".")
    token = probe.credentials.sign(probe.user, "feed", topics=[topic])
    with probe.stream(token=token, params={"topics": topic}) as stream:
        stream.ready()
        probe.send(0, to=None, topic=topic)
        stream.wait_for_number(0)
    refused = probe.ask("GET", "/stream", "feed", params={"topics": topic})
    expect_problem(refused, 403, "topic_forbidden")


@GROUP.check("feed", "publish")
def online(probe: Probe) -> None:
    """The receipt tells whether the user is connected."""
    if not probe.credentials.separate:
        raise SkippedError("needs the secret: the user of a given token may be connected elsewhere")
    before = probe.send(0)["online"]
    with probe.stream() as stream:
        stream.ready()
        during = probe.send(1)["online"]
    expect_equal((False, True), (before, during), "online before and during a connection")
