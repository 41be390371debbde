"""The same streams where the socket can't be taken: gunicorn's own gevent worker stands for any other server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Belfry, RedisServer
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def belfry(redis_server: RedisServer) -> Iterator[Belfry]:
    server = Belfry(redis_server.url, {"BELFRY_HEARTBEAT_SECONDS": "0.5"}, options=["--worker-class", "gevent"])
    try:
        yield server.start()
    finally:
        server.destroy()


def test_it_streams_and_resumes(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as stream:
        assert stream.headers["transfer-encoding"] == "chunked"  # else it was parked, and tests nothing
        stream.wait_for("ready")
        belfry.publish({"to": alice, "title": "live"})
        stream.wait_for_messages(1)
    belfry.publish({"to": alice, "title": "missed"})
    with belfry.stream(alice, cursor=stream.cursor) as stream:
        assert [message["title"] for message in stream.wait_for_messages(1)] == ["missed"]


def test_silence_is_broken_by_heartbeats(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        assert [stream.next_event().event for _ in range(3)] == ["heartbeat"] * 3


def test_a_reader_that_stopped_gets_everything_later(belfry: Belfry, alice: str) -> None:
    count = 900
    with belfry.stream(alice, receive_buffer=4_096) as stream:
        stream.wait_for("ready")
        belfry.publish_all([{"to": alice, "data": number, "body": "x" * 10_000} for number in range(count)])
        assert [message["data"] for message in stream.wait_for_messages(count, 60)] == list(range(count))


def test_a_hang_up_is_noticed_with_the_next_heartbeats(belfry: Belfry, alice: str) -> None:
    stream = belfry.stream(alice)
    stream.wait_for("ready")
    stream.close()
    wait_until(lambda: not belfry.is_online(alice))
