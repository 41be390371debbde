"""A crowd at one topic, which is written to in joined pieces: each reader gets everything once and in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from app.live.delivery.fan_out import WIDE
from tests.servers import Belfry
from tests.stream_client import StreamClient
from tests.system.conftest import StartBelfry

READERS = WIDE + 44
MESSAGES = 400
SECONDS = 60.0


@contextmanager
def crowd(belfry: Belfry, topic: str) -> Iterator[list[StreamClient]]:
    with ExitStack() as stack:
        streams = [stack.enter_context(belfry.stream(f"{topic}-{at}", topics=[topic])) for at in range(READERS)]
        for stream in streams:
            stream.wait_for("ready")
        yield streams


def numbers(stream: StreamClient) -> list[int]:
    return [message["data"] for message in stream.messages]


def test_a_crowd_gets_what_is_kept_and_what_is_not_in_the_order_of_publishing(belfry: Belfry, topic: str) -> None:
    with crowd(belfry, topic) as streams:
        belfry.publish_all([{"topic": topic, "data": n, "transient": n % 3 == 0} for n in range(MESSAGES)])
        for stream in streams:
            stream.wait_for_messages(MESSAGES, SECONDS)
            assert numbers(stream) == list(range(MESSAGES))


def test_a_crowd_hears_of_a_retraction_after_the_message(belfry: Belfry, topic: str) -> None:
    last = f"{topic}:49"
    with crowd(belfry, topic) as streams:
        belfry.publish_all([{"topic": topic, "id": f"{topic}:{n}"} for n in range(50)])
        assert belfry.publisher.delete(f"/messages/{last}").status_code == 200
        for stream in streams:
            stream.wait_for("removed", SECONDS)
            said = [event.event for event in stream.events if last in event.data]
            assert said in (["message", "removed"], ["removed"]), "at most who reads history does without the message"


def test_a_worker_that_goes_amid_a_fan_out_leaves_each_of_a_crowd_where_it_goes_on(
    start_belfry: StartBelfry, topic: str
) -> None:
    belfry = start_belfry()
    with crowd(belfry, topic) as streams:
        belfry.publish_all([{"topic": topic, "data": n} for n in range(MESSAGES)])
        belfry.signal(signal.SIGHUP)
        for at, stream in enumerate(streams):
            told = stream.read_to_end(SECONDS)
            assert [event.event for event in told].count("goodbye") == 1
            with belfry.stream(f"{topic}-{at}", topics=[topic], cursor=stream.cursor) as again:
                again.wait_for_messages(MESSAGES - len(stream.messages), SECONDS)
                assert numbers(stream) + numbers(again) == list(range(MESSAGES))
                assert "reset" not in {event.event for event in again.events}
