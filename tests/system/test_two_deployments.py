"""Two deployments in two databases of one Redis never hear each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers import Belfry, RedisServer
from tests.waiting import wait_until

PREFIX = {"BELFRY_REDIS_PREFIX": "same"}


@pytest.fixture
def deployments(redis_server: RedisServer) -> Iterator[tuple[Belfry, Belfry]]:
    with ExitStack() as stack:
        both = [Belfry(f"{redis_server.url}?db={db}", PREFIX) for db in (0, 7)]
        for each in both:
            stack.callback(each.destroy)
            each.start()
        yield both[0], both[1]


def test_neither_messages_nor_marks_nor_disconnects_cross(deployments: tuple[Belfry, Belfry]) -> None:
    production, staging = deployments
    with production.stream("alice") as here, staging.stream("alice") as there:
        for stream in (here, there):
            stream.wait_for("ready")
        staging.publish({"to": "alice", "transient": True, "data": "staging"})
        staging.publish({"to": "alice", "id": "one", "data": "staging"})
        there.wait_for_messages(2)
        assert staging.reader("alice").post("/feed/read", json={"all": True}).ok
        there.wait_for("read")
        assert staging.api(staging.token("root", "admin", "publish")).delete("/presence/alice").status_code < 400
        there.wait_for("goodbye")
        production.publish({"to": "alice", "data": "production"})
        here.wait_for_messages(1)
        assert [message["data"] for message in here.messages] == ["production"]
        assert not {"read", "goodbye", "reset"} & {event.event for event in here.events}
        wait_until(lambda: production.is_online("alice"), what="the stream to be known")
