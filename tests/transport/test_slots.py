"""Which primary holds which slot, as told by nodes that may disagree."""

from __future__ import annotations

from typing import Any

import pytest

from app.store.keys import Keys, run_log, topic_log, user_log
from app.transport.slots import SLOTS, SlotMap, View, best, slot_of, view_of

ONE, TWO, THREE = ("10.0.0.1", 7_000), ("10.0.0.2", 7_000), ("10.0.0.3", 7_000)


def view(epoch: int, *owners: tuple[str, int], is_ok: bool = True) -> View:
    return View(dict(enumerate(owners)), epoch, is_ok)


def known(*owners: tuple[str, int], epoch: int = 1) -> SlotMap:
    slots = SlotMap()
    slots.learn(view(epoch, *owners))
    return slots


def test_a_slot_is_that_of_the_hash_tag() -> None:
    assert slot_of("belfry:{user:alice}:log") == slot_of("{user:alice}") == slot_of("user:alice")
    assert slot_of("123456789") == 0x31C3 % SLOTS, "the example of the specification"


@pytest.mark.parametrize("name", [user_log("alice"), topic_log("news"), "everyone", run_log("alice", "r1")])
def test_all_keys_and_the_channel_of_a_log_share_a_slot(name: str) -> None:
    keys = Keys("belfry")
    assert len({slot_of(key) for key in keys.of_append(name, "an-id")}) == 1


def test_everything_of_a_user_shares_a_slot() -> None:
    keys = Keys("belfry")
    own = (
        keys.log(user_log("alice")), keys.log(run_log("alice", "r1")), keys.marks("alice"), keys.flights("alice"),
        keys.runs("alice"), keys.active("alice"), keys.starts("alice"), keys.tokens("alice", "20261130"),
        keys.run_state("alice", "r1"),
    )  # fmt: skip
    assert len({slot_of(key) for key in own}) == 1


INFO = b"cluster_state:ok\r\ncluster_current_epoch:7\r\n"


@pytest.mark.parametrize(
    ("row", "owner"),
    [
        ([0, 1, [b"10.0.0.1", 7_000, b"id", []], [b"10.0.0.9", 7_000, b"replica", []]], ONE),
        ([0, 1, [b"10.0.0.1", 7_000]], ONE),
        ([0, 1, [b"", 7_001, b"id"]], ("asked", 7_001)),
        ([0, 1, [None, 7_001, b"id"]], ("asked", 7_001)),
        ([0, 1, [b"?", 7_001, b"id"]], None),
        ([0, 1, [b"?", 7_001, b"id", []]], None),
        ([0, 1, [b"?", 7_000, b"id", [b"ip", b"10.0.0.1"]]], ONE),
        ([0, 1, [b"?", 7_001, b"id", [b"ip", b""]]], ("asked", 7_001)),
        ([0, 1, [b"one.example", 7_001, b"id", [b"ip", b"10.0.0.1"]]], ("one.example", 7_001)),
    ],
)
def test_a_node_s_view_is_read_and_an_empty_host_is_its_own(row: Any, owner: tuple[str, int] | None) -> None:
    found = view_of([row], INFO, ("asked", 1))
    assert (found.owners.get(0), found.owners.get(1), found.epoch, found.is_ok) == (owner, owner, 7, True)


def test_a_slot_without_an_owner_keeps_the_former_one() -> None:
    slots = known(ONE, TWO)
    slots.learn(View({0: THREE}, 2, is_ok=False))
    assert (slots.owner(0), slots.owner(1), slots.owner(2)) == (THREE, TWO, None)


def test_only_a_change_of_an_owner_is_a_change() -> None:
    slots = known(ONE, TWO)
    assert not slots.learn(view(2, ONE, TWO))
    assert slots.learn(view(3, ONE, ONE))
    assert slots.primaries == [ONE]


def test_a_node_that_knows_less_or_does_not_work_is_not_believed_at_once() -> None:
    slots = known(ONE, TWO, epoch=5)
    assert slots.is_news(view(5, ONE, TWO))
    assert not slots.is_news(view(4, ONE, TWO))
    assert not slots.is_news(view(6, ONE, TWO, is_ok=False))


def test_of_views_that_are_not_believed_at_once_one_that_works_and_is_newer_is_the_best() -> None:
    old, new, broken = view(3, ONE), view(4, ONE), view(9, ONE, is_ok=False)
    assert best([old, broken, new]) is new
    assert best([broken]) is broken
    assert best([]) is None


def test_what_moved_is_believed_until_a_view_says_otherwise() -> None:
    slots = known(ONE, TWO)
    slots.moved(0, THREE)
    assert slots.owner(0) == THREE
    slots.learn(view(2, ONE, TWO))
    assert slots.owner(0) == ONE
