"""A loop goes on after a failure, waits after each step, and stops in the middle of one."""

from __future__ import annotations

import logging

import gevent
import pytest
from gevent.event import Event

from app.core.errors import BelfryError
from app.live.loop import Loop

logger = logging.getLogger("test_loop")


def test_a_step_that_fails_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [ValueError("a fault"), BelfryError("store_unavailable", "The store is away.")]
    done = Event()

    def step() -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    loop = Loop(step, lambda: gevent.sleep(0.001), "the step failed", logger)
    with caplog.at_level(logging.INFO, logger.name):
        loop.start()
        assert done.wait(10)
    loop.stop()
    own = [record for record in caplog.records if record.name == logger.name]
    assert [(record.levelname, record.getMessage()) for record in own] == [
        ("ERROR", "the step failed"),
        ("INFO", "the step failed: The store is away."),
    ]


@pytest.mark.parametrize(("wait_first", "expected"), [(True, ["wait"]), (False, ["step", "wait"])])
def test_the_first_wait_comes_before_or_after_the_first_step(wait_first: bool, expected: list[str]) -> None:
    order: list[str] = []
    waiting = Event()

    def wait() -> None:
        order.append("wait")
        waiting.set()
        Event().wait(60)  # `stop` ends it

    loop = Loop(lambda: order.append("step"), wait, "the step failed", logger, wait_first=wait_first)
    loop.start()
    assert waiting.wait(10)
    loop.stop()
    assert order == expected


def test_it_starts_once_and_stops_in_the_middle_of_a_step() -> None:
    steps: list[int] = []
    stepping = Event()

    def step() -> None:
        steps.append(1)
        stepping.set()
        Event().wait(60)  # `stop` ends it

    loop = Loop(step, lambda: None, "the step failed", logger, wait_first=False)
    assert not loop.stop()
    loop.start()
    loop.start()
    assert stepping.wait(10)
    assert loop.stop()
    assert not loop.running
    assert steps == [1]
