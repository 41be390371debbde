"""A turn of the loop serves every socket that is ready, and long work takes turns often enough."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import gevent
import pytest

from app.live import turns
from app.live.turns import Slices, background, turn


def test_a_turn_runs_the_handler_of_a_ready_socket_before_it_returns() -> None:
    """`gevent.sleep(0)` does not: it returns before the loop has polled."""
    reader, writer = socket.socketpair()
    received: list[bytes] = []
    watcher = gevent.get_hub().loop.io(reader.fileno(), 1)  # libev's EV_READ
    watcher.start(lambda: received.append(reader.recv(9)))
    with reader, writer:
        writer.send(b"x")
        turn()
        watcher.close()
    assert received == [b"x"]


def test_a_turn_lets_a_greenlet_run_that_was_ready() -> None:
    ran = gevent.spawn(lambda: True)
    turn()
    assert ran.ready()


@pytest.mark.parametrize(
    ("make", "seconds", "rest"),
    [
        (Slices, turns.SLICE_SECONDS, 0),
        (background, turns.BACKGROUND_SLICE_SECONDS, turns.REST_SECONDS),
    ],
)
def test_work_pauses_when_its_slice_is_over_and_no_earlier(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Slices], seconds: float, rest: float
) -> None:
    now = [0.0]
    rests: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(turns, "turn", rests.append)
    slices = make()
    for step in (0.4, 0.4, 0.4, 0.4, 0.4, 1.0):  # of a slice: it is over in the third step and in the last one
        now[0] += step * seconds
        slices.pause()
    assert rests == [rest, rest]
