"""Publishers that send at a fixed pace, whatever becomes of it (an open loop), and streams that note what arrives when.

    python -m tests.faults.flood --seconds 60 --workers 2

One epoll loop for all of them, on precomposed bytes: next to a server under load, the load must cost little itself.
Times are in seconds, and counted from when a request was due: one that had to wait for a free connection is late too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.servers import HOST, Belfry, RedisServer, resident_bytes

_NUMBER = re.compile(rb'"data":1([0-9]{7})')
_CODE = re.compile(rb'"code": ?"(\w+)"')
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_POLL_SECONDS = 0.001
AT_ONCE = 64  # keeps a worker busy
OVER = 2  # times the sustainable rate
USERS = tuple(f"flooded-{number}" for number in range(10))


@dataclass(slots=True)
class Answer:
    """What became of one request. `code` is that of a refusal."""

    status: int
    seconds: float
    retry_after: bool
    code: str


@dataclass(slots=True)
class Outcome:
    """What became of a flood: its answers by message number, and when each message that arrived did."""

    asked: int = 0
    answers: dict[int, Answer] = field(default_factory=dict)
    arrivals: dict[int, list[float]] = field(default_factory=dict)

    def seconds(self, *statuses: int) -> list[float]:
        """How long those answers took, in order."""
        return sorted(answer.seconds for answer in self.answers.values() if answer.status in statuses)

    def count(self, *statuses: int) -> int:
        return len(self.seconds(*statuses))

    @property
    def statuses(self) -> set[int]:
        """All that came."""
        return {answer.status for answer in self.answers.values()}

    @property
    def accepted(self) -> list[int]:
        """The numbers of the messages that were accepted."""
        return [number for number, answer in self.answers.items() if answer.status in (200, 201)]

    @property
    def unsure(self) -> set[int]:
        """The numbers of those that the store may have taken: its answer did not come in time."""
        return {number for number, answer in self.answers.items() if answer.code == "store_unavailable"}


def percentile(values: Sequence[float], part: float) -> float:
    """Of sorted values, the one that `part` of them don't exceed."""
    return values[min(len(values) - 1, int(len(values) * part))]


