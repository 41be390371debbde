"""The trace of the event loop finds a pause, and names the greenlet that caused it."""

from __future__ import annotations

import logging
import time

import gevent

from app.live.loop import Loop
from app.live.turns import turn
from bench.loop_trace import PAUSE_SECONDS, LoopTrace
from bench.pauses import Pause, rows, within


def block() -> None:
    until = time.monotonic() + 2 * PAUSE_SECONDS
    while time.monotonic() < until:
        pass


def test_the_trace_has_the_name_of_the_step_that_blocked_the_loop() -> None:
    trace = LoopTrace()
    loop = Loop(block, lambda: gevent.sleep(60), "failed", logging.getLogger(), wait_first=False)
    trace.start()
    try:
        turn()
        loop.start()
        turn()
        turn()
    finally:
        trace.stop()
        loop.stop()
    assert any(parts.get("block", 0) >= PAUSE_SECONDS for _, _, parts in trace.pauses)


def test_pauses_are_added_up_by_phase_and_cause() -> None:
    found = [Pause(1.0, 0.002, {"a": 0.002}), Pause(2.0, 0.004, {"a": 0.001, "b": 0.003}), Pause(3.0, 0.003, {"a": 1})]
    told = rows("publishing", within(found, 1.0, 3.0))
    assert [(row.cause, row.pauses, row.longest_ms) for row in told] == [("b", 1, 4.0), ("a", 1, 2.0)]
    assert rows("publishing", within(found, 5.0, 6.0)) == []
