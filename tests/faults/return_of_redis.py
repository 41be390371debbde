"""Many streams, each on a log of its own, whose Redis goes away and comes back.

    python -m tests.faults.return_of_redis --streams 5000

Belfry is cut off from Redis; meanwhile another Belfry, which is not, publishes a message to each. From the moment that
the way is open again it is measured when every stream has its message. With `--restart` Redis itself is killed and
started again, so that every log gets a new epoch besides; what is published then is a part of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.crowd import Crowd, Reader
from tests.faults.link_proxy import LinkProxy
from tests.faults.site import QUICK
from tests.servers import Belfry, RedisServer
from tests.waiting import wait_until

CONNECT_AT_ONCE = 200
LIMIT_SECONDS = 60.0
TOKEN_SECONDS = 3_600
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds from the return of Redis; `cpu_seconds` are the worker's."""

    streams: int
    half: float
    all: float
    slowest_answer: float
    cpu_seconds: float
    ended: int

    def __str__(self) -> str:
        return (
            f"{self.streams} streams: half current after {self.half:.2f} s, all after {self.all:.2f} s "
            f"({self.cpu_seconds:.2f} s of the worker's CPU); slowest /health/live meanwhile "
            f"{self.slowest_answer * 1_000:.0f} ms; {self.ended} streams ended"
        )


def measure(streams: int, *, restart: bool = False, **environment: str) -> Figures:
    """Run it once."""
    _lift_descriptor_limit(streams)
    with contextlib.ExitStack() as stack:
        store = RedisServer(appendonly=True)
        stack.callback(store.destroy)
        store.start()
        proxy = stack.enter_context(contextlib.closing(LinkProxy(store.socket_path)))
        quiet = {**QUICK, "BELFRY_HEARTBEAT_SECONDS": "15", **environment}
        belfry = Belfry(proxy.url, quiet)
        shared = {name: belfry.settings_environment[name] for name in ("BELFRY_REDIS_PREFIX", "BELFRY_SECRET")}
        other = Belfry(store.url, {**quiet, **shared})
        for server in (belfry, other):
            stack.callback(server.destroy)
            server.start()
        crowd = Crowd()
        stack.callback(crowd.stop)
        readers = _connect(crowd, belfry, streams)
        if restart:
            store.kill()
            store.start()
            return _watch(belfry, readers, lambda: _publish(other, readers))
        with proxy.refusing():
            _publish(other, readers)
            assert not any(reader.marks for reader in readers)
        return _watch(belfry, readers, lambda: None)


def _connect(crowd: Crowd, belfry: Belfry, streams: int) -> list[Reader]:
    readers = []
    for start in range(0, streams, CONNECT_AT_ONCE):
        batch = [_reader(belfry, f"u{number}") for number in range(start, min(start + CONNECT_AT_ONCE, streams))]
        crowd.add(batch)
        crowd.wait(partial(_are_live, batch), LIMIT_SECONDS, what="all to be connected")
        readers += batch
    return readers


def _reader(belfry: Belfry, user: str) -> Reader:
    headers = {"Authorization": f"Bearer {belfry.token(user, 'feed', seconds=TOKEN_SECONDS)}", "Connection": "close"}
    return Reader(user, belfry.port, "/stream", headers, logs=(f"user:{user}",))


def _publish(belfry: Belfry, readers: Sequence[Reader]) -> None:
    """Each line until it is accepted: right after a restart some are refused."""
    wanted = [{"to": reader.name, "id": reader.name, "data": reader.name} for reader in readers]
    while wanted:
        results = belfry.publisher.publish_lines([json.dumps(message) for message in wanted[:BATCH]])
        refused = [message for message, result in zip(wanted, results, strict=False) if result["status"] == 503]
        assert all(result["status"] in (200, 201, 503) for result in results)
        wanted = refused + wanted[BATCH:]


def _are_live(readers: Sequence[Reader]) -> bool:
    return all(reader.is_live for reader in readers)


def _watch(belfry: Belfry, readers: Sequence[Reader], act: Callable[[], None]) -> Figures:
    began, half, slowest = time.monotonic(), 0.0, 0.0
    cpu_before = _cpu_seconds(belfry.worker())
    act()
    with belfry.api() as api:

        def all_have_it() -> bool:
            nonlocal half, slowest
            slowest = max(slowest, api.get("/health/live").elapsed.total_seconds())
            have = sum(bool(reader.marks) for reader in readers)
            half = half or (time.monotonic() - began if have >= len(readers) / 2 else 0.0)
            return have == len(readers)

        wait_until(all_have_it, LIMIT_SECONDS, what="every stream to have its message")
    ended = sum(sum(reader.ends.values()) for reader in readers)
    cpu = _cpu_seconds(belfry.worker()) - cpu_before
    assert all(len(reader.events) == 1 and reader.marks == {reader.name} for reader in readers)
    return Figures(len(readers), half, time.monotonic() - began, slowest, cpu, ended)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _lift_descriptor_limit(streams: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert most > streams + 100, f"no more than {most} descriptors are allowed here"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--restart", action="store_true")
    given = parser.parse_args()
    print(measure(given.streams, restart=given.restart))
