"""A message id is an idempotency key: a retry after a timeout never doubles anything."""

from __future__ import annotations

import json
from typing import Final

from ..check import Group
from ..probe import Probe, delivery
from ..verdict import (
    expect,
    expect_equal,
    expect_problem,
    expect_status,
    json_object,
)

GROUP: Final = Group("dedup")


@GROUP.check("feed", "publish")
def same_again(probe: Probe) -> None:
    """The same id with the same content is answered as before, as a duplicate, and sent once."""
    with probe.stream() as stream:
        stream.ready()
        first = probe.send(0)
        answer = probe.publish(probe.message(0))
        expect_status(answer, 200)
        again = delivery(json_object(answer))
        expect(again.get("duplicate") is True, "duplicate: true", again)
        expect_equal(first["offset"], again["offset"], "the first offset")
        probe.send(1)
        stream.expect_numbers([0, 1])


@GROUP.check("feed", "publish")
def other_content(probe: Probe) -> None:
    """The same id with other content is refused, and the first message stays as it is."""
    with probe.stream() as stream:
        stream.ready()
        probe.send(0)
        expect_problem(probe.publish({**probe.message(0), "title": "Something else"}), 409, "id_reused")
        probe.send(1)
        stream.expect_numbers([0, 1])


@GROUP.check("feed", "publish")
def batch_again(probe: Probe) -> None:
    """A batch that is sent again, in part or as a whole, doubles nothing."""
    lines = [json.dumps(probe.message(number)) for number in (0, 1, 0)]
    with probe.stream() as stream:
        stream.ready()
        statuses = [result["status"] for result in probe.batch(lines) + probe.batch(lines)]
        expect_equal([201, 201, 200, 200, 200, 200], statuses, "the statuses")
        probe.send(2)
        stream.expect_numbers([0, 1, 2])
