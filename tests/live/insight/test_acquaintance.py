"""Recipients are noted once in a while, not once per message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gevent.queue import Queue

from app.live.insight.acquaintance import AGAIN_SECONDS, NOTED_MAX, Acquaintance
from app.live.insight.recorder import WRITE_SECONDS
from app.store.insight.directory import Known


class Written:
    """Takes what is written."""

    def __init__(self) -> None:
        self.users: Queue[str] = Queue()
        self.now = 1_000.0

    def write(self, seen: Sequence[Known]) -> None:
        for user, _ in seen:
            self.users.put(user)


def test_each_recipient_is_noted_once_in_a_while() -> None:
    written: Any = Written()
    acquaintance = Acquaintance(written, lambda: written.now)
    for _ in range(3):
        acquaintance.note(["user:alice", "topic:news", "everyone", "user:bob"])
    written.now += AGAIN_SECONDS + 1
    acquaintance.note(["user:alice"])
    assert [written.users.get(timeout=WRITE_SECONDS * 5) for _ in range(3)] == ["alice", "bob", "alice"]
    assert written.users.empty()


def test_what_it_remembers_is_bounded() -> None:
    written: Any = Written()
    acquaintance = Acquaintance(written, lambda: written.now)
    for number in range(3 * NOTED_MAX):
        acquaintance.note([f"user:{number}"])
    assert len(acquaintance._noted) <= NOTED_MAX + 1
