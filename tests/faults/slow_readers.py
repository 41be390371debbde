"""Streams that stop reading beside others that read on: what they cost in memory and delay, and whether they get all.

    python -m tests.faults.slow_readers --slow 500 --messages 10000

All read one topic, on which messages of 1 KB come one after the other.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.faults.flood import percentile
from tests.servers import Belfry, RedisServer, resident_bytes
from tests.stream_client import StreamClient

BODY = "x" * 1_000
TOPIC = "slow"
WITNESSES = 10
READ_BYTES = 262_144
RATE = 300.0  # messages a second: well below what a worker can do, else it is its queue that is measured
SETTINGS = {"BELFRY_HISTORY_LENGTH": "100000", "BELFRY_WRITE_TIMEOUT_SECONDS": "600"}
_NUMBER = re.compile(rb'"data":([0-9]+)[,}]')


@dataclass(slots=True)
class Reader:
    """One stream, of which only the numbers of its messages are kept, and when each came."""

    stream: StreamClient
    rest: bytes = b""
    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    resets: int = 0

    def read(self) -> None:
        received = os.read(self.stream.fileno(), READ_BYTES)
        assert received, "the server hung up"
        whole, _, self.rest = (self.rest + received).rpartition(b"\n")
        found = [int(number) for number in _NUMBER.findall(whole)]
        self.numbers += found
        self.times += [time.monotonic()] * len(found)
        self.resets += whole.count(b"event: reset")


def read_until(readers: Sequence[Reader], done: Callable[[], bool], seconds: float) -> None:
    """Read what comes to any of them."""
    poll, by_descriptor = select.epoll(), {reader.stream.fileno(): reader for reader in readers}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    deadline = time.monotonic() + seconds
    with poll:
        while not done():
            assert time.monotonic() < deadline, "the messages did not come in time"
            for descriptor, _ in poll.poll(0.05):
                by_descriptor[descriptor].read()


@dataclass(frozen=True, slots=True)
class Figures:
    """What slow readers cost; delays are in seconds, from sending a message to its arrival at a witness."""

    slow: int
    messages: int
    grown_bytes: int
    p99_alone: float
    p99_beside: float
    catch_up_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.slow} streams stopped during {self.messages} messages: memory +{self.grown_bytes / 2**20:.1f} MB, "
            f"p99 of the others {self.p99_alone * 1e3:.1f} → {self.p99_beside * 1e3:.1f} ms, "
            f"all {self.slow * self.messages} caught up in {self.catch_up_seconds:.1f} s"
        )


class Course:
    """One topic with witnesses, on which numbered messages are published at a steady pace."""

    def __init__(self, belfry: Belfry, stack: ExitStack) -> None:
        self._belfry = belfry
        self._stack = stack
        self.sent: list[float] = []
        self.witnesses = [self.reader(f"witness-{number}") for number in range(WITNESSES)]

    def reader(self, user: str, **options: Any) -> Reader:
        stream = self._stack.enter_context(self._belfry.stream(user, topics=[TOPIC], **options))
        stream.wait_for("ready")
        return Reader(stream)

    def publish(self, count: int) -> float:
        """Publish so many more while the witnesses read; their p99."""
        first, total = len(self.sent), len(self.sent) + count
        reading = threading.Thread(
            target=read_until,
            args=(self.witnesses, lambda: all(len(one.numbers) >= total for one in self.witnesses), 60 + count / 50),
        )
        reading.start()
        started = time.monotonic()
        for number in range(first, total):
            time.sleep(max(0.0, started + (number - first) / RATE - time.monotonic()))  # a pace, not a wait
            self.sent.append(time.monotonic())
            self._belfry.publish({"topic": TOPIC, "data": number, "body": BODY})
        reading.join()
        delays = [one.times[number] - self.sent[number] for one in self.witnesses for number in range(first, total)]
        return percentile(sorted(delays), 0.99)


def measure(belfry: Belfry, slow: int, messages: int) -> Figures:
    """Let `slow` streams stop reading for so many messages, and read all of them afterwards. One worker."""
    with ExitStack() as stack:
        course = Course(belfry, stack)
        course.publish(messages // 10)  # warms up
        alone = course.publish(messages // 4)
        stopped = [course.reader(f"slow-{number}", receive_buffer=4_096) for number in range(slow)]
        first, before = len(course.sent), resident_bytes(belfry.worker())
        beside = course.publish(messages)
        grown = resident_bytes(belfry.worker()) - before
        started = time.monotonic()
        read_until(
            stopped, lambda: all(len(reader.numbers) >= messages for reader in stopped), 120 + slow * messages / 1e4
        )
        took = time.monotonic() - started
        expected = list(range(first, first + messages))
        assert all(one.numbers == list(range(first + messages)) for one in course.witnesses)
        assert all(reader.numbers == expected and not reader.resets for reader in stopped)
    return Figures(slow, messages, grown, alone, beside, took)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.slow_readers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--messages", type=int, default=10_000)
    given = parser.parse_args()
    store = RedisServer()
    try:
        belfry = Belfry(store.start().url, SETTINGS)
        try:
            print(measure(belfry.start(), given.slow, given.messages))
        finally:
            belfry.destroy()
    finally:
        store.destroy()


if __name__ == "__main__":
    main()
