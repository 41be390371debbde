"""Thousands of connections and dozens of cuts leave a worker as it was: nothing grows with what it has done."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from app.transport.auto_pipeline import CONNECTIONS
from tests.faults.site import BACK_SECONDS, QUICK
from tests.servers import Belfry, RedisServer, resident_bytes
from tests.stream_client import StreamClient
from tests.waiting import wait_until

CYCLES = 2_000
CUTS = 50
AT_ONCE = 20
BATCHES = CYCLES // AT_ONCE
GROWTH_BYTES = 1024 * CYCLES  # less than one connection costs
SPARE_OBJECTS = CYCLES // 10
SPARE_ENTRIES = CYCLES // 2  # of dicts, lists and sets: one name kept of each user or log would be one for each cycle
COLLECT_EVERY = 10  # batches: what waits for the collector is no leak
SETTLE_SECONDS = 60.0

BUSY = ("streams", "logs", "parked", "unrecorded")

Census = dict[str, int]

pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True, slots=True)
class Guest:
    """A user who comes once, and hears a topic of their own."""

    user: str
    topic: str

    @property
    def target(self) -> dict[str, str]:
        """Some are sent a message themselves, some by the topic."""
        return {"to": self.user} if self.user.endswith(("0", "2", "4", "6", "8")) else {"topic": self.topic}


class Counted(Belfry):
    """A server whose only worker tells what it holds."""

    def census(self) -> Census:
        """Counted anew each time."""
        path = Path(self._environment["CENSUS"])
        path.unlink(missing_ok=True)
        os.kill(self.worker(), signal.SIGUSR2)
        wait_until(path.exists, 60)
        found: Census = json.loads(path.read_text())
        return found


@pytest.fixture
def counted(own_redis: RedisServer, tmp_path: Path) -> Iterator[Counted]:
    environment = {**QUICK, "CENSUS": str(tmp_path / "census"), "BELFRY_HISTORY_LENGTH": "10"}
    environment["COVERAGE_PROCESS_CONFIG"] = ""  # what a measurement notes grows in the process that is measured
    server = Counted(own_redis.url, environment, options=["-c", "tests/faults/census/conf.py"])
    try:
        yield server.start()
    finally:
        server.destroy()


def opened(belfry: Belfry, guests: Sequence[Guest], stack: ExitStack) -> list[StreamClient]:
    """A stream for each guest, once the store is there again."""

    def came(guest: Guest) -> StreamClient | None:
        stream = belfry.stream(guest.user, topics=[guest.topic])
        stack.callback(stream.close)
        return stream if stream.status == 200 else None

    streams = []
    for guest in guests:
        stream = wait_until(partial(came, guest), BACK_SECONDS)
        assert stream is not None
        stream.wait_for("ready")
        streams.append(stream)
    return streams


def publish(belfry: Belfry, guests: Sequence[Guest]) -> None:
    """One message for each guest, as often as it takes. Each may be refused, and all of them right after a cut."""
    text = "\n".join(json.dumps({**guest.target, "id": guest.user}) for guest in guests)

    def are_sent() -> bool:
        headers = {"Content-Type": "application/x-ndjson"}
        answer = belfry.publisher.post("/publish", data=text.encode(), headers=headers)
        results = [json.loads(line) for line in answer.content.splitlines()] if answer.status_code == 200 else []
        return len(results) == len(guests) and all(result["status"] in (200, 201) for result in results)

    wait_until(are_sent, BACK_SECONDS)


def cycle(belfry: Belfry, batch: str, *, cuts: bool) -> None:
    """Twenty whom nobody ever heard of connect, are sent something, read it and go; `cuts` the links to Redis."""
    guests = [Guest(f"guest-{batch}-{number}", f"room-{batch}-{number}") for number in range(AT_ONCE)]
    with ExitStack() as stack:
        streams = opened(belfry, guests, stack)
        if cuts:
            cut(belfry)
        publish(belfry, guests)
        for number, (guest, stream) in enumerate(zip(guests, streams, strict=True)):
            assert [message["id"] for message in stream.wait_for_messages(1, BACK_SECONDS)] == [guest.user]
            stream.reset() if number % 2 else stream.close()


def cut(belfry: Belfry) -> None:
    import redis

    with redis.Redis.from_url(belfry.settings_environment["BELFRY_REDIS_URL"]) as client:
        wait_until(partial(client.client_kill_filter, _type="pubsub"), what="a subscriber to kill")
        wait_until(partial(client.client_kill_filter, _type="normal", skipme=True), what="a connection to kill")


def settled(belfry: Counted, least: Census | None = None) -> Census:
    """The census once nobody is connected, and, with `least`, once what comes back a little later has done so."""
    latest: list[Census] = []

    def counted() -> Census | None:
        latest[:] = [belfry.census(), belfry.census()]  # what is being recorded at the one is gone by the other
        found = latest[-1]
        busy = any(each[what] for each in latest for what in BUSY)
        return None if busy or (least and grown(least, found)) else found

    found = wait_until(counted, SETTLE_SECONDS, what=lambda: f"a worker at rest, not {latest} where it was {least}")
    assert found is not None
    return found


def grown(before: Census, after: Census) -> dict[str, tuple[int, int]]:
    """What is more than it was. Connections to Redis are opened as they are needed."""
    spare = {"descriptors": CONNECTIONS, "watchers": CONNECTIONS, "objects": SPARE_OBJECTS, "entries": SPARE_ENTRIES}
    return {what: (count, after[what]) for what, count in before.items() if after[what] > count + spare.get(what, 0)}


def cycles(belfry: Counted, name: str, batches: int) -> None:
    for batch in range(batches):
        cycle(belfry, f"{name}-{batch}", cuts=batch % (BATCHES // CUTS) == 0)
        if batch % COLLECT_EVERY == 0:
            belfry.census()


def test_thousands_of_cycles_and_dozens_of_cuts_leave_a_worker_as_it_was(counted: Counted) -> None:
    cycles(counted, "warm", BATCHES // 4)  # the same work, and with it full caches
    before, size = settled(counted), resident_bytes(counted.worker())
    cycles(counted, "then", BATCHES)
    settled(counted, before)
    assert resident_bytes(counted.worker()) - size < GROWTH_BYTES
