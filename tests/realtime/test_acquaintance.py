"""Recipients are noted once in a while, not once per message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gevent

from app.realtime.acquaintance import AGAIN_SECONDS, NOTED_MAX, Acquaintance
from app.realtime.recorder import WRITE_SECONDS
from app.store.directory import Known


class Written:
    """Takes what is written."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.now = 1_000.0

    def write(self, seen: Sequence[Known]) -> None:
        self.users += [user for user, _ in seen]


def wait_written(written: Written, count: int) -> None:
    with gevent.Timeout(WRITE_SECONDS * 5):
        while len(written.users) < count:
            gevent.sleep(0.01)


def test_each_recipient_is_noted_once_in_a_while() -> None:
    written: Any = Written()
    acquaintance = Acquaintance(written, lambda: written.now)
    for _ in range(3):
        acquaintance.note(["user:alice", "topic:news", "everyone", "user:bob"])
    written.now += AGAIN_SECONDS + 1
    acquaintance.note(["user:alice"])
    wait_written(written, 3)
    assert written.users == ["alice", "bob", "alice"]


def test_what_it_remembers_is_bounded() -> None:
    written: Any = Written()
    acquaintance = Acquaintance(written, lambda: written.now)
    for number in range(3 * NOTED_MAX):
        acquaintance.note([f"user:{number}"])
    assert len(acquaintance._noted) <= NOTED_MAX + 1
