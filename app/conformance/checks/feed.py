"""The feed: history by pages, and the long poll for clients behind a proxy that buffers."""

from __future__ import annotations

import time
from threading import Timer
from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import expect, expect_equal, expect_header, expect_sequence

GROUP: Final = Group("feed")
PAGE: Final = 3
PUBLISH_AFTER_SECONDS: Final = 0.2
SHORT_WAIT_SECONDS: Final = 1
LONG_WAIT_SECONDS: Final = 20


@GROUP.check("feed", "publish")
def pages(probe: Probe) -> None:
    """Pages lead back through history, newest first, without a gap or an overlap."""
    probe.send_all(range(2 * PAGE + 1))
    page = probe.feed(limit=PAGE)
    found = probe.numbers_in(page)
    for _ in range(2):
        page = probe.feed(limit=PAGE, before=page["next"])
        found += probe.numbers_in(page)
    expect_sequence(range(2 * PAGE, -1, -1), found)


@GROUP.check("feed")
def private(probe: Probe) -> None:
    """No cache keeps a user's feed."""
    expect_header(probe.ask("GET", "/feed", "feed").headers, "Cache-Control", "no-store")


@GROUP.check("feed", "publish", doctor=True)
def long_poll(probe: Probe) -> str:
    """A long poll ends as soon as a message comes, and the next one goes on after it."""
    cursor = probe.feed()["cursor"]
    probe.token("publish")
    publishing = Timer(PUBLISH_AFTER_SECONDS, probe.send_each, ([0],))
    publishing.start()
    started = time.monotonic()
    page = probe.get("/feed", "feed", seconds=LONG_WAIT_SECONDS, after=cursor, wait=LONG_WAIT_SECONDS)
    took = time.monotonic() - started
    publishing.join()
    expect_equal([0], probe.numbers_in(page), "the messages")
    expect(took < probe.options.patience + PUBLISH_AFTER_SECONDS, "an answer when the message came", f"{took:.1f} s")
    probe.send(1)
    expect_equal([1], probe.numbers_in(probe.feed(after=page["cursor"], wait=1)), "the messages after it")
    return f"{(took - PUBLISH_AFTER_SECONDS) * 1_000:.0f} ms"


@GROUP.check("feed")
def poll_waits(probe: Probe) -> None:
    """A long poll waits as long as it was asked to when nothing comes."""
    cursor = probe.feed()["cursor"]
    started = time.monotonic()
    probe.feed(after=cursor, wait=SHORT_WAIT_SECONDS)
    took = time.monotonic() - started
    if probe.credentials.separate:  # else somebody may have written to the same user
        expect(took >= 0.9 * SHORT_WAIT_SECONDS, f"{SHORT_WAIT_SECONDS} s", f"{took:.2f} s")


@GROUP.check("feed", "publish")
def keys(probe: Probe) -> None:
    """A later message with the same key takes the earlier one's place."""
    key = f"{probe.prefix}key"
    probe.send(0, key=key)
    probe.send(1, key=key)
    expect_equal([1], probe.numbers_in(probe.feed()), "in the feed")
