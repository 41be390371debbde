"""What can happen to gunicorn's processes, and to what they have, while messages flow."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import requests

from app.server.sockets import OWN_DESCRIPTORS, REQUEST_DESCRIPTORS
from tests.faults.crowd import Reader
from tests.faults.site import BACK_SECONDS, Fault, Site
from tests.faults.traffic import Traffic
from tests.servers import HOST, Api, frozen, open_descriptors, tcp_connections
from tests.waiting import wait_until

MESSAGES = 15
SPARE_DESCRIPTORS = 4
STEP_SECONDS = 3_600
NO_ROOM = "503 too_many_connections"
FROZEN_SECONDS = 3.0  # longer than Belfry waits for Redis, shorter than gunicorn waits for a worker
CROWD = 60  # more than two workers have room for


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


def freeze_a_worker(site: Site, traffic: Traffic, seconds: float = FROZEN_SECONDS) -> None:
    """SIGSTOP: its streams fall silent, others go on, and what they miss meanwhile waits for them in Redis."""
    traffic.run(MESSAGES)
    readers = [reader for reader in traffic.readers if reader.is_live and reader.address[1] == site.belfry.port]
    pid, mute, others = _one_with_streams(site, readers)
    before = {reader: reader.connections for reader in mute}
    with frozen(pid):
        traffic.crowd.call(_nothing)  # has read what had been sent
        heard = {reader: len(reader.events) for reader in readers}
        until = time.monotonic() + seconds
        if len(site.belfry.workers()) > 1:
            traffic.publish()
        traffic.wait(
            lambda: time.monotonic() > until and all(len(reader.events) > heard[reader] for reader in others),
            seconds + BACK_SECONDS,
            what="the other worker's streams to go on",
        )
        assert not [reader.name for reader in mute if len(reader.events) > heard[reader]]
    traffic.run(MESSAGES)
    assert not [str(reader) for reader in mute if reader.connections > before[reader]]


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
    """RLIMIT_NOFILE is reached: streams that come then are refused, all else goes on, and they come in later."""
    traffic.run(MESSAGES)
    crowd = [traffic.reader(traffic.users[0], f"late {time.monotonic()} {number}") for number in range(CROWD)]
    with _descriptors(site, OWN_DESCRIPTORS + REQUEST_DESCRIPTORS + SPARE_DESCRIPTORS):
        traffic.invite(crowd)
        _wait_for_refusals(traffic, crowd)
        _cut_off_and_go_on(site, traffic)
        traffic.checkpoint()
    traffic.wait_live(crowd)


def exhaust_descriptors_for_good(site: Site, traffic: Traffic) -> None:
    """Connections that ask for nothing take every descriptor but Belfry's own: its link to Redis comes back even so."""
    traffic.run(MESSAGES)
    with _descriptors(site, OWN_DESCRIPTORS + SPARE_DESCRIPTORS), ExitStack() as held:
        for _ in range(CROWD):
            held.enter_context(socket.create_connection((HOST, site.belfry.port)))
        with site.belfry.reader(traffic.users[0]) as api:
            traffic.wait(partial(_is_refused, api), what="a request to be refused")
        _cut_off_and_go_on(site, traffic)


def step_the_clock(site: Site, traffic: Traffic) -> None:
    """The time of day jumps an hour back, for Belfry and for Redis, and later forward again."""
    assert site.clock is not None
    for seconds in (-STEP_SECONDS, 0):
        traffic.run(MESSAGES)
        site.clock.step(seconds, site.belfry, site.redis)
        traffic.run(MESSAGES)
        traffic.crowd.call(*[reader.hang_up for reader in traffic.readers])
        traffic.wait_live()
    traffic.checkpoint()


FAULTS: dict[str, Fault] = {
    "a worker is killed": partial(end_a_worker, number=signal.SIGKILL),
    "a worker is told to stop": partial(end_a_worker, number=signal.SIGTERM),
    "all workers are killed in turn": end_all_workers_in_turn,
    "a worker is frozen": freeze_a_worker,
    "the workers are reloaded": reload,
    "the server is restarted": restart,
    "descriptors run out": exhaust_descriptors,
    "descriptors run out for good": exhaust_descriptors_for_good,
    "the clock steps back": step_the_clock,
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


def _one_with_streams(site: Site, readers: Sequence[Reader]) -> tuple[int, list[Reader], list[Reader]]:
    """A worker, the readers that it serves, one at least, and those that others serve."""
    ports = {pid: {port for _, port in tcp_connections(pid)} for pid in site.belfry.workers()}
    pid = next(pid for pid in ports if readers[0].port in ports[pid])
    mute = [reader for reader in readers if reader.port in ports[pid]]
    return pid, mute, [reader for reader in readers if reader not in mute]


def _nothing() -> None:
    pass


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


def _cut_off_and_go_on(site: Site, traffic: Traffic) -> None:
    """Redis closes all connections of the workers while newcomers wait for every descriptor that comes free."""
    with site.redis.client() as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)
    traffic.run(MESSAGES)


def _wait_for_refusals(traffic: Traffic, crowd: Sequence[Reader]) -> None:
    """Wait until every reader of the crowd was let in or refused, and some were refused."""

    def waiting() -> list[str]:
        return [str(reader) for reader in crowd if not reader.is_live and not reader.answers[NO_ROOM]]

    traffic.crowd.wait(lambda: not waiting(), what=lambda: f"streams to be let in or refused; {waiting()}")
    assert any(reader.answers[NO_ROOM] for reader in crowd)


def _is_refused(api: Api) -> bool:
    """On a connection of its own; an answer may be overtaken by the end of its connection."""
    try:
        answer = api.get("/feed", headers={"Connection": "close"})
    except requests.ConnectionError:
        return False
    return answer.status_code == 503 and answer.json()["code"] == "too_many_connections"
