"""Behind nginx with nothing but `proxy_pass`: it buffers everything by default, so the server must tell it not to."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.servers import Belfry, Nginx
from tests.waiting import wait_until

FIRST_BYTES_SECONDS = 0.02  # a proxy that collects bytes first would delay every try
FIRST_BYTES_TRIES = 50
HEARTBEAT_SECONDS = 120  # the first one comes after a fifth of it at the earliest
AT_ONCE_SECONDS = 20.0  # before that. A proxy that holds something back would do so until then, or for good


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS)}


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
            stream.wait_for_messages(number + 1, AT_ONCE_SECONDS)
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
