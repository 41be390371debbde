"""A publisher that keeps its connection: what it sends again goes a way of its own, and is answered all the same."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.live.conftest import StartBelfry
from tests.live.test_express import BODY, FOREIGN, lines, received, shown
from tests.servers import HOST, Belfry, RedisServer
from tests.waiting import patient, wait_until

JSON = "Content-Type: application/json"


@pytest.fixture
def client(belfry: Belfry) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, belfry.port), timeout=10) as client:
        yield client


def request(token: str, body: str, *fields: str) -> bytes:
    head = ["POST /publish HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", JSON, *fields]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and all of the next answer."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += client.recv(65_536) or b"\r\n\r\n"
    head, _, body = text.partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split()[1]), head + b"\r\n\r\n" + body


def ask(client: socket.socket, data: bytes) -> tuple[int, bytes]:
    client.sendall(data)
    return answer(client)


def test_gunicorn_parses_two_of_ten_and_all_are_answered_to_the_byte_alike(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--log-level", "debug"])  # then it logs what it parsed
    try:
        belfry.start()
        with socket.create_connection((HOST, belfry.port), timeout=10) as client:
            usual = lines(belfry, ())  # once, for the token of the next second is another one
            answers = {shown(ask(client, usual)[1]) for _ in range(10)}
            assert belfry.log().count("POST /publish") == 2
            assert answers == {shown(ask(client, lines(belfry, (FOREIGN,)))[1])}
            assert belfry.log().count("POST /publish") == 3
    finally:
        belfry.destroy()


def test_each_message_is_checked_and_counted(belfry: Belfry, client: socket.socket, alice: str) -> None:
    token = belfry.token("regular", "publish")
    for number in range(5):
        status, text = ask(client, request(token, f'{{"to":"{alice}","id":"{alice}-{number}"}}'))
        assert (status, f'"offset":{number + 1},'.encode() in text) == (201, True)
    assert ask(client, request(token, f'{{"to":"{alice}","id":"{alice}-4"}}'))[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 400),
        ("{}", 422),
        ('{"to":"a b"}', 422),
        ('{"to":"regular-dup","id":"regular-dup","title":"other"}', 409),
        ('{"to":"alice","body":"' + "x" * 65_536 + '"}', 413),
    ],
)
def test_what_is_refused_is_refused_by_flask_once(
    belfry: Belfry, client: socket.socket, body: str, status: int
) -> None:
    token = belfry.token("regular", "publish")
    first = request(token, '{"to":"regular-dup","id":"regular-dup"}')
    for _ in range(3):
        assert ask(client, first)[0] in (200, 201)
    with socket.create_connection((HOST, belfry.port), timeout=10) as other:
        expected = ask(other, request(token, body))
    before = remaining(ask(client, first)[1])
    refused = ask(client, request(token, body))
    assert refused[0] == expected[0] == status
    assert shown(refused[1]) == shown(expected[1])
    after = ask(client, first)  # the connection goes on, and a refusal was charged once at most
    assert after[0] == 200
    assert before - remaining(after[1]) <= 2


def remaining(text: bytes) -> int:
    return next(int(line[21:]) for line in text.split(b"\r\n") if line.startswith(b"RateLimit-Remaining: "))


def test_publishers_that_share_a_connection_keep_their_own_rights(belfry: Belfry, client: socket.socket) -> None:
    """As behind a proxy. Each may address one user; the tokens are of one length, and so are the requests."""
    tokens = {user: belfry.token(f"for-{user}", "publish", to=[user]) for user in ("anna", "bert")}
    for pair in ["aa", "aa", "aa", "ba", "ab", "bb", "bb", "bb", "ab", "ba", "aa", "bb", "ab"]:
        name = {"a": "anna", "b": "bert"}
        holder, to = pair[0], pair[1]
        status, _ = ask(client, request(tokens[name[holder]], f'{{"to":"{name[to]}"}}'))
        assert status == (201 if holder == to else 403), (holder, to)


def test_a_token_that_expires_meanwhile_is_refused(belfry: Belfry, client: socket.socket) -> None:
    data = request(belfry.token("brief", "publish", seconds=2), BODY)
    deadline = time.monotonic() + 10
    statuses = {ask(client, data)[0]}
    while 401 not in statuses and time.monotonic() < deadline:
        statuses.add(ask(client, data)[0])
    assert statuses == {201, 401}


def test_other_requests_come_in_between(belfry: Belfry, client: socket.socket, alice: str) -> None:
    """Several in one packet, one in pieces, one by chunks, one that waits to be asked for its body, another route."""
    token = belfry.token("regular", "publish")
    body = f'{{"to":"{alice}"}}'
    usual = request(token, body)
    chunked = usual.replace(f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked")
    chunked = chunked[: -len(body)] + f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()
    for _ in range(2):
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        client.sendall(usual * 3)
        assert received_of(client, 3) == [b"201"] * 3
        for at in (1, 60, len(usual) - len(body), len(usual) - 3):
            client.sendall(usual[:at])
            belfry.api().get("/health/live")  # the piece has come
            assert ask(client, usual[at:])[0] == 201
        assert ask(client, chunked)[0] == 201
        client.sendall(request(token, body, "Expect: 100-continue")[: -len(body)])
        assert received(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert ask(client, body.encode())[0] == 201
        assert ask(client, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
    assert ask(client, usual)[1].count(b'"offset":25,') == 1, "each was published once"


def received_of(client: socket.socket, count: int) -> list[bytes]:
    text = b""
    while text.count(b"}]}\n") < count:
        text += client.recv(65_536)
    return [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]]


def test_two_lengths_or_a_chunked_body_beside_one_are_refused_as_ever(belfry: Belfry) -> None:
    for further in ("Content-Length: 5", "Transfer-Encoding: chunked"):
        with socket.create_connection((HOST, belfry.port), timeout=10) as client:
            usual = lines(belfry, ())
            for _ in range(3):
                assert ask(client, usual)[0] == 201
            assert ask(client, lines(belfry, (further,)))[0] == 400
            assert client.recv(1) == b"", "hung up"


def test_who_is_silent_is_hung_up_on_as_by_gunicorn(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--keep-alive", "1"])
    try:
        belfry.start()
        usual = lines(belfry, ())
        for count in (0, 1, 3):  # none was asked, gunicorn waits, the worker waits
            with socket.create_connection((HOST, belfry.port), timeout=patient(10)) as client:
                for _ in range(count):
                    assert ask(client, usual)[0] == 201
                assert client.recv(1) == b""
        with socket.create_connection((HOST, belfry.port), timeout=patient(10)) as client:
            for _ in range(3):
                ask(client, usual)
            client.sendall(usual[:20])
            assert client.recv(1) == b"", "a head must come in time as well"
    finally:
        belfry.destroy()


def test_a_worker_that_stops_answers_regulars_and_leaves(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    usual = lines(belfry, ())
    with socket.create_connection((HOST, belfry.port), timeout=10) as client:
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        client.sendall(usual[:-5])
        belfry.api().get("/health/live")
        stopping = threading.Thread(target=belfry.terminate)
        stopping.start()
        assert ask(client, usual[-5:])[0] == 201
        stopping.join()
    with socket.socket() as late:
        wait_until(lambda: late.connect_ex((HOST, belfry.port)) != 0, what="the port to be closed")


def test_an_idle_regular_holds_no_worker_back(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    usual = lines(belfry, ())
    with socket.create_connection((HOST, belfry.port), timeout=10) as client:
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        assert belfry.terminate() == 0
