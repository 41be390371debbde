"""Whoever hangs up is forgotten at once, and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.transport.auto_pipeline import CONNECTIONS
from tests.servers import HOST, Belfry, RedisServer, frozen, open_descriptors
from tests.stream_client import StreamClient
from tests.waiting import wait_until

CYCLES = 1_000  # many more than the connections to Redis, of which a worker opens a further one when it needs it
AT_ONCE_SECONDS = 5.0  # before the next heartbeat, which would notice it too
KEEPALIVE_TIMER = "02"


@pytest.mark.parametrize("hang_up", [StreamClient.close, StreamClient.reset], ids=["FIN", "RST"])
def test_a_hang_up_is_noticed_at_once(belfry: Belfry, alice: str, hang_up: Callable[[StreamClient], None]) -> None:
    stream = belfry.stream(alice)
    stream.wait_for("ready")
    assert belfry.is_online(alice)
    hang_up(stream)
    wait_until(lambda: not belfry.is_online(alice), AT_ONCE_SECONDS)


def test_who_vanishes_without_a_word_is_asked_for_by_the_kernel(belfry: Belfry, alice: str) -> None:
    """By keep-alive, which the connection has from its listener: its timer runs (proc(5), /proc/net/tcp: `tr`)."""
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        wait_until(lambda: timer(belfry.port, stream.port) == KEEPALIVE_TIMER)


def timer(port: int, peer: int) -> str:
    """Which one runs for the connection from `peer` to `port`, "" where there is none."""
    ends = [f"0100007F:{number:04X}" for number in (port, peer)]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()]
    return next((fields[5].partition(":")[0] for fields in lines if fields[1:3] == ends), "")


def test_who_gives_up_before_being_let_in_opens_nothing(belfry: Belfry, redis_server: RedisServer, alice: str) -> None:
    request = f"GET /stream HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {belfry.token(alice, 'feed')}\r\n\r\n"
    with belfry.stream(f"{alice}-before") as stream:
        stream.wait_for("ready")
    with frozen(belfry.worker()):
        for _ in range(5):
            with socket.create_connection((HOST, belfry.port)) as impatient:
                impatient.sendall(request.encode())
    with belfry.stream(f"{alice}-after") as stream:  # let in after those who came before
        stream.wait_for("ready")
    with redis_server.client() as client:
        wait_until(lambda: list(client.scan_iter(f"*user:{alice}-after}}:*")), what="the events of the one who stayed")
        assert not list(client.scan_iter(f"*user:{alice}}}:*"))


def test_another_connection_of_the_user_keeps_him_online(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as first, belfry.stream(alice) as second:
        first.wait_for("ready"), second.wait_for("ready")
        first.close()
        belfry.publish({"to": alice, "title": "still there"})
        assert second.wait_for_messages(1)[0]["title"] == "still there"
        assert belfry.is_online(alice)


def further(redis_server: RedisServer, before: Sequence[str]) -> set[str]:
    """The channels that were not open before. One that was may have been about to close."""
    return set(redis_server.open_channels()) - set(before)


def test_a_thousand_connections_leave_no_descriptor_and_no_subscription(
    belfry: Belfry, redis_server: RedisServer, alice: str
) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
    wait_until(lambda: not belfry.is_online(alice), AT_ONCE_SECONDS)
    channels, descriptors = redis_server.open_channels(), open_descriptors(belfry.worker())
    for number in range(CYCLES):
        stream = belfry.stream(f"{alice}-{number % 100}")
        if number % 3:
            stream.wait_for("ready")
        if number % 2:
            stream.reset()
        else:
            stream.close()
    wait_until(lambda: not further(redis_server, channels), AT_ONCE_SECONDS, what="the subscriptions to end")
    wait_until(
        lambda: open_descriptors(belfry.worker()) <= descriptors + CONNECTIONS,
        AT_ONCE_SECONDS,
        what="the sockets to close",
    )


def test_connections_that_are_open_at_the_same_time_leave_nothing_either(
    belfry: Belfry, redis_server: RedisServer, alice: str
) -> None:
    channels, descriptors = redis_server.open_channels(), open_descriptors(belfry.worker())
    streams = [belfry.stream(f"{alice}-{number}") for number in range(200)]
    for stream in streams:
        stream.wait_for("ready")
    assert len(redis_server.open_channels()) >= len(streams)
    assert open_descriptors(belfry.worker()) >= len(streams)
    for stream in streams:
        stream.close()
    wait_until(lambda: not further(redis_server, channels), AT_ONCE_SECONDS, what="the subscriptions to end")
    wait_until(
        lambda: open_descriptors(belfry.worker()) <= descriptors + CONNECTIONS,
        AT_ONCE_SECONDS,
        what="the sockets to close",
    )
