"""The worker leaves when it is told to, but not before its work is done, and a crowd at the door is no trouble."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

from tests.live.conftest import StartBelfry
from tests.servers import HOST, REPOSITORY, Belfry

CROWD = 600  # many times the turns, and more than wait before newcomers stay in the kernel's queue


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
    look = "from app import worker; import gc; worker.quieten_collector(); print(gc.get_freeze_count(), gc.get_count())"
    told = subprocess.check_output([sys.executable, "-c", look], cwd=REPOSITORY, text=True)
    frozen, *young = re.findall(r"\d+", told)
    assert int(frozen) > 10_000
    assert max(map(int, young)) < 1_000


def test_a_crowd_larger_than_the_turns_is_served_to_the_last(belfry: Belfry) -> None:
    head = f"GET /stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {belfry.token('crowd', 'feed')}\r\n\r\n"
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection((HOST, belfry.port), timeout=20)) for _ in range(CROWD)]
        for client in crowd:
            client.sendall(head.encode())
        for client in crowd:
            received = b""
            while b"event: ready" not in received:
                received += client.recv(4_096)
        belfry.publish({"to": "crowd", "title": "all here"})
        for client in crowd:
            received = b""
            while b"all here" not in received:
                received += client.recv(4_096)
