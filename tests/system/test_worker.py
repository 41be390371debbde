"""The worker leaves when it is told to, but not before its work is done, and a crowd at the door is no trouble."""

from __future__ import annotations

import http.client
import json
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from gunicorn.config import Config

from app.server.sockets import OWN_DESCRIPTORS
from app.server.worker import freeze_settings
from tests.servers import HOST, REPOSITORY, Belfry, frozen, open_descriptors
from tests.system.conftest import StartBelfry
from tests.waiting import patient

CROWD = 300  # many times the turns, and more than wait before newcomers stay in the kernel's queue
MOST_WAKE_UPS = 28.0  # a second
ROUNDS = 4  # what a worker does once, for example after its start, is not in each


def test_an_idle_connection_holds_no_worker_back(start_belfry: StartBelfry) -> None:
    # The worker may wait for open requests longer than `terminate` has patience.
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    with belfry.api() as idle:
        idle.get("/health/live")
        assert belfry.terminate() == 0


def test_a_request_that_was_accepted_is_answered_before_the_worker_leaves(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    body = b'{"to":"alice","title":"the last one"}'
    head = (
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {belfry.token('shop', 'publish')}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((HOST, belfry.port)) as publisher:
        publisher.sendall(head.encode() + body[:10])
        belfry.api().get("/health/live")  # later than the bytes above, so the request has begun
        stopping = threading.Thread(target=belfry.terminate)
        stopping.start()
        publisher.sendall(body[10:])
        assert b" 201 " in publisher.recv(4_096)
    stopping.join()


def test_the_collector_never_goes_through_what_was_loaded() -> None:
    """In a process of its own, for it is told to the whole interpreter."""
    look = (
        "from app.server import worker; import gc; worker.tune_garbage_collector();"
        "print(gc.get_freeze_count(), gc.get_count())"
    )
    told = subprocess.check_output([sys.executable, "-c", look], cwd=REPOSITORY, text=True)
    frozen, *young = re.findall(r"\d+", told)
    assert int(frozen) > 10_000
    assert max(map(int, young)) < 1_000


def test_gunicorns_settings_stay_what_they_are_and_are_found_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = Config()
    cfg.set("workers", 3)
    before = {name: getattr(cfg, name) for name in cfg.settings}
    freeze_settings(cfg)
    monkeypatch.delattr(Config, "__getattr__")
    assert {name: getattr(cfg, name) for name in cfg.settings} == before


def test_an_idle_worker_sleeps(start_belfry: StartBelfry) -> None:
    """It must do 12 to 15 things a second. A loop that looks for something does 20 more, in every round."""
    belfry = start_belfry()
    with belfry.stream("sleeper"):
        rates: list[float] = []
        while not rates or min(rates) >= MOST_WAKE_UPS:
            assert len(rates) < ROUNDS, rates
            before, since = wake_ups(belfry.worker()), time.monotonic()
            time.sleep(2)
            rates.append((wake_ups(belfry.worker()) - before) / (time.monotonic() - since))


def wake_ups(pid: int) -> int:
    """How often it went to sleep so far."""
    (count,) = re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(count)


def test_a_worker_that_sleeps_hears_at_once_that_it_shall_stop() -> None:
    """In a process of its own, which gets a signal; otherwise it would sleep for an hour."""
    stay = """
from gevent import monkey; monkey.patch_all()
import os, signal, threading
from app.server import worker
worker.NOTIFY_SECONDS = 3_600
one = worker.BelfryWorker.__new__(worker.BelfryWorker)
one.alive, one.PIPE, one._tell_alive = True, os.pipe2(os.O_NONBLOCK), lambda: print(flush=True)
one.init_signals()
one._wait_for_stop()
"""
    with subprocess.Popen([sys.executable, "-c", stay], cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(patient(60)) == 0


def test_a_crowd_larger_than_the_turns_is_served_to_the_last(belfry: Belfry) -> None:
    head = f"GET /stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {belfry.token('crowd', 'feed')}\r\n\r\n"
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection((HOST, belfry.port), timeout=60)) for _ in range(CROWD)]
        for client in crowd:
            client.sendall(head.encode())
        for client in crowd:
            read_until(client, b"event: ready")
        belfry.publish({"to": "crowd", "title": "all here"})
        for client in crowd:
            read_until(client, b"all here")


def read_until(client: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        more = client.recv(4_096)
        assert more, f"hung up after {received!r}"
        received += more


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("GET /" + "x" * 10_000 + " HTTP/1.1\r\n\r\n", "uri_too_long"),
        ("GET / HTTP/1.1\r\nX: " + "x" * 10_000 + "\r\n\r\n", "head_too_large"),
        ("GET / HTTP/1.1\r\n" + "X: y\r\n" * 100 + "\r\n", "head_too_large"),
        ("nonsense\r\n\r\n", "bad_request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "bad_request"),
        ("GET / HTTP/9.9\r\n\r\n", "bad_request"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: strange\r\n\r\n", "bad_request"),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "bad_request"),
    ],
    ids=["long line", "long header", "many headers", "no request", "no header", "version", "coding", "length"],
)
def test_what_is_no_request_is_refused_with_a_problem_too(belfry: Belfry, sent: str, code: str) -> None:
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        client.sendall(sent.encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        problem = json.loads(answer.read())
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == (code, answer.status)
    assert f'belfry_refusals_total{{code="{code}"}}' in belfry.api().get("/metrics").text


def test_without_a_descriptor_it_says_so_also_to_a_page_of_another_origin(start_belfry: StartBelfry) -> None:
    origin = "https://shop.example"
    belfry = start_belfry(BELFRY_CORS_ORIGINS=origin)
    pid = belfry.worker()
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_descriptors(pid) + OWN_DESCRIPTORS // 2, hard))
    with socket.socket() as client:
        client.settimeout(60)
        with frozen(pid):  # it looks at what is there when it accepts
            client.connect((HOST, belfry.port))
            client.sendall(f"GET /feed HTTP/1.1\r\nHost: x\r\norigin: {origin}\r\n\r\nOrigin: no".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (503, "too_many_connections")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("5", "close")
