"""Behind nginx with nothing but `proxy_pass`: it buffers everything by default, so the server must tell it not to."""

from __future__ import annotations

import time

from tests.servers import Belfry, Nginx
from tests.waiting import wait_until

FIRST_BYTES_SECONDS = 0.02  # a proxy that collects bytes first would delay every try
FIRST_BYTES_TRIES = 50
DELIVERY_SECONDS = 5.0  # a proxy that holds it back would do so until the next heartbeat, 15 s later, or for good
AT_ONCE_SECONDS = 5.0  # before the next heartbeat


def test_the_first_block_passes_at_once(belfry: Belfry, nginx: Nginx, alice: str) -> None:
    belfry.stream(alice, port=nginx.port).close()  # the first connection of a worker also opens the log
    delays: list[float] = []
    while not delays or min(delays) > FIRST_BYTES_SECONDS:
        assert len(delays) < FIRST_BYTES_TRIES, delays
        started = time.monotonic()
        with belfry.stream(alice, port=nginx.port) as stream:
            assert stream.next_event().event == "ready"
        delays.append(time.monotonic() - started)


def test_each_message_passes_at_once(belfry: Belfry, nginx: Nginx, alice: str) -> None:
    with belfry.stream(alice, port=nginx.port) as stream:
        stream.wait_for("ready")
        for number in range(10):
            belfry.publish({"to": alice, "data": number})
            stream.wait_for_messages(number + 1, DELIVERY_SECONDS)
        assert [message["data"] for message in stream.messages] == list(range(10))


def test_a_gzip_asking_browser_gets_a_plain_stream(belfry: Belfry, nginx: Nginx, alice: str) -> None:
    with belfry.stream(alice, port=nginx.port, headers={"Accept-Encoding": "gzip, br"}) as stream:
        assert "content-encoding" not in stream.headers
        assert stream.next_event().event == "ready"


def test_it_resumes_through_the_proxy(belfry: Belfry, nginx: Nginx, alice: str) -> None:
    with belfry.stream(alice, port=nginx.port) as stream:
        stream.wait_for("ready")
    belfry.publish({"to": alice, "title": "missed"})
    with belfry.stream(alice, port=nginx.port, cursor=stream.cursor) as stream:
        assert stream.wait_for_messages(1)[0]["title"] == "missed"


def test_a_hang_up_behind_the_proxy_is_noticed(belfry: Belfry, nginx: Nginx, alice: str) -> None:
    stream = belfry.stream(alice, port=nginx.port)
    stream.wait_for("ready")
    assert belfry.is_online(alice)
    stream.close()
    wait_until(lambda: not belfry.is_online(alice), AT_ONCE_SECONDS)
