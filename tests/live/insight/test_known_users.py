"""Recipients are noted once in a while, not once per message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gevent.queue import Queue

from app.live.insight.recorder import AGAIN_SECONDS, NOTED_MAX, WRITE_SECONDS, KnownUsers
from app.store.insight.directory import KnownUser


class Written:
    """Takes what is written."""

    def __init__(self) -> None:
        self.users: Queue[str] = Queue()
        self.visits: list[bool] = []
        self.now = 1_000.0

    def write(self, seen: Sequence[KnownUser]) -> None:
        for user, _, visited in seen:
            self.visits.append(visited)
            self.users.put(user)


def test_each_recipient_is_noted_once_in_a_while() -> None:
    written: Any = Written()
    known_users = KnownUsers(written, lambda: written.now)
    for _ in range(3):
        known_users.note(["user:alice", "topic:news", "everyone", "user:bob"])
    written.now += AGAIN_SECONDS + 1
    known_users.note(["user:alice"])
    assert [written.users.get(timeout=WRITE_SECONDS * 5) for _ in range(3)] == ["alice", "bob", "alice"]
    assert written.users.empty()


def test_a_visit_is_noted_once_in_a_while_also_after_a_message() -> None:
    written: Any = Written()
    known_users = KnownUsers(written, lambda: written.now)
    known_users.note(["user:alice"])
    for _ in range(3):
        known_users.visit("alice")
    written.now += AGAIN_SECONDS + 1
    known_users.visit("alice")
    assert [written.users.get(timeout=WRITE_SECONDS * 20) for _ in range(3)] == ["alice"] * 3
    assert written.visits == [False, True, True]


def test_what_it_remembers_is_bounded() -> None:
    written: Any = Written()
    known_users = KnownUsers(written, lambda: written.now)
    for number in range(3 * NOTED_MAX):
        known_users.note([f"user:{number}"])
    assert len(known_users._noted) <= NOTED_MAX + 1
