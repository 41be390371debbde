"""`deploy/nginx.conf` in front of a server: what it tells, what it keeps to itself, and whose address it passes on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.servers import HOST, REPOSITORY, Belfry, RedisServer, ShippedNginx, frozen
from tests.system.conftest import in_front_of
from tests.waiting import wait_until

TICKET = "a-ticket-that-nobody-may-read"
STREAMS = ["/stream", "/completions/some-run/stream", "/completions/~/stream"]
OTHERS = ["/feed", "/presence", "/messages/x", "/", "/a/b"]


@pytest.fixture(params=[f"{HOST}:1", "unix:/nowhere/belfry.sock"], ids=["refused", "absent"])
def alone(request: pytest.FixtureRequest) -> Iterator[ShippedNginx]:
    """nginx whose server is away."""
    with in_front_of(request.param) as server:
        yield server


def get(server: ShippedNginx, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", headers=headers, timeout=60)


def test_no_log_shows_a_ticket_while_the_server_is_away(alone: ShippedNginx) -> None:
    for path in [*STREAMS, *OTHERS]:
        get(alone, f"{path}?ticket={TICKET}", Referer=f"http://site.example/?ticket={TICKET}")
        requests.post(f"{alone.url}{path}?ticket={TICKET}", data=b"x" * 100_000, timeout=60)
    wait_until(lambda: len(alone.access_log.read_text().splitlines()) == 2 * len([*STREAMS, *OTHERS]))
    assert TICKET not in alone.log()
    told = alone.access_log.read_text()
    assert TICKET not in told
    assert all("upstream_status=502" in line for line in told.splitlines())  # so an operator still sees why


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_is_told_to_come_again_while_the_server_is_away(alone: ShippedNginx, path: str) -> None:
    delays = set()
    for _ in range(40):
        answer = get(alone, path, Origin="https://app.example")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
        # A page of another origin that may not read the answer would have its EventSource closed.
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.text.startswith("retry: ")
        assert answer.text.endswith("\n\n")
        delays.add(answer.text)
    assert len(delays) > 1, "a crowd comes back spread out"


@pytest.mark.parametrize("path", OTHERS)
def test_other_requests_are_told_that_the_server_is_away(alone: ShippedNginx, path: str) -> None:
    assert get(alone, path).status_code == 502


def test_refusals_of_a_stream_pass_as_they_are(belfry: Belfry, shipped_nginx: ShippedNginx) -> None:
    for path in STREAMS:
        answer = get(shipped_nginx, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
        refused = get(shipped_nginx, f"{path}?id=x", Authorization=f"Bearer {belfry.token('alice', 'publish')}")
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")


class ImpatientNginx(ShippedNginx):
    """The shipped configuration with a tenth of its time for publishing."""

    def write(self, places: Mapping[str, str]) -> None:
        super().write({"proxy_read_timeout 10s;": "proxy_read_timeout 1s;", **places})


def test_a_frozen_server_holds_a_publisher_for_a_short_time_only(belfry: Belfry, alice: str) -> None:
    nginx = ImpatientNginx(f"{HOST}:{belfry.port}")
    try:
        nginx.start()
        token = f"Bearer {belfry.token('shop', 'publish')}"
        message = {"to": alice, "id": f"{alice}-1"}

        def status() -> int:
            sent = requests.post(f"{nginx.url}/publish", json=message, headers={"Authorization": token}, timeout=60)
            return sent.status_code

        with frozen(belfry.worker()):
            assert status() == 504
        wait_until(lambda: status() in (200, 201), what="the worker to answer within nginx's second again")
    finally:
        nginx.destroy()


class OnSocket(Belfry):
    """Belfry on a unix socket."""

    @property
    def path(self) -> Path:
        return self.directory / "belfry.sock"

    def start(self) -> OnSocket:
        self._environment["BELFRY_BIND"] = f"unix:{self.path}"
        super().start()
        return self

    def is_ready(self) -> bool:
        return "Booting worker" in self.log() and self.path.exists() and self.all_serve()


@pytest.fixture
def on_socket(redis_server: RedisServer) -> Iterator[OnSocket]:
    server = OnSocket(redis_server.url, {"BELFRY_REFUSED_TOKENS_PER_MINUTE": "2"})
    try:
        yield server.start()
    finally:
        server.destroy()


def test_behind_a_unix_socket_each_client_has_a_limit_of_its_own(on_socket: OnSocket, alice: str) -> None:
    with in_front_of(f"unix:{on_socket.path}") as nginx:
        statuses = [get(nginx, "/feed", Authorization="Bearer guessed").status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        with requests.Session() as session:
            session.mount("http://", FromAddress("127.0.0.2"))
            answer = session.get(f"{nginx.url}/feed", headers={"Authorization": "Bearer guessed"}, timeout=60)
            assert answer.status_code == 401
        token = on_socket.token(alice, "feed")
        with on_socket.stream(alice, port=nginx.port, token=token) as stream:
            stream.wait_for("ready")
            root = f"Bearer {on_socket.token('root', 'admin')}"
            wait_until(lambda: get(nginx, f"/users/{quote(alice)}", Authorization=root).json()["online"])


class FromAddress(requests.adapters.HTTPAdapter):
    """Connections from an address of this machine's own."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


class BelowPath(ShippedNginx):
    """The shipped configuration with the lines of docs/proxies.md for a server below a path."""

    def upstream(self, address: str) -> None:
        page = (REPOSITORY / "docs" / "proxies.md").read_text(encoding="utf-8")
        (lines,) = re.findall(r"```nginx\n(location /push/.*?)```", page, re.DOTALL)
        place = "# No path behind `proxy_pass`"
        include = {"include mime.types;": f"include {self.directory}/mime.types;"}
        self.write({"server belfry:8000;": f"server {address};", place: f"{lines}\n{place}", **include})


@pytest.mark.parametrize("path", STREAMS)
def test_below_a_path_too_a_stream_is_told_to_come_again_while_the_server_is_away(path: str) -> None:
    nginx = BelowPath(f"{HOST}:1")
    try:
        answer = get(nginx.start(), f"/push{path}?id=x")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
        assert answer.text.startswith("retry: ")
        assert get(nginx, "/push/feed").status_code == 502
    finally:
        nginx.destroy()


def test_below_a_path_streams_are_served_as_well(belfry: Belfry, alice: str) -> None:
    nginx = BelowPath(f"{HOST}:{belfry.port}")
    try:
        nginx.start()
        token = f"Bearer {belfry.token(alice, 'feed', 'complete')}"
        with requests.get(
            f"{nginx.url}/push/stream", headers={"Authorization": token}, timeout=60, stream=True
        ) as answer:
            assert b"event: ready" in next(answer.iter_content(4_096))
        assert get(nginx, "/push/completions/none/stream", Authorization=token).status_code == 404
        assert get(nginx, "/push/feed", Authorization=token).ok
    finally:
        nginx.destroy()
