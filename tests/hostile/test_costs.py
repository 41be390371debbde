"""What a stranger's request costs the worker: processor time, memory and log, directly and through the shipped nginx.

Processor time is the worker's own, which other processes on the machine don't add to; the least of some tries counts.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.core.settings import Settings
from tests.hostile.corpus import START, Hostile, generated, known
from tests.hostile.raw import ask
from tests.servers import HOST, Belfry, resident_bytes
from tests.waiting import patient

CPU_SECONDS = 0.02
TRIES = 4
LOG_BYTES = Settings(secret="x" * 32).log_line_bytes
GROWTH_BYTES = 32 * 1_048_576  # of all of them together
STRANGERS = 20
ROUNDS = 5
PROBES = 60
# Below this a delay is nobody's harm, and on a busy machine no more than its own noise.
FLOOR_SECONDS = 0.05


def cpu_seconds(pid: int) -> float:
    """The processor time of a process, to the nanosecond: that of /proc/…/stat comes in hundredths of a second."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread may have ended since it was listed
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def cost(belfry: Belfry, port: int, hostile: Hostile) -> tuple[float, int]:
    """Seconds of the worker's processor time and bytes of log."""
    pid, logged = belfry.worker(), belfry.log_path.stat().st_size
    before = cpu_seconds(pid)
    ask(port, hostile.sent, ends=not hostile.whole)
    ask(belfry.port, START + b"\r\n")  # answered when the worker is done with the other one
    return cpu_seconds(pid) - before, belfry.log_path.stat().st_size - logged


def excess(belfry: Belfry, port: int, hostile: Hostile) -> str:
    """What one request took too much of; empty where it kept to the bounds."""
    logged, seconds = 0, 1.0
    for _ in range(TRIES):
        took, written = cost(belfry, port, hostile)
        logged, seconds = max(logged, written), min(seconds, took)
        if seconds <= CPU_SECONDS and logged <= LOG_BYTES:
            return ""
    return f"{hostile.name}: {seconds * 1e3:.1f} ms, {logged} bytes of log"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["directly", "through nginx"])
def test_a_request_of_a_stranger_has_a_bounded_cost(belfry: Belfry, request: pytest.FixtureRequest, way: str) -> None:
    port = belfry.port if way == "directly" else request.getfixturevalue("nginx").port
    hostiles = [each for each in (*known(), *generated()) if each.whole or way == "directly"]
    assert all(len(each.sent) <= 65_536 for each in hostiles)
    for each in hostiles[:20]:
        cost(belfry, port, each)  # what is loaded once is no request's cost
    pid, before = belfry.worker(), resident_bytes(belfry.worker())
    assert [told for each in hostiles if (told := excess(belfry, port, each))] == []
    assert belfry.worker() == pid
    assert resident_bytes(pid) - before < GROWTH_BYTES
    assert "Traceback" not in belfry.log()


def drip(belfry: Belfry, ended: threading.Event) -> None:
    """Connections that send a head byte by byte, all at once as far as one thread can."""
    clients = [socket.create_connection((HOST, belfry.port), timeout=60) for _ in range(STRANGERS)]
    try:
        for client in clients:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(START)
        while not ended.wait(0.002):
            for client in clients:
                client.sendall(b"X")
    except OSError:  # refused at the limit of one header
        ended.wait()
    finally:
        for client in clients:
            client.close()


def flood(belfry: Belfry, ended: threading.Event) -> None:
    """As many requests a second as there are strangers, each of those that once stopped a worker."""
    worst = [each for each in known() if each.name in ("question marks for a header", "chunks of one byte", "trailers")]
    number = 0
    while not ended.wait(1 / STRANGERS):
        number += 1
        each = worst[number % len(worst)]
        ask(belfry.port, each.sent, ends=not each.whole)


@contextmanager
def beside(strangers: Callable[[Belfry, threading.Event], None], belfry: Belfry) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=strangers, args=(belfry, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def p99(belfry: Belfry) -> float:
    """The latency of another client on a connection of its own."""
    with belfry.api() as api:
        api.get("/health/live")
        taken = []
        for _ in range(PROBES):
            started = time.monotonic()
            assert api.get("/health/live").status_code == 200
            taken.append(time.monotonic() - started)
    return statistics.quantiles(taken, n=100)[98]


@pytest.mark.alone  # measures delays
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strangers", [drip, flood])
def test_other_clients_wait_no_longer_beside_twenty_strangers(belfry: Belfry, strangers: Any) -> None:
    quiet, beside_them = [], []
    for _ in range(ROUNDS):
        quiet.append(p99(belfry))
        with beside(strangers, belfry):
            beside_them.append(p99(belfry))
    allowed = max(2 * statistics.median(quiet), patient(FLOOR_SECONDS))
    assert statistics.median(beside_them) <= allowed, (quiet, beside_them)


def test_single_bytes_cost_a_bounded_time(belfry: Belfry) -> None:
    """Twenty heads for three seconds, a byte each two milliseconds: a third of a core once, and growing."""
    pid = belfry.worker()
    idle = cpu_seconds(pid)
    time.sleep(3)
    idle = cpu_seconds(pid) - idle
    with beside(drip, belfry):
        before = cpu_seconds(pid)
        time.sleep(3)
        spent = cpu_seconds(pid) - before - idle
    assert spent < STRANGERS * CPU_SECONDS
