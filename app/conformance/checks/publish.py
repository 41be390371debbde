"""The messages that a publisher may send, and the refusals of all others."""

from __future__ import annotations

import json
from typing import Any, Final

from ..check import Group
from ..probe import Probe
from ..verdict import (
    SkippedError,
    expect,
    expect_equal,
    expect_problem,
    expect_status,
    json_object,
)

GROUP: Final = Group("publish")
TOO_LARGE_BYTES: Final = 131_072  # twice the default limit, and below nginx' own of 1 MiB
REFUSED: Final[tuple[tuple[int, str, dict[str, Any]], ...]] = (
    (422, "missing_target", {"to": None}),
    (422, "ambiguous_target", {"topic": "news"}),
    (422, "empty_recipients", {"to": []}),
    (422, "bad_user_id", {"to": "with space"}),
    (422, "bad_message_id", {"id": "with space"}),
    (422, "bad_event", {"event": "two\nlines"}),
    (422, "reserved_event", {"event": "goodbye"}),
    (422, "bad_ttl", {"ttl": 0}),
    (422, "bad_url", {"url": "javascript:alert(1)"}),
    (422, "unknown_field", {"colour": "red"}),
)


@GROUP.check("publish")
def receipt(probe: Probe) -> None:
    """A receipt repeats the id and names each recipient."""
    answer = probe.publish(probe.message(0))
    expect_status(answer, 201)
    receipt = json_object(answer)
    expect_equal(probe.message(0)["id"], receipt.get("id"), "the id")
    expect_equal([probe.user], [each.get("to") for each in receipt["deliveries"]], "the recipients")


@GROUP.check("publish")
def refused(probe: Probe) -> None:
    """A message that can't be sent is refused by a code that names the reason."""
    for status, code, fields in REFUSED:
        message = {name: value for name, value in probe.message(0, **fields).items() if value is not None}
        expect_problem(probe.ask("POST", "/publish", "publish", json=message), status, code)


@GROUP.check("publish")
def not_json(probe: Probe) -> None:
    """What is no JSON, or doesn't say so, is refused as such."""
    headers = {"Content-Type": "application/json"}
    expect_problem(probe.ask("POST", "/publish", "publish", data=b'{"to"', headers=headers), 400, "malformed_json")
    headers = {"Content-Type": "text/plain"}
    answer = probe.ask("POST", "/publish", "publish", data=b"{}", headers=headers)
    expect_problem(answer, 415, "unsupported_media_type")


@GROUP.check("publish")
def too_large(probe: Probe) -> None:
    """A message that is too large is refused by the server itself, with a code."""
    answer = probe.publish(probe.message(0, body="x" * TOO_LARGE_BYTES))
    if answer.status_code == 201:
        raise SkippedError(f"messages of {TOO_LARGE_BYTES} bytes are allowed here")
    expect_problem(answer, 413, "body_too_large")


@GROUP.check("feed", "publish")
def bad_line(probe: Probe) -> None:
    """A bad line of a batch costs only itself, and each result stands in its line's place."""
    lines = [
        json.dumps(probe.message(0)),
        "{not json",
        json.dumps({**probe.message(1), "event": "ready"}),
        json.dumps(probe.message(2)),
    ]
    with probe.stream() as stream:
        stream.ready()
        results = probe.batch(lines)
        expect_equal([201, 400, 422, 201], [result.get("status") for result in results], "the statuses")
        expect_equal(["malformed_json", "reserved_event"], [result.get("code") for result in results[1:3]], "the codes")
        ids = [results[0].get("id"), results[3].get("id")]
        expect(ids == [probe.message(0)["id"], probe.message(2)["id"]], "each result in its line's place", ids)
        stream.expect_numbers([0, 2])
