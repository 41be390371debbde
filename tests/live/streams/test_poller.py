"""One epoll for all parked sockets: trouble with one of them is not the others'."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from app.live.streams.poller import Poller

pytestmark = pytest.mark.usefixtures("epoll")


class Client:
    """Counts its calls, and raises when it is broken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.called = Event()
        self.ours, self.theirs = socket.socketpair()
        self._broken = broken

    def readable(self) -> None:
        self.ours.recv(1)
        self.called.set()
        if self._broken:
            raise RuntimeError("a bug")

    def writable(self) -> None:
        self.called.set()

    def hung_up(self) -> None:
        self.called.set()

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def test_one_that_raises_leaves_the_others_watched(poller: Poller) -> None:
    broken, fine = Client(broken=True), Client()
    for client in (broken, fine):
        poller.add(client.ours.fileno(), client)
    for client in (broken, fine):
        client.theirs.send(b"x")
        with gevent.Timeout(60):
            client.called.wait()
    broken.close()
    fine.close()


def test_one_that_was_removed_is_not_called_any_more(poller: Poller) -> None:
    gone, fine = Client(), Client()
    for client in (gone, fine):
        poller.add(client.ours.fileno(), client)
        client.theirs.send(b"x")
    poller.remove(gone.ours.fileno())
    with gevent.Timeout(60):
        fine.called.wait()
    assert not gone.called.is_set()
    assert len(poller) == 1
    gone.close()
    fine.close()


WITHOUT_EPOLL = """
import select
del select.epoll
from gevent import monkey
if {patches}:
    monkey.patch_all()
from app.live.streams.poller import AVAILABLE
print(AVAILABLE)
"""


@pytest.mark.parametrize("patches", [True, False], ids=["in a worker", "without gevent's patches"])
def test_a_system_without_epoll_is_no_error(patches: bool) -> None:
    """On macOS, gevent finds no original of `select.epoll`: the worker must still boot."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EPOLL.format(patches=patches)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr
