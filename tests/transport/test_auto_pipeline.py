"""Concurrent callers share round trips, each gets its own replies, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence

import gevent
import pytest
from gevent.event import Event

from app.core.errors import BelfryError
from app.transport import auto_pipeline
from app.transport.auto_pipeline import COMMANDS_PER_WRITE, CONNECTIONS, AutoPipeline
from app.transport.connection import Command, Reply, SilentError, pack


class Echo:
    """A line that answers each command with its argument, as soon as it is let; it never stays open."""

    is_open = False

    def __init__(self) -> None:
        self.writes: list[list[Command]] = []
        self.go = Event()
        self.go.set()
        self.broken = False

    def packed(self, commands: Sequence[Command]) -> bytes:
        return pack([command for command in commands if isinstance(command[1], str)])

    def send(self, commands: Sequence[Command], *, again: bool = False) -> list[Reply]:  # noqa: ARG002 - a `DedicatedConnection`'s
        self.writes.append(list(commands))
        self.go.wait()
        if self.broken:
            raise BelfryError("store_unavailable")
        return [command[1] for command in commands]

    def write(self, packed: bytes) -> None:
        raise NotImplementedError

    def read(self, commands: Sequence[Command]) -> list[Reply]:
        raise NotImplementedError

    def lacks_scripts(self, replies: Sequence[Reply]) -> bool:
        raise NotImplementedError

    def completed(self, commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture
def echo() -> Echo:
    return Echo()


def ask(pipeline: AutoPipeline, number: int, count: int = 1) -> list[Reply]:
    return pipeline.run([("ECHO", (number, at)) for at in range(count)])


def occupy(pipeline: AutoPipeline, echo: Echo) -> list[gevent.Greenlet[..., list[Reply]]]:
    """Keep every connection busy until `echo.go` is set."""
    echo.go.clear()
    busy = []
    for number in range(CONNECTIONS):
        busy.append(gevent.spawn(ask, pipeline, number))
        with gevent.Timeout(60):
            while len(echo.writes) <= number:
                gevent.sleep(0)
    return busy


def test_a_lone_caller_is_sent_at_once(echo: Echo) -> None:
    assert ask(AutoPipeline(lambda: echo, 1.0, 10), 7, 2) == [(7, 0), (7, 1)]
    assert len(echo.writes) == 1


def test_callers_who_come_while_all_connections_are_busy_share_the_next_write(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    busy = occupy(pipeline, echo)
    callers = [gevent.spawn(ask, pipeline, number, 3) for number in range(20)]
    gevent.sleep(0)  # each puts its commands into the queue
    echo.go.set()
    gevent.joinall([*busy, *callers], timeout=60)
    assert [caller.value for caller in callers] == [[(number, at) for at in range(3)] for number in range(20)]
    assert len(echo.writes) <= CONNECTIONS + 2


def test_who_comes_during_a_usual_round_trip_goes_with_the_next(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_pipeline, "PATIENCE_SECONDS", 60.0)
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    echo.go.clear()
    callers = []
    for number in range(4):
        callers.append(gevent.spawn(ask, pipeline, number))
        for _ in range(5):
            gevent.sleep(0)
    assert echo.writes == [[("ECHO", (0, 0))]]
    echo.go.set()
    gevent.joinall(callers, timeout=60)
    assert [caller.value for caller in callers] == [[(number, 0)] for number in range(4)]
    assert len(echo.writes) == 2


def test_a_write_is_bounded_and_a_larger_batch_goes_alone(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 10_000)
    callers = [gevent.spawn(ask, pipeline, number, 150) for number in range(8)]
    callers.append(gevent.spawn(ask, pipeline, 99, COMMANDS_PER_WRITE + 1))
    gevent.joinall(callers, timeout=60)
    assert all(caller.value for caller in callers)
    assert max(len(write) for write in echo.writes if len(write) != COMMANDS_PER_WRITE + 1) <= COMMANDS_PER_WRITE


def test_a_failed_round_trip_is_told_to_everybody_in_it_and_the_next_one_works(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    echo.broken = True
    for number in range(2):
        with pytest.raises(BelfryError) as refusal:
            ask(pipeline, number)
        assert refusal.value.code == "store_unavailable"
    echo.broken = False
    assert ask(pipeline, 3) == [(3, 0)]


def test_one_callers_error_is_its_own(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    failing = gevent.spawn(pipeline.run, [("ECHO", ValueError("refused"))])
    fine = gevent.spawn(ask, pipeline, 1)
    failing.join(timeout=60)
    fine.join(timeout=60)
    assert isinstance(failing.exception, BelfryError)
    assert fine.value == [(1, 0)]


def test_who_waited_too_long_is_told_and_its_commands_are_not_sent_any_more(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 0.5 - 0.5, 1_000)  # the grace included
    busy = occupy(pipeline, echo)
    with pytest.raises(BelfryError) as refusal:
        ask(pipeline, 77)
    assert refusal.value.code == "store_unavailable"
    assert not isinstance(refusal.value, SilentError), "the store may have answered all the others"
    echo.go.set()
    gevent.joinall(busy, timeout=60)
    assert ask(pipeline, 78) == [(78, 0)]
    assert not any(command == ("ECHO", (77, 0)) for write in echo.writes for command in write)


def test_everybody_is_told_who_waits_too_long_whoever_came_before(echo: Echo) -> None:
    """One timer looks after all of them."""
    pipeline = AutoPipeline(lambda: echo, 0.5 - 0.5, 1_000)
    callers = occupy(pipeline, echo)
    for number in range(5):
        callers.append(gevent.spawn(ask, pipeline, number, 3))
        gevent.sleep(0.02)
    gevent.joinall(callers, timeout=60)
    refused = [caller.exception for caller in callers]
    assert [error.code for error in refused if isinstance(error, BelfryError)] == ["store_unavailable"] * len(callers)
    for number in range(3):
        with pytest.raises(BelfryError):
            ask(pipeline, number)
    echo.go.set()
    assert ask(pipeline, 78) == [(78, 0)]


def test_who_was_given_up_makes_room_in_the_queue(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 0.5 - 0.5, 3)
    busy = occupy(pipeline, echo)
    for number in range(3):
        with pytest.raises(BelfryError) as refusal:
            ask(pipeline, number, 3)
        assert refusal.value.code == "store_unavailable", "not overloaded"
    echo.go.set()
    gevent.joinall(busy, timeout=60)


def test_the_commands_of_a_caller_that_was_killed_are_not_sent_any_more(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    busy = occupy(pipeline, echo)
    killed = gevent.spawn(ask, pipeline, 77)
    gevent.sleep(0)  # it puts its command into the queue
    killed.kill()
    echo.go.set()
    gevent.joinall(busy, timeout=60)
    assert ask(pipeline, 78) == [(78, 0)]
    assert not any(command == ("ECHO", (77, 0)) for write in echo.writes for command in write)


def test_more_than_the_limit_is_refused_at_once(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 3)
    busy = occupy(pipeline, echo)
    waiting = gevent.spawn(ask, pipeline, 5, 3)
    gevent.sleep(0)
    with pytest.raises(BelfryError) as refusal:
        ask(pipeline, 6)
    assert (refusal.value.code, refusal.value.status) == ("overloaded", 503)
    echo.go.set()
    gevent.joinall([*busy, waiting], timeout=60)
    assert waiting.value


def test_what_one_caller_adds_to_its_error_is_not_told_to_another(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    echo.broken = True
    busy = occupy(pipeline, echo)
    callers = [gevent.spawn(ask, pipeline, number) for number in range(2)]
    gevent.sleep(0)  # both go into the next write
    echo.go.set()
    gevent.joinall([*busy, *callers], timeout=60)
    first, second = (caller.exception for caller in callers)
    assert isinstance(first, BelfryError)
    assert isinstance(second, BelfryError)
    first.extra["id"] = "order-17"
    assert "id" not in second.problem()


def test_a_bug_in_a_round_trip_is_told_and_the_next_ones_work(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    for _ in range(CONNECTIONS + 1):
        with pytest.raises(BelfryError) as refusal:
            pipeline.run([()])  # has no argument to echo
        assert refusal.value.code == "store_unavailable"
    assert ask(pipeline, 3) == [(3, 0)]


def test_what_waits_for_replicas_is_sent_once_a_write_after_all_others_and_answered_to_each(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    busy = occupy(pipeline, echo)
    callers = [gevent.spawn(pipeline.run, [("ECHO", number), ("WAIT", 1, 500)]) for number in range(3)]
    callers.append(gevent.spawn(pipeline.run, [("ECHO", "reader")]))
    gevent.sleep(0)  # all go into the next write
    echo.go.set()
    gevent.joinall([*busy, *callers], timeout=60)
    assert [caller.value for caller in callers] == [[0, 1], [1, 1], [2, 1], ["reader"]]
    assert echo.writes[-1] == [("ECHO", 0), ("ECHO", 1), ("ECHO", 2), ("ECHO", "reader"), ("WAIT", 1, 500)]


def test_a_command_that_cant_be_sent_is_refused_for_good_and_fails_nobody_elses(echo: Echo) -> None:
    pipeline = AutoPipeline(lambda: echo, 5.0, 1_000)
    busy = occupy(pipeline, echo)
    bad = gevent.spawn(pipeline.run, [("ECHO", "fine"), ("ECHO", "half \ud800")])
    callers = [gevent.spawn(pipeline.run, [("ECHO", f"{number}")]) for number in range(3)]
    gevent.sleep(0)  # all go into the next write
    echo.go.set()
    gevent.joinall([*busy, bad, *callers], timeout=60)
    assert isinstance(bad.exception, BelfryError)
    assert bad.exception.code == "internal_error"
    assert [caller.value for caller in callers] == [["0"], ["1"], ["2"]]
