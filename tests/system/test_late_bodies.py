"""A body that was announced has to come in time: who sends none, or goes on for ever, holds nothing for long."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any

import pytest

from app.web.edge.reading import PIECE_BYTES
from tests.servers import HOST, Api, Belfry
from tests.system.conftest import StartBelfry
from tests.system.test_endpoints import received as to_the_end
from tests.waiting import wait_until

BODY_SECONDS = 2.0
WAITS_SECONDS = (2, 8, 32)  # for a body; the first is enough unless the machine is very busy
BATCH_BYTES = 65_536
SMALL_BYTES = 20_000  # what does not fit beside the largest batch
MESSAGE = b'{"to":"someone"}'
NDJSON = "application/x-ndjson"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PATHS = (
    ("/publish", JSON), ("/publish", NDJSON), ("/feed/read", JSON), ("/feed/archive", JSON), ("/completions", JSON),
    ("/v1/chat/completions", JSON), ("/admin/revocations", JSON), ("/login", FORM),
)  # fmt: skip


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {
        "BELFRY_BODY_SECONDS": str(BODY_SECONDS),
        "BELFRY_MAX_BATCH_BYTES": str(BATCH_BYTES),
        "BELFRY_MAX_BATCHES_BYTES": str(BATCH_BYTES),
        "BELFRY_DEMO": "1",
    }


@contextmanager
def announced(belfry: Belfry, path: str, media_type: str, framing: str) -> Iterator[socket.socket]:
    """A connection on which the head of a request was sent."""
    token = belfry.token("shop", "publish", "feed", "complete", "admin")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\n"
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        client.sendall(f"{head}{framing}\r\n\r\n".encode())
        yield client


def received(client: socket.socket) -> tuple[str, dict[str, Any]]:
    """The head of an answer after which the server hangs up, and its JSON."""
    text = b""
    while more := client.recv(65_536):
        text += more
    head, _, body = text.decode().partition("\r\n\r\n")
    return head, json.loads(body)


def test_a_body_that_never_comes_is_given_up_and_so_is_its_connection(belfry: Belfry) -> None:
    """Of every call that takes one, however it is framed; all at the same time, for each is mostly waiting."""
    with ExitStack() as stack:
        clients = {
            (path, media_type, framing): stack.enter_context(announced(belfry, path, media_type, framing))
            for (path, media_type) in PATHS
            for framing in ("Content-Length: 1000", "Transfer-Encoding: chunked")
        }
        for (path, *_), client in clients.items():
            head, problem = received(client)
            assert head.startswith("HTTP/1.1 408 "), path
            assert "\r\nConnection: close\r\n" in head
            openai = path.startswith("/v1/")  # where refusals have a form of their own
            assert ("\r\nContent-Type: application/problem+json\r\n" in head) is not openai
            assert (problem["error"] if openai else problem)["code"] == "body_late"


def test_a_body_that_comes_byte_by_byte_is_given_up_all_the_same(belfry: Belfry) -> None:
    with announced(belfry, "/publish", NDJSON, "Content-Length: 60000") as client, suppress(OSError):
        client.settimeout(BODY_SECONDS / 200)
        for sent in count():
            assert sent < 10_000, "it goes on and on"
            client.sendall(b" ")
            with suppress(TimeoutError):
                assert b" 408 " in client.recv(65_536)
                return


def test_a_body_that_comes_slowly_and_in_time_is_taken(start_belfry: StartBelfry) -> None:
    """Each piece is read before the next one is sent, for a request on another connection was answered meanwhile."""
    belfry = start_belfry(BELFRY_BODY_SECONDS="60")
    with announced(belfry, "/publish", JSON, f"Content-Length: {len(MESSAGE)}\r\nConnection: close") as client:
        for at in range(0, len(MESSAGE), 4):
            client.sendall(MESSAGE[at : at + 4])
            belfry.api().get("/health/live")
        head, receipt = received(client)
    assert head.startswith("HTTP/1.1 201 ")
    assert receipt["deliveries"]


@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_who_is_withdrawn_before_the_body_came_publishes_nothing(start_belfry: StartBelfry, media_type: str) -> None:
    belfry = start_belfry()
    framing = f"Content-Length: {len(MESSAGE)}\r\nConnection: close"
    former = belfry.api(belfry.token("shop", "publish"))
    with announced(belfry, "/publish", media_type, framing) as client:
        client.sendall(MESSAGE[:-1])
        withdraw(belfry, former)
        client.sendall(MESSAGE[-1:])
        assert b"token_revoked" in to_the_end(client, b"the end")
    assert belfry.reader("someone").feed()["messages"] == []


CHANGES = {
    "/feed/read": (JSON, b'{"all":true}'),
    "/feed/archive": (JSON, b'{"all":true}'),
    "/completions": (JSON, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'),
    "/v1/chat/completions": (JSON, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'),
    "/admin/revocations": (JSON, b'{"user":"someone"}'),
}


def test_who_is_withdrawn_before_the_body_came_changes_nothing(start_belfry: StartBelfry) -> None:
    """What is asked of the upstream would fail otherwise, for there is none."""
    belfry = start_belfry(BELFRY_UPSTREAM_URL="http://127.0.0.1:1/v1")
    former = belfry.api(belfry.token("shop", "publish"))
    with ExitStack() as stack:
        clients = {}
        for path, (media_type, text) in CHANGES.items():
            framing = f"Content-Length: {len(text)}\r\nConnection: close"
            clients[path] = stack.enter_context(announced(belfry, path, media_type, framing))
            clients[path].sendall(text[:-1])
        withdraw(belfry, former)
        for path, client in clients.items():
            client.sendall(CHANGES[path][1][-1:])
            head, told = received(client)
            assert head.startswith("HTTP/1.1 401 "), path
            assert "token_revoked" in json.dumps(told), path
    assert belfry.reader("someone").feed()["messages"] == []  # who was not withdrawn after all


def withdraw(belfry: Belfry, former: Api) -> None:
    """Withdraw the shop, after the heads that it sent before."""
    assert former.get("/presence?users=someone").status_code == 200  # later than those heads
    root = belfry.api(belfry.token("root", "admin"))
    assert root.post("/admin/revocations", json={"user": "shop"}).status_code == 200
    wait_until(lambda: former.get("/presence?users=someone").status_code == 401, what="the revocation")


def send_and_have_read(client: socket.socket, data: bytes, other: Api) -> None:
    """Send less at a time than a socket takes at once; it is read when others were answered who asked later, twice."""
    for at in range(0, len(data), PIECE_BYTES):
        client.sendall(data[at : at + PIECE_BYTES])
        for _ in range(2):
            other.get("/health/live")


def batch(api: Api) -> int:
    """The status of the answer to a batch of `SMALL_BYTES`."""
    text = MESSAGE + b"\n" * (SMALL_BYTES - len(MESSAGE))
    return api.post("/publish", data=text, headers={"Content-Type": NDJSON}).status_code


def test_batches_that_never_come_take_no_room(belfry: Belfry) -> None:
    with ExitStack() as stack, belfry.api(belfry.token("shop", "publish")) as other:
        for _ in range(10):
            stack.enter_context(announced(belfry, "/publish", NDJSON, f"Content-Length: {BATCH_BYTES}"))
        other.get("/health/live")  # later than the heads above, so all of them were begun
        assert batch(other) == 200


def beside_a_full_room(client: socket.socket, other: Api) -> int:
    """The status of a batch that comes while `client` fills the room; 408 where the server gave the body up before."""
    try:
        send_and_have_read(client, b"\n" * (BATCH_BYTES - 1), other)
        status = batch(other)
        answer = client.recv(65_536)
    except ConnectionError:  # of the socket; one of `other` is an error of requests
        return 408
    assert b" 408 " in answer
    assert batch(other) == 200
    return status


def test_batches_of_which_the_end_never_comes_give_back_their_room(
    start_belfry: StartBelfry, environment: Mapping[str, str]
) -> None:
    """The room must be full before the server gives the body up. A busy machine may need one of the longer times."""
    seen: list[int] = []
    for seconds in WAITS_SECONDS:
        belfry = start_belfry(**{**environment, "BELFRY_BODY_SECONDS": str(seconds)})
        with (
            announced(belfry, "/publish", NDJSON, f"Content-Length: {BATCH_BYTES}") as client,
            belfry.api(belfry.token("shop", "publish")) as other,
        ):
            seen.append(beside_a_full_room(client, other))
        if seen[-1] == 503:
            return
        belfry.destroy()
    pytest.fail(f"a full room let further batches in: {seen}")
