"""Thousands of connections and dozens of cuts later, a worker holds what it held before."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.realtime.auto_pipeline import CONNECTIONS
from tests.faults.conftest import StartSite
from tests.faults.site import BACK_SECONDS, Site
from tests.servers import open_descriptors, resident_bytes
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

CYCLES = 2_000
CUTS = 50
USERS = 50  # logs, which are opened and left again and again
GROWTH_BYTES = 3_000_000  # what an allocator may keep; a leak of 2 KB per cycle is more

# Counts greenlets in the worker when asked by a signal that nobody else uses: they show nowhere outside.
_SITECUSTOMIZE = """
import gc, os, signal
def _count(*_):
    import greenlet
    alive = sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects())
    with open({path!r} + ".new", "w") as file:
        file.write(str(alive))
    os.replace({path!r} + ".new", {path!r})
signal.signal(signal.SIGRTMIN, _count)
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker holds. `watchers` are descriptors that its event loops wait for."""

    descriptors: int
    watchers: int
    greenlets: int
    channels: int

    def within(self, before: Held) -> bool:
        """The pool opens one connection more when it needs it, each with a watcher of its own."""
        return (
            self.descriptors <= before.descriptors + CONNECTIONS
            and self.watchers <= before.watchers + CONNECTIONS
            and self.greenlets <= before.greenlets
            and self.channels == before.channels
        )


class Count:
    """Asks a worker for its greenlets."""

    def __init__(self, directory: Path) -> None:
        self.environment = {"PYTHONPATH": str(directory)}
        self._answer = directory / "greenlets"
        (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(path=str(self._answer)))

    def greenlets(self, pid: int) -> int:
        self._answer.unlink(missing_ok=True)
        os.kill(pid, signal.SIGRTMIN)
        wait_until(self._answer.exists, what="the worker to count")
        return int(self._answer.read_text())


@pytest.fixture
def count() -> Iterator[Count]:
    with TemporaryDirectory(prefix="belfry-count-") as name:
        yield Count(Path(name))


def watchers(pid: int) -> int:
    """Entries in its epoll sets, proc(5)."""
    lines = 0
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            lines += sum(line.startswith("tfd:") for line in info.read_text().splitlines())
    return lines


def held(site: Site, count: Count) -> Held:
    pid = site.belfry.worker()
    channels = len(site.redis.open_channels())
    return Held(open_descriptors(pid), watchers(pid), count.greenlets(pid), channels)


def cycles(site: Site, number: int, cut_every: int) -> None:
    """Connect, publish, hear it, hang up; and now and then Redis closes every connection."""
    name = secrets.token_hex(3)
    with site.redis.client() as client:
        for cycle in range(number):
            user = f"{name}-{cycle % USERS}"
            with site.belfry.stream(user) as stream:
                stream.wait_for("ready", BACK_SECONDS)
                if cycle % cut_every == 0:
                    client.client_kill_filter(_type="pubsub")
                    client.client_kill_filter(_type="normal", skipme=True)
                answer = site.belfry.publisher.publish({"to": user, "id": f"{name}-{cycle}", "data": cycle})
                if answer.status_code == 503:
                    site.belfry.publish({"to": user, "id": f"{name}-{cycle}", "data": cycle})
                assert stream.wait_for_messages(1, BACK_SECONDS)[-1]["data"] == cycle
                if cycle % 2:
                    stream.reset()


def test_cycles_and_cuts_leave_nothing_behind(start_site: StartSite, count: Count) -> None:
    site = start_site(**count.environment)
    cycles(site, 4 * USERS, cut_every=20)  # everything was used once
    wait_until(lambda: not any("user:" in channel for channel in site.redis.open_channels()), BACK_SECONDS)
    before, resident = held(site, count), resident_bytes(site.belfry.worker())
    cycles(site, CYCLES, cut_every=CYCLES // CUTS)
    wait_until(lambda: held(site, count).within(before), BACK_SECONDS, what=lambda: f"{before}, {held(site, count)}")
    grown = resident_bytes(site.belfry.worker()) - resident
    assert grown < GROWTH_BYTES, f"{grown / CYCLES:.0f} bytes a cycle"
