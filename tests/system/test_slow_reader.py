"""A reader that doesn't read costs the worker next to nothing, delays nobody and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise

import pytest

from tests.servers import Belfry, resident_bytes
from tests.stream_client import StreamClient, StreamEndedError
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

MESSAGES = 2_000
BODY = "x" * 4_000  # 8 MB in all: more than the kernel buffers for a connection
SLOW_READERS = 10
MEMORY_LIMIT = 24 * 1024 * 1024  # with unbounded queues the slow readers would hold 80 MB
DELAY_SECONDS = 2.0
ROUNDS = 3  # a machine that has other things to do is not late in each


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_HISTORY_LENGTH": "10000", "BELFRY_WRITE_TIMEOUT_SECONDS": "600"}


def numbers(stream: StreamClient) -> list[int]:
    return [message["data"] for message in stream.messages if "data" in message]


def publish_and_read(belfry: Belfry, topic: str, reader: StreamClient) -> float:
    """Publish everything in batches, each read before the next; answers the longest time that a batch took."""
    slowest, before = 0.0, len(reader.messages)
    for start in range(0, MESSAGES, 100):
        started = time.monotonic()
        belfry.publish_all([{"topic": topic, "data": start + n, "body": BODY} for n in range(100)])
        reader.wait_for_messages(before + start + 100, 60)
        slowest = max(slowest, time.monotonic() - started)
    return slowest


@pytest.mark.alone  # measures memory and delay
def test_readers_that_stop_are_bounded_in_memory_delay_nobody_and_get_everything_later(
    belfry: Belfry, topic: str, alice: str, bob: str
) -> None:
    with belfry.stream(alice, topics=[topic]) as reader:
        reader.wait_for("ready")
        publish_and_read(belfry, topic, reader)  # warms the worker up with the same work
        stopped = [belfry.stream(f"{bob}-{n}", topics=[topic], receive_buffer=4_096) for n in range(SLOW_READERS)]
        for stream in stopped:
            stream.wait_for("ready")
        before = resident_bytes(belfry.worker())
        slowest: list[float] = []
        while not slowest or min(slowest) >= DELAY_SECONDS:
            assert len(slowest) < ROUNDS, slowest
            slowest.append(publish_and_read(belfry, topic, reader))
            assert resident_bytes(belfry.worker()) - before < MEMORY_LIMIT
    for stream in stopped:
        stream.wait_for_messages(MESSAGES * len(slowest), 60)
        assert numbers(stream) == list(range(MESSAGES)) * len(slowest)
        assert "reset" not in {event.event for event in stream.events}
        stream.close()


def rest_of(belfry: Belfry, user: str, cursor: str, count: int) -> list[int]:
    """Read so many numbers. A test that the machine stops for the write timeout is cut off and comes again."""
    got: list[int] = []
    while len(got) < count:
        with belfry.stream(user, cursor=cursor) as stream:
            with suppress(StreamEndedError):
                stream.wait_for_messages(count - len(got), 60)
            got += numbers(stream)
            cursor = stream.cursor or cursor
    return got


def test_a_reader_that_takes_nothing_for_the_write_timeout_is_cut_off(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(BELFRY_WRITE_TIMEOUT_SECONDS="1", BELFRY_HISTORY_LENGTH="10000")
    with belfry.stream(alice, receive_buffer=4_096) as stream:
        stream.wait_for("ready")
        belfry.publish_all([{"to": alice, "data": n, "body": BODY} for n in range(MESSAGES)])
        wait_until(lambda: not belfry.is_online(alice), 60, what="the connection to be given up")
        stream.read_to_end()
        before = numbers(stream)
        assert len(before) < MESSAGES
    assert before + rest_of(belfry, alice, stream.cursor, MESSAGES - len(before)) == list(range(MESSAGES))


def test_a_reader_that_takes_a_little_is_not_cut_off(start_belfry: StartBelfry, alice: str) -> None:
    """One round has to do: the machine may stop the test or the worker for the write timeout."""
    belfry = start_belfry(BELFRY_WRITE_TIMEOUT_SECONDS="5", BELFRY_HISTORY_LENGTH="10000")
    assert any(stays(belfry, f"{alice}-{number}") for number in range(ROUNDS))


def stays(belfry: Belfry, user: str) -> bool:
    """Whether a reader that takes a little is connected after more than the write timeout."""
    # A window smaller than loopback's segments of 64 KB would be served by the kernel's probe timer alone.
    with belfry.stream(user, receive_buffer=131_072, read_size=2_000) as stream:
        stream.wait_for("ready")
        belfry.publish_all([{"to": user, "data": n, "body": BODY} for n in range(MESSAGES)])
        enough = time.monotonic() + 7
        wait_until(lambda: not stream.read_some() or time.monotonic() > enough, 60)
        assert len(stream.messages) < MESSAGES
        return belfry.is_online(user)


def test_a_reader_whose_history_went_on_without_it_is_told(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(BELFRY_WRITE_TIMEOUT_SECONDS="60", BELFRY_HISTORY_LENGTH="50")
    with belfry.stream(alice, receive_buffer=4_096) as stream:
        stream.wait_for("ready")
        for start in range(0, MESSAGES, 100):
            belfry.publish_all([{"to": alice, "data": start + n, "body": BODY} for n in range(100)])
        stream.wait_for("reset", 60)
        belfry.publish({"to": alice, "data": MESSAGES})
        stream.wait_for(lambda event: event.data.endswith(f'"data":{MESSAGES}}}'), 60)
        got, kinds = numbers(stream), [event.event for event in stream.events]
        assert got == sorted(set(got))
        jumps = sum(later != earlier + 1 for earlier, later in pairwise(got))
        assert 1 <= jumps <= kinds.count("reset")
