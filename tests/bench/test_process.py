"""What is counted as a server's processor time and memory: all of it, also what a forked child used."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.process import EndedError, cpu_seconds, descendants, memory_kb, name_of
from bench.servers import Server
from tests.conftest import absent
from tests.servers import RedisServer
from tests.waiting import wait_until

BURN_SECONDS = 0.3

# Tells when its child runs, has used its time, and was waited for; goes on when told to.
PARENT = f"""
import os, sys, time
child = os.fork()
if not child:
    while time.process_time() < {BURN_SECONDS}:
        pass
    print("burnt", flush=True)
    sys.stdin.readline()
    os._exit(0)
os.waitpid(child, 0)
print("ended", flush=True)
time.sleep(60)
"""


def test_the_processor_time_of_a_child_counts_while_it_runs_and_when_it_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdin is not None
            assert parent.stdout is not None
            assert parent.stdout.readline() == "burnt\n"
            running = cpu_seconds([parent.pid])
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "ended\n"
            ended = cpu_seconds([parent.pid])
        finally:
            parent.kill()
    assert running >= BURN_SECONDS - 0.02  # two ticks
    assert ended >= running


def test_a_process_that_is_named_twice_by_itself_and_its_parent_counts_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            both = cpu_seconds([parent.pid, *descendants(parent.pid)])
        finally:
            parent.kill()
            parent.communicate()  # whose end of file lets the child go
    assert both < 2 * BURN_SECONDS


def test_a_process_that_ended_is_told_and_not_counted_as_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(EndedError, match=str(process.pid)):
        cpu_seconds([process.pid])
    with pytest.raises(EndedError, match=str(process.pid)):
        memory_kb([process.pid])
    assert name_of(process.pid) == ""


class _Store(Server):
    """A server that is a store and nothing else."""

    def __init__(self, pid: int) -> None:
        super().__init__("store", "store")
        self._pid = pid

    def _family(self) -> list[int]:
        return sorted([self._pid, *descendants(self._pid)])


def test_the_child_that_rewrites_a_stores_file_is_no_store_of_its_own() -> None:
    """It has the store's name and is gone in a moment: a figure that was to end with it was lost."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    redis = RedisServer(appendonly=True, options=["--rdb-key-save-delay", "1000000"])
    with contextlib.ExitStack() as stack:
        stack.callback(redis.destroy)
        client = stack.enter_context(redis.start().client())
        client.mset({str(number): "x" for number in range(100)})  # a second each: the child stays
        client.bgrewriteaof()
        wait_until(lambda: bool(descendants(redis.pid)))
        assert [name_of(pid) for pid in descendants(redis.pid)] == [name_of(redis.pid)]
        assert _Store(redis.pid).stores() == [redis.pid]
        assert _Store(redis.pid).everyone() == []


# Starts a process as the benchmark does, tells its number, and is ended by SIGTERM in the midst of its work.
STARTER = """
import time
from bench.process import Process, end_by_sigterm
end_by_sigterm()
process = Process(["sleep", "60"])
try:
    process.start(lambda: True)
    print(process.pid, process.folder, flush=True)
    time.sleep(60)
finally:
    process.stop()
"""


def test_a_benchmark_that_is_ended_ends_what_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        started, folder = starter.stdout.readline().split()
        starter.terminate()
        assert starter.wait(30) == 128 + signal.SIGTERM
    assert name_of(int(started)) == ""
    assert not Path(folder).exists()
