"""The command line's client against a real server."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import islice

from app.client import Client
from tests.servers import Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until


def titles(client: Client, cursor: str) -> Iterator[str]:
    return (json.loads(event.data)["title"] for event in client.follow(cursor) if event.event == "message")


def test_a_client_survives_the_death_of_the_worker_and_gets_each_message_once(belfry: Belfry, alice: str) -> None:
    client = Client(belfry.url, lambda: belfry.token(alice, "feed", "publish"))
    received = titles(client, client.feed(1)["cursor"])
    client.publish({"to": alice, "title": "1"})
    assert next(received) == "1"
    dead = belfry.worker()
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: belfry.workers() not in ([], [dead]) and belfry.is_ready(), what="another worker")
    for title in "23":
        client.publish({"to": alice, "title": title})
    assert list(islice(received, 2)) == ["2", "3"]


def test_a_client_that_is_sent_on_comes_back_at_once_and_gets_each_message_once(
    start_belfry: StartBelfry, alice: str
) -> None:
    belfry = start_belfry(BELFRY_STREAM_SECONDS="1", BELFRY_HEARTBEAT_SECONDS="0.5")
    waits: list[float] = []
    client = Client(belfry.url, lambda: belfry.token(alice, "feed", "publish"), waits.append)
    received, connections = [], 0
    for event in client.follow():
        connections += event.event == "ready"
        if event.event == "ready" and connections < 4:
            client.publish({"to": alice, "title": f"{connections}"})
        if event.event == "message":
            received.append(json.loads(event.data)["title"])
        if connections >= 4 and len(received) >= 3:  # a message that was published slowly comes on the next stream
            break
    assert received == ["1", "2", "3"]
    assert len(waits) == connections - 1
    assert max(waits) <= 0.3
