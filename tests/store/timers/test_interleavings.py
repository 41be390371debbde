"""Whatever the order of claims, crashes, ends of leases, cancellations and changes: each message is delivered once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.due import Due
from app.core.identity.tokens import Claims
from app.core.message import parse
from app.core.settings import Settings
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.store.timers.timers import DELIVERED, Job, Timers
from app.transport.connection import Connection
from tests.examples import examples

NAMES = ("a", "b", "c")
WORKERS = 2
ANN = Claims("ann", frozenset(), (), None, 9e9, "t", 1.0)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["schedule", "due", "claim", "publish", "finish", "crash", "cancel", "change"]),
        st.sampled_from(NAMES),
        st.integers(0, WORKERS - 1),
    ),
    max_size=40,
)


class World:
    """A store, the workers with what they claimed, and what must come of it."""

    def __init__(self, client: redis.Redis, connection: Connection, settings: Settings) -> None:
        self._client = client
        self._timers = Timers(connection, settings)
        self._logs = LogStore(connection, settings)
        self._publisher = Publisher(self._logs, Recipients(self._logs, connection, settings))
        self._held: list[dict[str, Job]] = [{} for _ in range(WORKERS)]
        self._published: list[set[str]] = [set() for _ in range(WORKERS)]
        self.accepted: set[str] = set()
        self.cancelled: set[str] = set()
        self.sent: Counter[str] = Counter()

    def schedule(self, name: str, _: int) -> None:
        text = json.dumps({"to": "alice", "id": name, "deliver_at": 600}).encode()
        self._timers.schedule([parse(text, now=1.0, new_id="", max_recipients=1)], ANN)
        self.accepted.add(name)

    def due(self, name: str, _: int) -> None:
        """Its time has come, or the lease of its claim has ended."""
        self._client.zadd("belfry:{timers}:due", {name: 1}, xx=True)

    def claim(self, _: str, worker: int) -> None:
        for job in self._timers.claim().jobs:
            self._held[worker][job.id] = job
            self._published[worker].discard(job.id)

    def publish(self, name: str, worker: int) -> None:
        job = self._held[worker].get(name)
        if job is not None:
            message = parse(job.text, now=1.0, new_id=name, max_recipients=1)
            (published,) = self._publisher.publish([message])
            self.sent[name] += not published.duplicate
            self._published[worker].add(name)

    def finish(self, name: str, worker: int) -> None:
        if name in self._published[worker]:
            self._timers.finish([(self._held[worker].pop(name), DELIVERED)])
            self._published[worker].discard(name)

    def crash(self, _: str, worker: int) -> None:
        self._held[worker].clear()
        self._published[worker].clear()

    def cancel(self, name: str, _: int) -> None:
        job = self._job(name)
        if job is not None and self._timers.cancel(job) == "scheduled":
            self.cancelled.add(name)

    def change(self, name: str, _: int) -> None:
        job = self._job(name)
        if job is not None:
            self._timers.change(job, Due(0, relative=True), ANN)

    def run_out(self) -> None:
        """All leases end, and a worker does everything that is left. A worker that was frozen ends what it began."""
        for name in NAMES:
            self.due(name, 0)
        self.claim("", 0)
        for worker in range(WORKERS):
            for name in NAMES:
                self.publish(name, worker)
                self.finish(name, worker)

    def feed(self) -> list[str]:
        (page,) = self._logs.read_back([("user:alice", ())], 99)
        return sorted(json.loads(entry.record.partition(b" ")[2])["id"] for entry in page.entries)

    def left(self) -> list[Any]:
        return [*self._timers.page(9, None, None)[0], *self._timers.page(9, None, "ann")[0]]

    def _job(self, name: str) -> Job | None:
        known = self._timers.find(name)
        return known.job if known is not None else None


@hypothesis_settings(
    max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_each_message_is_delivered_once_unless_it_was_cancelled(
    client: redis.Redis, connection: Connection, settings: Settings, steps: list[tuple[str, str, int]]
) -> None:
    client.flushall()
    world = World(client, connection, settings)
    for step, name, worker in steps:
        getattr(world, step)(name, worker)
    world.run_out()
    expected = sorted(world.accepted - world.cancelled)
    assert world.feed() == expected
    assert world.sent == Counter(expected)
    assert world.left() == []
