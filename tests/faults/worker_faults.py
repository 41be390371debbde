"""What can happen to gunicorn's processes, and to what they have, while messages flow."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from functools import partial

from tests.faults.crowd import Reader
from tests.faults.site import BACK_SECONDS, Fault, Site
from tests.faults.traffic import Traffic
from tests.servers import open_descriptors
from tests.waiting import wait_until

MESSAGES = 15
SPARE_DESCRIPTORS = 4


def end_a_worker(site: Site, traffic: Traffic, number: signal.Signals) -> None:
    """One worker gets the signal; the master starts another one."""
    traffic.run(MESSAGES)
    _end(site, site.belfry.workers()[0], number)
    traffic.run(MESSAGES)


def end_all_workers_in_turn(site: Site, traffic: Traffic) -> None:
    """SIGKILL for one after the other, each as soon as the one before was replaced."""
    for pid in site.belfry.workers():
        traffic.run(MESSAGES)
        _end(site, pid, signal.SIGKILL)
    traffic.run(MESSAGES)


def freeze_a_worker(site: Site, traffic: Traffic, messages: int = 10) -> None:
    """SIGSTOP: its streams fall silent, what others take meanwhile waits for it in Redis."""
    frozen = site.belfry.workers()[0]
    traffic.run(MESSAGES)
    os.kill(frozen, signal.SIGSTOP)
    try:
        if len(site.belfry.workers()) > 1:
            for _ in range(messages):
                traffic.publish()
    finally:
        os.kill(frozen, signal.SIGCONT)
    traffic.run(MESSAGES)


def reload(site: Site, traffic: Traffic) -> None:
    """SIGHUP: the master starts new workers and lets the old ones go."""
    traffic.run(MESSAGES)
    old = site.belfry.workers()
    site.belfry.signal(signal.SIGHUP)
    _wait_for_workers(site, len(old), without=old)
    traffic.run(MESSAGES)


def restart(site: Site, traffic: Traffic) -> None:
    """SIGTERM for the master, and a new start."""
    traffic.run(MESSAGES)
    assert site.belfry.terminate() == 0
    site.belfry.start()
    traffic.run(MESSAGES)


def exhaust_descriptors(site: Site, traffic: Traffic) -> None:
    """RLIMIT_NOFILE is reached in every worker: who comes then waits, who is there goes on, and all come in later."""
    traffic.run(MESSAGES)
    crowd = [traffic.reader(traffic.users[0], f"late {number}") for number in range(60)]
    with _descriptors(site, SPARE_DESCRIPTORS):
        traffic.invite(crowd)
        traffic.wait(lambda: _full(site), what="every worker to run out of descriptors")
        assert not all(reader.is_live for reader in crowd)
        traffic.run(MESSAGES)
        # Redis drops its connections: there is no descriptor for a new one but those just given back.
        with site.redis.client() as client:
            client.client_kill_filter(_type="pubsub")
        traffic.run(MESSAGES)
        _leave(traffic, crowd[: len(crowd) // 2])
    traffic.wait_live(crowd)


FAULTS: dict[str, Fault] = {
    "a worker is killed": partial(end_a_worker, number=signal.SIGKILL),
    "a worker is told to stop": partial(end_a_worker, number=signal.SIGTERM),
    "all workers are killed in turn": end_all_workers_in_turn,
    "a worker is frozen": freeze_a_worker,
    "the workers are reloaded": reload,
    "the server is restarted": restart,
    "descriptors run out": exhaust_descriptors,
}


def _end(site: Site, pid: int, number: signal.Signals) -> None:
    old = site.belfry.workers()
    os.kill(pid, number)
    _wait_for_workers(site, len(old), without=[pid])


def _wait_for_workers(site: Site, number: int, without: list[int]) -> None:
    def replaced() -> bool:
        pids = site.belfry.workers()
        return len(pids) == number and not set(pids) & set(without) and site.belfry.is_ready()

    wait_until(replaced, BACK_SECONDS, what="other workers")


@contextlib.contextmanager
def _descriptors(site: Site, spare: int) -> Iterator[None]:
    """Every worker may open so many more."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in site.belfry.workers()}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_descriptors(pid) + spare, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def _full(site: Site) -> bool:
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in site.belfry.workers()}
    return all(open_descriptors(pid) >= limit for pid, limit in limits.items())


def _leave(traffic: Traffic, readers: list[Reader]) -> None:
    traffic.crowd.call(*[reader.hang_up for reader in readers])
