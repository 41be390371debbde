"""A client that is cut off again and again ends up with every message once and in order."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import Belfry

MESSAGES = 2_000
CUTS = 40


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    # Without the regular check of tails, which would hide a gap that the catch-up left.
    return {"BELFRY_HISTORY_LENGTH": str(2 * MESSAGES), "BELFRY_TAIL_CHECK_SECONDS": "300"}


def publish_numbers(belfry: Belfry, target: Mapping[str, str], stop: threading.Event) -> None:
    """0, 1, 2 …, a few at a time, so that history grows while clients read it."""
    for start in range(0, MESSAGES, 5):
        if stop.is_set():
            return
        belfry.publish_all([{**target, "data": number, "body": "x" * 200} for number in range(start, start + 5)])


def read_in_pieces(belfry: Belfry, user: str, cursor: str, topics: list[str], seed: int) -> tuple[list[int], int]:
    """All numbers, read over as many connections as it takes to be cut `CUTS` times; and how many those were."""
    dice = random.Random(seed)
    numbers: list[int] = []
    connections = 0
    while len(numbers) < MESSAGES:
        left = MESSAGES - len(numbers)
        wanted = left if connections >= CUTS else dice.randint(0, 2 * MESSAGES // CUTS)
        with belfry.stream(user, cursor=cursor, topics=topics, read_size=dice.randint(50, 5_000)) as stream:
            connections += 1
            stream.wait_for("ready")
            stream.wait_for_messages(min(wanted, left), 20)
            numbers += [message["data"] for message in stream.messages]
            cursor = stream.cursor
            assert "reset" not in {event.event for event in stream.events}
            if dice.random() < 0.5:
                stream.reset()
    return numbers, connections


@pytest.mark.parametrize("seed", [1, 2])
def test_a_client_that_is_cut_at_random_sees_each_message_once_and_in_order(
    belfry: Belfry, alice: str, seed: int
) -> None:
    with belfry.stream(alice) as stream:
        cursor = stream.next_event().id
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(publish_numbers, belfry, {"to": alice}, stop)
        try:
            numbers, connections = read_in_pieces(belfry, alice, cursor, [], seed)
        finally:
            stop.set()
        publishing.result()
    assert connections > CUTS // 2
    assert numbers == list(range(MESSAGES))


def test_several_clients_of_one_topic_are_cut_without_disturbing_each_other(belfry: Belfry, topic: str) -> None:
    users = [f"{topic}-reader-{number}" for number in range(4)]
    cursors = {}
    for user in users:
        with belfry.stream(user, topics=[topic]) as stream:
            cursors[user] = stream.next_event().id
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(publish_numbers, belfry, {"topic": topic}, stop)
        try:
            readings = [
                pool.submit(read_in_pieces, belfry, user, cursors[user], [topic], seed)
                for seed, user in enumerate(users)
            ]
            for reading in readings:
                assert reading.result()[0] == list(range(MESSAGES))
        finally:
            stop.set()
        publishing.result()
