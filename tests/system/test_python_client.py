"""The package of clients/python against a real Belfry, and against a server that fails as a test wants."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.core.identity.tokens import SCOPES
from belfry_client import Belfry as Client
from belfry_client import RefusedError, Retries, UnavailableError, publisher_token, user_token
from belfry_client.aio import AsyncBelfry
from belfry_client.events import Decoder
from tests.servers import HOST, REPOSITORY, Belfry, free_port

SOURCE = REPOSITORY / "clients/python"
QUICK = Retries(tries=4, first_seconds=0.01, most_seconds=0.01)


@pytest.fixture
def client(belfry: Belfry) -> Iterator[Client]:
    with Client(belfry.url, belfry.token("shop", *SCOPES), retries=QUICK) as client:
        yield client


@contextmanager
def failing(*answers: tuple[int, Mapping[str, str]] | None) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers one after the other, then 201. None cuts the connection. Yields what it got."""
    waiting, got = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(text.decode())
            answer = waiting.pop(0) if waiting else (201, {})
            if answer is None:
                self.close_connection = True
                return
            status, headers = answer
            body = json.dumps({"id": "m1", "deliveries": [], "code": "c", "detail": "d"}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_message_is_published_once_however_often_it_is_sent(client: Client, alice: str) -> None:
    first = client.publish({"to": alice, "id": f"{alice}-1", "title": "Hello"})
    again = client.publish({"to": alice, "id": f"{alice}-1", "title": "Hello"})
    assert (first.id, first.duplicate, first.deliveries[0].offset) == (f"{alice}-1", False, 1)
    assert (again.duplicate, again.deliveries[0].offset) == (True, 1)


def test_a_refusal_has_the_code_and_is_not_repeated(client: Client, alice: str) -> None:
    client.publish({"to": alice, "id": f"{alice}-1", "title": "Hello"})
    with pytest.raises(RefusedError) as refused:
        client.publish({"to": alice, "id": f"{alice}-1", "title": "Other"})
    assert (refused.value.status, refused.value.code) == (409, "id_reused")
    with pytest.raises(ValueError, match="id: expected text, got 17"):
        client.publish({"to": alice, "id": 17})


def test_a_batch_has_one_result_per_message(client: Client, alice: str) -> None:
    messages = [{"to": alice, "id": f"{alice}-{number}", "title": "x"} for number in range(1_500)]
    messages[3] = {"to": "a b", "id": f"{alice}-3", "title": "x"}
    results = client.publish_many(messages)
    assert [result.id for result in results] == [message["id"] for message in messages]
    assert [(result.status, result.code) for result in results if not result.ok] == [(422, "bad_user_id")]
    assert client.publish_many([]) == []


@pytest.mark.parametrize("status", [408, 429, 503, 507])
def test_a_request_that_may_succeed_later_is_repeated_with_its_id(status: int) -> None:
    slept: list[float] = []
    with (
        failing((status, {"Retry-After": "7"}), (status, {})) as (url, got),
        Client(url, "token", retries=QUICK, sleep=slept.append) as client,
    ):
        client.publish({"to": "alice"})
    assert len(set(got)) == 1
    assert len(got) == 3
    assert len(json.loads(got[0])["id"]) == 24
    assert slept[0] == 7
    assert slept[1] <= 0.01


def test_a_lost_answer_is_asked_for_again() -> None:
    with failing(None, None) as (url, got), Client(url, "token", retries=QUICK) as client:
        assert client.publish({"to": "alice", "id": "m1"}).id == "m1"
    assert len(set(got)) == 1
    assert len(got) == 3


def test_a_client_gives_up_after_its_tries() -> None:
    with (
        failing(*[(503, {})] * 9) as (url, got),
        Client(url, "token", retries=QUICK) as client,
        pytest.raises(UnavailableError, match="after 4 tries"),
    ):
        client.publish({"to": "alice"})
    assert len(got) == 4
    with (
        Client(f"http://{HOST}:{free_port()}", "token", retries=QUICK) as client,
        pytest.raises(UnavailableError, match="no answer"),
    ):
        client.publish({"to": "alice"})


def test_connections_are_used_again_within_a_process_only(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client._connections()
    assert client._connections() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    second = client._connections()
    assert second is not first
    first.close()


def test_presence_status_and_retraction(client: Client, belfry: Belfry, alice: str, bob: str) -> None:
    client.publish({"to": alice, "id": f"{alice}-1", "title": "Hello"})
    with belfry.stream(alice) as stream:
        stream.next_event()
        found = client.presence([alice, bob])
    assert (found[alice].online, found[bob].online) == (True, False)
    assert client.status(f"{alice}-1")["kept"] == 1
    assert client.retract(f"{alice}-1") == [alice]
    with pytest.raises(RefusedError, match="not_found"):
        client.retract(f"{alice}-1")


def test_a_stream_goes_on_after_a_cut_and_ends_when_the_server_says_so(belfry: Belfry, alice: str) -> None:
    admin = belfry.api(belfry.token("admin", "admin"))
    with (
        Client(belfry.url, lambda: belfry.token(alice, "feed"), sleep=lambda _: None) as reader,
        closing(reader.stream()) as events,
    ):
        assert next(events).type == "ready"
        belfry.publish({"to": alice, "id": f"{alice}-1"})
        assert next(events).data["id"] == f"{alice}-1"
        admin.delete(f"/presence/{alice}")
        assert next(events).data == {"reason": "disconnected"}
        belfry.publish({"to": alice, "id": f"{alice}-2"})
        assert next(events).type == "ready"
        assert next(events).data["id"] == f"{alice}-2"
        admin.delete(f"/users/{alice}")
        assert "goodbye" in [event.type for event in events]


def test_a_stream_tells_that_history_was_lost(belfry: Belfry, alice: str) -> None:
    with (
        Client(belfry.url, belfry.token(alice, "feed")) as reader,
        closing(reader.stream("aaaaaa.5-bbbbbb.3")) as events,
    ):
        assert {next(events).type, next(events).type} == {"ready", "reset"}


def test_a_token_allows_what_it_says(start_belfry: Any, alice: str) -> None:
    secret = "s" * 32
    server = start_belfry(BELFRY_SECRET=secret)
    with Client(server.url, lambda: publisher_token(secret, "shop", to=[alice])) as client:
        client.publish({"to": alice})
        with pytest.raises(RefusedError, match="target_forbidden"):
            client.publish({"to": "somebody-else"})
    assert server.api(user_token(secret, alice, topics=["news"])).get("/feed").json()["unread"] == 1
    with pytest.raises(ValueError, match="expected at least 32 bytes, got 5"):
        user_token("short", alice)


def test_the_same_for_asyncio(belfry: Belfry, alice: str) -> None:
    asyncio.run(use_async(belfry, alice))


async def use_async(belfry: Belfry, alice: str) -> None:
    async with AsyncBelfry(belfry.url, belfry.token(alice, *SCOPES), retries=QUICK) as client:
        assert (await client.publish({"to": alice, "id": f"{alice}-1"})).deliveries[0].offset == 1
        results = await client.publish_many([{"to": alice, "id": f"{alice}-2"}, {"id": f"{alice}-3"}])
        assert [result.status for result in results] == [201, 422]
        assert not (await client.presence([alice]))[alice].online
        assert (await client.status(f"{alice}-1"))["kept"] == 1
        events = client.stream()
        assert (await anext(events)).type == "ready"
        assert await client.retract(f"{alice}-1") == [alice]
        assert (await anext(events)).type == "removed"
        await events.aclose()
        with pytest.raises(RefusedError, match="id_reused"):
            await client.publish({"to": alice, "id": f"{alice}-2", "title": "Other"})


def test_events_are_read_however_they_are_cut() -> None:
    text = b'retry: 5\nid: a.1\ndata: {"a":\ndata: 1}\n\n: comment\n\nevent: x\r\ndata: "\xe2\x80\xa8"\r\n\r\n'
    for size in (1, 2, 3, len(text)):
        decoder = Decoder()
        found = [event for at in range(0, len(text), size) for event in decoder.feed(text[at : at + size])]
        assert [(event.type, event.data, event.id, event.retry_ms) for event in found] == [
            ("message", {"a": 1}, "a.1", 5),
            ("x", "\u2028", "", None),
        ]


def test_the_wheel_holds_the_typed_package_and_nothing_of_the_server(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("belfry_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "belfry_client/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"belfry_client"}
    imported = (
        "import belfry_client, sys; print(any(name.split('.')[0] in ('app', 'belfry_push') for name in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    told = subprocess.run(
        [sys.executable, "-c", imported], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert told.stdout == b"False\n"
