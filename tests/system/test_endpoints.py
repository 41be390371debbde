"""The endpoints on a real server: an answer is the same whether the worker or gunicorn writes it.

The worker repeats what came before on a connection. A request with an `Origin` that nobody allows has another head.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

import pytest

from tests.servers import HOST, Belfry, RedisServer, open_descriptors
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

FOREIGN = "Origin: https://elsewhere.example"
WAYS = ((), (FOREIGN,))
BODY = '{"to":"express-alice","title":"hi"}'


def lines(belfry: Belfry, fields: Sequence[str], version: str = "1.1", body: str = BODY) -> bytes:
    """A request to publish."""
    head = [
        f"POST /publish HTTP/{version}",
        "Host: localhost",
        f"Authorization: Bearer {belfry.token('shop', 'publish')}",
        "Content-Type: application/json",
        *fields,
    ]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


def received(client: socket.socket, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        piece = client.recv(65_536)
        if not piece:
            break
        text += piece
    return text


def shown(answer: bytes) -> bytes:
    """Without what differs between any two answers."""
    answer = re.sub(rb"(?m)^(Date|RateLimit-\w+|Content-Length): .*\r$", rb"\1: 0", answer)
    return re.sub(rb'"(?:id|connection)":"\w+"|"offset":\d+|retry: \d+', b"0", answer)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("fields", [(), ("Connection: close",), ("Connection: keep-alive",)])
def test_answers_are_the_same_to_the_byte(belfry: Belfry, version: str, fields: tuple[str, ...]) -> None:
    answers = []
    for way in WAYS:
        with socket.create_connection((HOST, belfry.port), timeout=60) as client:
            client.sendall(lines(belfry, (*fields, *way), version))
            answers.append(shown(received(client, b"}]}\n")))
    assert answers[0].startswith(b"HTTP/1.1 201 CREATED\r\n" if version == "1.1" else b"HTTP/1.0 201 CREATED\r\n")
    assert answers[0] == answers[1]


def test_one_connection_carries_many_requests_both_ways(belfry: Belfry) -> None:
    """Also two in one packet, and one whose body comes late."""
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        for fields in ((), (FOREIGN,), ()):
            client.sendall(lines(belfry, fields))
            assert b" 201 " in received(client, b"}]}\n")
        client.sendall(lines(belfry, ()) + lines(belfry, ("Connection: close",)))
        assert received(client, b"the end").count(b" 201 ") == 2
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        whole = lines(belfry, ())
        client.sendall(whole[:-10])
        belfry.api().get("/health/live")
        client.sendall(whole[-10:])
        assert b" 201 " in received(client, b"}]}\n")


def test_a_refusal_keeps_the_connection(belfry: Belfry) -> None:
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        client.sendall(lines(belfry, (), body="{}"))
        assert b" 422 " in received(client, b"}]}")
        client.sendall(lines(belfry, ()))
        assert b" 201 " in received(client, b"}]}\n")


@pytest.mark.parametrize("cors", ["", "https://app.example.com"])
def test_streams_begin_the_same(start_belfry: StartBelfry, cors: str) -> None:
    belfry = start_belfry(BELFRY_CORS_ORIGINS=cors, BELFRY_TRUSTED_PROXIES="127.0.0.1")
    token = belfry.token("express-bob", "feed")
    for scheme in ("http", "https"):
        starts = []
        for way in WAYS:
            head = ["GET /stream HTTP/1.1", "Host: localhost", f"X-Forwarded-Proto: {scheme}", *way]
            with socket.create_connection((HOST, belfry.port), timeout=60) as client:
                client.sendall("\r\n".join([*head, f"Authorization: Bearer {token}", "", ""]).encode())
                starts.append(shown(received(client, b'"behind":0}\n\n')))
        assert (b"Strict-Transport-Security" in starts[0]) is (scheme == "https")
        assert starts[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert starts[0] == starts[1]


def test_a_bad_cursor_a_foreign_topic_and_a_wrong_scope_are_refused_alike(belfry: Belfry) -> None:
    feed, publish = (belfry.token("express-carol", scope) for scope in ("feed", "publish"))
    for path, token, status in (
        ("/stream?last_event_id=nonsense", feed, 400),
        ("/stream?topics=secret", feed, 403),
        ("/stream", publish, 403),
        ("/stream", "guess", 401),
    ):
        answers = []
        for way in WAYS:
            head = [f"GET {path} HTTP/1.1", "Host: localhost", *way, f"Authorization: Bearer {token}", "", ""]
            with socket.create_connection((HOST, belfry.port), timeout=60) as client:
                client.sendall("\r\n".join(head).encode())
                answers.append(shown(received(client, b"}")))
        assert f" {status} ".encode() in answers[0]
        assert answers[0] == answers[1]


def test_a_publisher_that_hangs_up_leaves_nothing_open(belfry: Belfry) -> None:
    before = open_descriptors(belfry.worker())
    for _ in range(20):
        with socket.create_connection((HOST, belfry.port), timeout=60) as client:
            client.sendall(lines(belfry, ()))
    wait_until(lambda: open_descriptors(belfry.worker()) <= before + 1, what="the connections to be closed")


def test_an_access_log_has_a_line_for_each(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--access-logfile", "-"])
    try:
        belfry.start().publish({"to": "express-dora"})
        wait_until(lambda: '"POST /publish HTTP/1.1" 201' in belfry.log(), what="the line")
    finally:
        belfry.destroy()