class _Publisher:
    """One connection that is kept open, with one request at a time."""

    __slots__ = ("due", "number", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.number = 0
        self.due = 0.0

    def send(self, request: bytes, number: int, due: float) -> None:
        self.number, self.due, self.received = number, due, b""
        assert self.socket.send(request) == len(request), "a request is smaller than any socket's buffer"

    def read(self, now: float) -> Answer | None:
        """The answer, once all of it is there."""
        more = self.socket.recv(65_536)
        if not more:
            raise AssertionError("the server hung up on a publisher")
        self.received += more
        head, blank, body = self.received.partition(b"\r\n\r\n")
        found = _LENGTH.search(head + b"\r\n")
        if not blank or found is None or len(body) < int(found[1]):
            return None
        code = _CODE.search(body)
        is_told_when = b"\r\nretry-after: " in head.lower()
        return Answer(int(head[9:12]), now - self.due, is_told_when, code[1].decode() if code else "")


class Flood:
    """`publishers` connections, and one stream for each of `users`, to whom messages go in turn.

    Each goes to `others` as well, who are away: that makes publishing cost more than refusing.
    """

    def __init__(self, belfry: Belfry, publishers: int, users: Sequence[str], others: int = 0) -> None:
        self._epoll = select.epoll()
        self._publishers = [_Publisher(belfry.port) for _ in range(publishers)]
        self._idle = deque(self._publishers)
        self._streams = [belfry.stream(user) for user in users]
        for stream in self._streams:
            stream.wait_for("ready")
        self._rest = {stream.fileno(): b"" for stream in self._streams}
        self._by_descriptor = {each.socket.fileno(): each for each in self._publishers}
        for descriptor in (*self._by_descriptor, *self._rest):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._heads = [_head(belfry, [user, *(f"{user}-{at}" for at in range(others))]) for user in users]
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for publisher in self._publishers:
            publisher.socket.close()
        for stream in self._streams:
            stream.close()
        self._epoll.close()

    def run(self, seconds: float, rate: float | None = None, at_once: int = AT_ONCE) -> Outcome:
        """Publish for `seconds` at `rate` messages a second, then wait for the rest.

        Without a rate: as fast as answers come to `at_once` publishers, a closed loop.
        """
        outcome = Outcome()
        dues: dict[int, float] = {}
        first, started = self._number, time.monotonic()
        while (now := time.monotonic()) < started + seconds:
            due = self._number - first + self._free(at_once) if rate is None else int((now - started) * rate)
            while self._idle and self._number - first < due:
                at = now if rate is None else started + (self._number - first) / rate
                dues[self._number] = at
                self._send(at)
            self._turn(outcome, dues)
        outcome.asked = self._number - first
        self._finish(outcome, dues)
        return outcome

    def _free(self, at_once: int) -> int:
        return max(0, at_once - len(self._publishers) + len(self._idle))

    def _send(self, due: float) -> None:
        number, self._number = self._number, self._number + 1
        self._idle.popleft().send(self._heads[number % len(self._heads)] % number, number, due)

    def _finish(self, outcome: Outcome, dues: dict[int, float], seconds: float = 60.0) -> None:
        """Wait for the last answers, and for what was accepted to arrive."""
        deadline = time.monotonic() + seconds
        while len(self._idle) < len(self._publishers) or not outcome.arrivals.keys() >= set(outcome.accepted):
            assert time.monotonic() < deadline, "the rest did not come in time"
            self._turn(outcome, dues)

    def _turn(self, outcome: Outcome, dues: dict[int, float]) -> None:
        for descriptor, _ in self._epoll.poll(_POLL_SECONDS):
            now = time.monotonic()
            publisher = self._by_descriptor.get(descriptor)
            if publisher is None:
                self._hear(descriptor, outcome, dues)
            elif answer := publisher.read(now):
                outcome.answers[publisher.number] = answer
                self._idle.append(publisher)

    def _hear(self, descriptor: int, outcome: Outcome, dues: dict[int, float]) -> None:
        *lines, self._rest[descriptor] = (self._rest[descriptor] + os.read(descriptor, 65_536)).split(b"\n")
        now = time.monotonic()
        for line in lines:
            if found := _NUMBER.search(line):
                number = int(found[1])
                outcome.arrivals.setdefault(number, []).append(now - dues[number])


def _head(belfry: Belfry, users: Sequence[str]) -> bytes:
    """A request, but for the message's number."""
    body = json.dumps({"to": users, "title": "x" * 100}, separators=(",", ":"))[:-1] + ',"data":1%07d}'
    return (
        f"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {belfry.token('shop', 'publish')}\r\nContent-Length: {len(body) + 3}\r\n\r\n{body}"
    ).encode()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a flood did, and what it did to the worker that had most of it."""

    sustainable: float  # messages a second
    outcome: Outcome
    grown_bytes: int

    @property
    def arrival_p99(self) -> float:
        return percentile(sorted(seconds for (seconds, *_) in self.outcome.arrivals.values()), 0.99)

    @property
    def refusal_p99(self) -> float:
        return percentile(self.outcome.seconds(503), 0.99)

    def __str__(self) -> str:
        accepted, refused = self.outcome.count(200, 201), self.outcome.count(503)
        return (
            f"sustainable {self.sustainable:.0f}/s, asked {self.outcome.asked}, accepted {accepted}, refused {refused};"
            f" accepted arrive p99 {self.arrival_p99:.3f} s, refusals p99 {self.refusal_p99:.3f} s,"
            f" memory +{self.grown_bytes / 2**20:.1f} MB"
        )


def flood(belfry: Belfry, seconds: float, publishers: int, others: int) -> Figures:
    """Find out what the server can sustain, then publish `OVER` times as much for `seconds`."""
    with Flood(belfry, publishers, USERS, others) as publishing:
        publishing.run(1.0)
        sustainable = publishing.run(2.0, at_once=AT_ONCE // 4).count(200, 201) / 2
        publishing.run(1.0, OVER * sustainable)
        before = {pid: resident_bytes(pid) for pid in belfry.workers()}
        outcome = publishing.run(seconds, OVER * sustainable)
        grown = max(resident_bytes(pid) - size for pid, size in before.items())
    return Figures(sustainable, outcome, grown)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flood", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    # More than wait at any moment, so that each message can be sent when it is due.
    parser.add_argument("--publishers", type=int, default=2_000)
    parser.add_argument("--others", type=int, default=0, help="further recipients of each message")
    given = parser.parse_args()
    settings = {"WEB_CONCURRENCY": str(given.workers), "BELFRY_PUBLISH_PER_MINUTE": "100000000"}
    store = RedisServer()
    try:
        belfry = Belfry(store.start().url, settings)
        try:
            print(flood(belfry.start(), given.seconds, given.publishers, given.others))
        finally:
            belfry.destroy()
    finally:
        store.destroy()


if __name__ == "__main__":
    main()
