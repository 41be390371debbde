"""Whatever the order of questions, ends, crashes and looks at leases: an answer is written once, as its run has it."""

from __future__ import annotations

import contextlib

import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.store.runs.runs import LOST, STOPPED, RunName
from app.transport.connection import Connection
from tests.examples import examples
from tests.store.conversations.test_conversations import DONE, USER, Failing, User

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "again", "say", "end", "stop", "look", "fail", "read"]),
        st.integers(0, 5),
        st.integers(0, 1),
    ),
    max_size=30,
)
LEASES = "belfry:{runs}:leases"


class World:
    """A user whose worker loses its store, or dies, at any call; and what was told so far."""

    def __init__(self, client: redis.Redis, connection: Connection, settings: Settings) -> None:
        self._client = client
        self._failing = Failing(connection)
        self._worker = User(self._failing, settings)
        self._other = User(connection, settings)  # what another worker does, and what readers see
        self._number = 0
        self.told: dict[str, object] = {}

    def ask(self, *_: object) -> None:
        found = self._other.conversations.find(USER, "c")
        if found is not None and found.turns and found.turns[-1].answer is None:
            return
        self._ask(len(found.turns) if found else 0)

    def again(self, place: int, *_: object) -> None:
        """In the place of an earlier question, whose answer may be under way."""
        found = self._other.conversations.find(USER, "c")
        turns = found.turns if found else ()
        answered = next((at for at, turn in enumerate(turns) if turn.answer is None), len(turns))
        self._ask(min(place, answered))

    def say(self, number: int, *_: object) -> None:
        if self._running():
            self._worker.say(self._running(), f"{number} ")

    def end(self, _: int, is_lost: int) -> None:
        if self._running():
            self._worker.end(self._running(), LOST if is_lost else DONE)

    def stop(self, *_: object) -> None:
        if self._running():
            self._worker.end(self._running(), STOPPED)

    def look(self, *_: object) -> None:
        """The leases have run out; a worker ends what it finds."""
        for name in self._client.zrange(LEASES, 0, -1):
            assert isinstance(name, bytes)
            self._client.zadd(LEASES, {name.decode(): 1})
        for run in self._other.runs.renew([])[1]:
            self._other.runs.end(run, LOST)

    def fail(self, call: int, is_done: int) -> None:
        """The store breaks at one of the worker's next calls."""
        self._failing.breaks = {self._failing.calls + call + 1: bool(is_done)}

    def read(self, *_: object) -> None:
        found = self._other.conversations.find(USER, "c")
        if found is not None:
            self._other.runs.settle(USER, found)

    def check(self) -> None:
        """What was told once is told again."""
        found = self._other.conversations.find(USER, "c")
        for turn in found.turns if found else ():
            if turn.answer is not None:
                assert self.told.setdefault(turn.id, turn.answer) == turn.answer

    def check_end(self) -> None:
        self.look()
        assert self._client.zrange(LEASES, 0, -1) == []
        found = self._other.conversations.find(USER, "c")
        for turn in found.turns if found else ():
            run = self._other.runs.get(run_name(turn.id))
            assert turn.answer is not None, "though nobody looked after it but other workers"
            assert (turn.answer["status"], turn.answer["text"]) == (
                run.status, self._other.runs.transcript(run_name(turn.id), run).text,
            )  # fmt: skip

    def _ask(self, place: int) -> None:
        found = self._other.conversations.find(USER, "c")
        ids = [turn.id for turn in found.turns] if found else []
        self._number += 1
        after = ids[place - 1] if place else None
        self._worker.ask("c", id=f"r{self._number}", content=f"{self._number}?", after=after)

    def _running(self) -> str:
        found = self._other.conversations.find(USER, "c")
        return found.summary.running if found else ""


def run_name(run_id: str) -> RunName:
    return RunName(USER, run_id)


@hypothesis_settings(
    max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(STEPS)
def test_each_answer_is_written_once(
    client: redis.Redis, connection: Connection, settings: Settings, steps: list[tuple[str, int, int]]
) -> None:
    client.flushall()
    world = World(client, connection, settings)
    for step, number, flag in steps:
        with contextlib.suppress(BelfryError):
            getattr(world, step)(number, flag)
        world.check()
    world.check_end()
