"""Thousands of connections and dozens of cuts leave a worker as it was: nothing grows with what it has done."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.realtime.auto_pipeline import CONNECTIONS
from tests.faults.site import BACK_SECONDS, QUICK
from tests.servers import Belfry, RedisServer, resident_bytes
from tests.stream_client import StreamClient
from tests.waiting import wait_until

CYCLES = 2_000
CUTS = 50
AT_ONCE = 20
USERS = [f"guest-{number}" for number in range(AT_ONCE)]
BATCHES = CYCLES // AT_ONCE
GROWTH_BYTES = 6 * 1024 * 1024  # three kilobytes for each cycle: what one connection costs
OBJECTS_PER_CYCLE = 1
SETTLE_SECONDS = 10.0

Census = dict[str, int]

pytestmark = pytest.mark.timeout(240)


class Counted(Belfry):
    """A server whose only worker tells what it holds."""

    def census(self) -> Census:
        """Counted anew each time."""
        path = Path(self._environment["CENSUS"])
        path.unlink(missing_ok=True)
        os.kill(self.worker(), signal.SIGUSR2)
        wait_until(path.exists, 20)
        found: Census = json.loads(path.read_text())
        return found


@pytest.fixture
def counted(own_redis: RedisServer, tmp_path: Path) -> Iterator[Counted]:
    environment = {**QUICK, "CENSUS": str(tmp_path / "census"), "BELFRY_HISTORY_LENGTH": "10"}
    server = Counted(own_redis.url, environment, options=["-c", "tests/faults/census.conf.py"])
    try:
        yield server.start()
    finally:
        server.destroy()


def opened(belfry: Belfry, stack: ExitStack) -> list[StreamClient]:
    """A stream for each user, once the store is there again."""

    def came(user: str) -> StreamClient | None:
        stream = belfry.stream(user)
        stack.callback(stream.close)
        return stream if stream.status == 200 else None

    streams = []
    for user in USERS:
        stream = wait_until(lambda user=user: came(user), BACK_SECONDS)  # type: ignore[misc]  # mypy infers no type for such a lambda
        assert stream is not None
        stream.wait_for("ready")
        streams.append(stream)
    return streams


def publish(belfry: Belfry, ids: Sequence[str]) -> None:
    """One message for each user, as often as it takes."""
    lines = [json.dumps({"to": user, "id": id_}) for user, id_ in zip(USERS, ids, strict=True)]
    wait_until(
        lambda: all(result["status"] in (200, 201) for result in belfry.publisher.publish_lines(lines)), BACK_SECONDS
    )


def cycle(belfry: Belfry, batch: int) -> None:
    """Connect, publish, read and disconnect, for all users; every second time the connections to Redis are cut."""
    with ExitStack() as stack:
        streams = opened(belfry, stack)
        if batch % (BATCHES // CUTS) == 0:
            cut(belfry)
        publish(belfry, [f"{batch}-{user}" for user in USERS])
        for number, stream in enumerate(streams):
            assert [message["id"] for message in stream.wait_for_messages(1, BACK_SECONDS)] == [
                f"{batch}-{USERS[number]}"
            ]
            stream.reset() if number % 2 else stream.close()


def cut(belfry: Belfry) -> None:
    import redis

    with redis.Redis.from_url(belfry.settings_environment["BELFRY_REDIS_URL"]) as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)


def settled(belfry: Counted, least: Census | None = None) -> Census:
    """The census once nobody is connected, and, with `least`, once what comes back a little later has done so."""

    def counted() -> Census | None:
        found = belfry.census()
        empty = not found["streams"] and not found["logs"] and not found["parked"]
        return found if empty and (least is None or not grown(least, found)) else None

    found = wait_until(counted, SETTLE_SECONDS, what=f"a worker that holds no more than {least or 'nothing'}")
    assert found is not None
    return found


def grown(before: Census, after: Census) -> dict[str, tuple[int, int]]:
    """What is more than it was. Connections to Redis are opened as they are needed."""
    spare = {"descriptors": CONNECTIONS, "watchers": CONNECTIONS, "objects": OBJECTS_PER_CYCLE * CYCLES}
    return {what: (count, after[what]) for what, count in before.items() if after[what] > count + spare.get(what, 0)}


def test_thousands_of_cycles_and_dozens_of_cuts_leave_a_worker_as_it_was(counted: Counted) -> None:
    for batch in range(BATCHES // 4):
        cycle(counted, batch - BATCHES)  # warms up with the same work
    before, size = settled(counted), resident_bytes(counted.worker())
    for batch in range(BATCHES):
        cycle(counted, batch)
    settled(counted, before)
    assert resident_bytes(counted.worker()) - size < GROWTH_BYTES
