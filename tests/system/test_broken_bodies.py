"""A body that can't be read to its end is its client's doing: it is refused, and counts as no failure of the server."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping

import pytest

from tests.servers import HOST, Belfry
from tests.system.test_endpoints import lines
from tests.system.test_endpoints import received as to_the_end
from tests.system.test_late_bodies import PATHS, announced, received
from tests.system.test_limits import count
from tests.waiting import patient, wait_until

BROKEN = (b"-5\r\n", b"5;=\r\n", b"3\r\n{} xx", b"0\r\nHost: x\r\n\r\n")
REFUSED = 'belfry_refusals_total{code="body_broken"}'


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_FIGURES_SECONDS": "1"}


@pytest.mark.parametrize(("path", "media_type"), PATHS)
def test_chunks_that_are_none_are_refused_and_end_the_connection(belfry: Belfry, path: str, media_type: str) -> None:
    for broken in BROKEN:
        with announced(belfry, path, media_type, "Transfer-Encoding: chunked") as client:
            client.sendall(broken)
            head, problem = received(client)
        assert head.startswith("HTTP/1.1 400 "), (broken, head)
        assert "\r\nConnection: close\r\n" in head
        openai = path.startswith("/v1/")  # where refusals have a form of their own
        assert (problem["error"] if openai else problem)["code"] == "body_broken"


KNOWN = 3  # so many times a head was answered before

Leave = Callable[[socket.socket], None]


def reset(client: socket.socket) -> None:
    """As a process that ended."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def hang_up(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("begun", "leave"),
    [(0, reset), (KNOWN, reset), (0, hang_up)],
    ids=["a reset", "a reset over a known connection", "an end between chunks"],
)
def test_who_leaves_in_the_midst_of_a_body_is_no_failure(belfry: Belfry, begun: int, leave: Leave) -> None:
    usual = lines(belfry, ())
    before = count(belfry, REFUSED)
    with socket.create_connection((HOST, belfry.port), timeout=patient(60)) as client:
        for _ in range(begun):
            client.sendall(usual)
            assert b" 201 " in to_the_end(client, b"}]}\n")
        chunked = usual.replace(b"Content-Length: 35", b"Transfer-Encoding: chunked")
        client.sendall(usual[:-5] if leave is reset else chunked[:-35] + b"3\r\n{} \r\n")
        belfry.api().get("/health/live")  # what was sent is read
        leave(client)
        wait_until(lambda: count(belfry, REFUSED) > before, what="the refusal")
    failures = re.findall(r"^belfry_failures_total\{.* (\S+)$", belfry.api().get("/metrics").text, re.MULTILINE)
    assert set(failures) <= {"0.0"}
    assert "Traceback" not in belfry.log()


@pytest.mark.parametrize(("path", "media_type"), PATHS[:-1])  # without the form
def test_a_body_that_is_shorter_than_announced_is_refused_even_if_it_reads_as_whole(
    belfry: Belfry, path: str, media_type: str
) -> None:
    whole = b'{"to":"cut","body":"x"}'
    with announced(belfry, path, media_type, f"Content-Length: {len(whole) + 5}") as client:
        client.sendall(whole)
        hang_up(client)
        head, problem = received(client)
    assert head.startswith("HTTP/1.1 400 "), head
    told = problem["error"] if path.startswith("/v1/") else problem
    assert told["code"] == "body_broken"
    assert belfry.reader("cut").feed()["messages"] == []


def test_a_repeated_request_with_a_cut_body_is_refused_too(belfry: Belfry) -> None:
    usual = lines(belfry, ())
    with socket.create_connection((HOST, belfry.port), timeout=patient(60)) as client:
        for _ in range(KNOWN):
            client.sendall(usual)
            assert b" 201 " in to_the_end(client, b"}]}\n")
        client.sendall(usual.replace(b"Content-Length: 35", b"Content-Length: 36"))
        hang_up(client)
        head, problem = received(client)
    assert (head.split()[1], problem["code"]) == ("400", "body_broken")
