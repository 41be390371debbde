"""The form of the stream, and whether a proxy delays it."""

from __future__ import annotations

import json
import re
import time
from typing import Final

from ..blocks import Block
from ..check import Group
from ..probe import Probe
from ..verdict import (
    SkippedError,
    expect,
    expect_equal,
    expect_header,
    expect_status,
)

GROUP: Final = Group("stream")
CURSOR: Final = re.compile(r"[0-9A-Za-z._-]{1,128}")  # safe in a CORS-safelisted request header
ONE_BY_ONE: Final = 5
SPECIAL: Final = "one\ntwo\r\nthree\rfour\u2028five\u0085six\x0bseven …"


@GROUP.check("feed", doctor=True)
def headers(probe: Probe) -> None:
    """Nobody on the way may keep the stream, change it or guess at it."""
    with probe.stream() as stream:
        expect_header(stream.headers, "Cache-Control", "no-cache", "no-transform")
        expect_header(stream.headers, "X-Content-Type-Options", "nosniff")


@GROUP.check("feed", doctor=True)
def accel_buffering(probe: Probe) -> None:
    """nginx and its kin are told not to buffer."""
    with probe.stream() as stream:
        if "X-Accel-Buffering" not in stream.headers and "nginx" in stream.headers.get("Server", ""):
            raise SkippedError("nginx keeps X-Accel-Buffering to itself; stream.at-once tells whether it obeys")
        expect_header(stream.headers, "X-Accel-Buffering", "no")


@GROUP.check("feed", doctor=True)
def uncompressed(probe: Probe) -> None:
    """A stream is not compressed, for compressing means waiting for more."""
    with probe.stream(headers={"Accept-Encoding": "gzip"}) as stream:
        expect("Content-Encoding" not in stream.headers, "no Content-Encoding", stream.headers.get("Content-Encoding"))


@GROUP.check("feed", doctor=True)
def first_block(probe: Probe) -> None:
    """The first block has a delay, a cursor, the user and the unread count."""
    with probe.stream() as stream:
        data = stream.ready()
        block = stream.blocks[0]
        expect_equal("ready", block.type, "the first event to be")
        expect(block.event and block.event.retry, "a retry in ms in the first block", block.lines)
        expect_cursor(block)
        expect_equal(probe.user, data.get("user"), "as user")
        for name in ("unread", "revision"):
            expect(isinstance(data.get(name), int), f"a whole number {name!r} in ready", data)


@GROUP.check("feed", doctor=True)
def first_bytes(probe: Probe) -> str:
    """The first block comes at once."""
    started = time.monotonic()
    with probe.stream() as stream:
        stream.ready()
    return f"{(time.monotonic() - started) * 1_000:.0f} ms"


@GROUP.check("feed", "publish", doctor=True)
def at_once(probe: Probe) -> str:
    """Each message comes before the next one is sent: nothing on the way buffers."""
    delays = []
    with probe.stream() as stream:
        stream.ready()
        for number in range(ONE_BY_ONE):
            started = time.monotonic()
            probe.send(number)
            stream.wait_for_number(number)
            delays.append(time.monotonic() - started)
    return f"{sorted(delays)[len(delays) // 2] * 1_000:.0f} ms with the publishing"


@GROUP.check("feed", "publish")
def ids(probe: Probe) -> None:
    """Each message has a cursor of its own as id, and is one line of JSON."""
    with probe.stream() as stream:
        stream.ready()
        for number in range(3):
            probe.send(number)
        stream.wait_for_number(2)
        cursors = [expect_cursor(block) for block in [stream.blocks[0], *stream.messages]]
        expect_equal(4, len(set(cursors)), "different ids, as many as")
        for block in stream.messages:
            expect_equal(1, block.fields.count("data"), "data lines, as many as")


@GROUP.check("feed", "publish")
def event_types(probe: Probe) -> None:
    """A message goes by its own event type, and a plain one by none."""
    with probe.stream() as stream:
        stream.ready()
        probe.send(0)
        probe.send(1, event="build.done")
        named = stream.wait_for_number(1)
        expect_equal("build.done", named.type, "the event type")
        expect("event" not in stream.messages[0].fields, "no event field", stream.messages[0].lines)


@GROUP.check("feed", "publish")
def line_ends(probe: Probe) -> None:
    """No character in a message ends its line."""
    with probe.stream() as stream:
        stream.ready()
        probe.send(0, body=SPECIAL)
        expect_equal(SPECIAL, json.loads(stream.wait_for_number(0).data)["body"], "the text")


@GROUP.check("feed", doctor=True)
def head(probe: Probe) -> None:
    """HEAD answers without starting a stream."""
    answer = probe.ask("HEAD", "/stream", "feed")
    expect_status(answer, 200)
    expect_header(answer.headers, "Content-Type", "text/event-stream")


@GROUP.check("feed")
def heartbeat(probe: Probe) -> str:
    """A silent stream says so by a named event with data, which page code can see, and without an id."""
    started = time.monotonic()
    with probe.stream(seconds=probe.options.silence) as stream:
        stream.ready()
        block = stream.wait_until(_is_sign_of_life, "a heartbeat", probe.options.silence)
        expect(block.event, "an event with data", "a comment" if block.lines[0].startswith(":") else block.lines)
        expect_equal("heartbeat", block.type, "the event type")
        expect("id" not in block.fields, "a heartbeat without an id", block.lines)
    return f"after {time.monotonic() - started:.0f} s"


def expect_cursor(block: Block) -> str:
    """The block's own id. Raises `FailedError` unless it has one that a client can send back from any page."""
    expect("id" in block.fields, f"an id with the {block.type or 'block'}", block.lines)
    expect(CURSOR.fullmatch(block.id), "an id of 1 to 128 of [0-9A-Za-z._-]", block.id)
    return block.id


def _is_sign_of_life(block: Block) -> bool:
    return block.type == "heartbeat" or block.event is None
