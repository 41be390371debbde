"""Two workers share nothing but Redis: whichever takes a message, the streams of both get it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from bench.process import memory_kb
from tests.servers import START_SECONDS, Belfry, frozen
from tests.stream_client import StreamClient
from tests.waiting import wait_until

STREAMS_EACH = 5


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2"}


def open_on_both_workers(belfry: Belfry, user: str, stack: ExitStack) -> list[StreamClient]:
    """Some on each, opened while the other is stopped: who is quicker at the door would be a matter of luck."""
    wait_until(belfry.all_serve, START_SECONDS, what="both workers to serve")
    workers = belfry.workers()
    assert len(workers) == 2
    streams: list[StreamClient] = []
    for other in workers:
        with frozen(other):
            for _ in range(STREAMS_EACH):
                streams.append(stack.enter_context(belfry.stream(user)))
                streams[-1].wait_for("ready")
    return streams


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
