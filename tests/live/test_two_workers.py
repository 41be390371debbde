"""Two workers share nothing but Redis: whichever takes a message, the streams of both get it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from bench.process import memory_kb
from tests.servers import START_SECONDS, Belfry, open_descriptors
from tests.stream_client import StreamClient
from tests.waiting import wait_until

MAX_STREAMS = 200


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_MAX_CONNECTIONS_PER_USER": str(MAX_STREAMS)}


def open_on_both_workers(belfry: Belfry, user: str, stack: ExitStack) -> list[StreamClient]:
    """The kernel deals out connections, so open some until both workers have one."""
    wait_until(belfry.all_serve, START_SECONDS, what="both workers to serve")
    before = {pid: open_descriptors(pid) for pid in belfry.workers()}
    assert len(before) == 2
    streams: list[StreamClient] = []
    while len(streams) < MAX_STREAMS:
        batch = [stack.enter_context(belfry.stream(user)) for _ in range(5)]
        for stream in batch:
            stream.wait_for("ready")
        streams += batch
        # Each worker opens a few connections to Redis as well.
        if all(open_descriptors(pid) > count + 8 for pid, count in before.items()):
            return streams
    raise AssertionError(f"{MAX_STREAMS} connections all went to one worker")


def test_a_message_reaches_the_streams_of_both_whoever_takes_it(belfry: Belfry, alice: str) -> None:
    with ExitStack() as stack:
        streams = open_on_both_workers(belfry, alice, stack)
        for number in range(40):
            with belfry.api(belfry.token("publisher", "publish")) as api:  # a new connection, so maybe another worker
                assert api.publish({"to": alice, "data": number}).status_code == 201
        for stream in streams:
            assert [message["data"] for message in stream.wait_for_messages(40)] == list(range(40))


def test_a_resume_may_land_on_either(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as stream:
        cursor = stream.next_event().id
    for number in range(20):
        belfry.publish({"to": alice, "data": number})
        with belfry.stream(alice, cursor=cursor) as stream:
            assert [message["data"] for message in stream.wait_for_messages(1)] == [number]
            cursor = stream.cursor


def test_what_they_loaded_they_share_with_their_master_also_after_work(belfry: Belfry, alice: str) -> None:
    with ExitStack() as stack:
        open_on_both_workers(belfry, alice, stack)
        for number in range(200):
            belfry.publish({"to": alice, "data": number})
        shared = [memory_kb([pid], "Shared_Dirty") for pid in belfry.workers()]
    assert all(kilobytes > 20_000 for kilobytes in shared), shared
