"""`deploy/nodes/haproxy.cfg` while no node serves: a stream's client comes again, and anyone else gets 503."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.scripted_server import Answer, scripted_server
from tests.servers import HOST, REPOSITORY, Server, changed, free_port

pytestmark = pytest.mark.needs("haproxy")

STREAMS = ["/stream", "/completions/some-run/stream", "/completions/~/stream"]
OTHERS = ["/feed", "/presence", "/publish", "/v1/models", "/completions/some-run", "/stream/x"]
ORIGIN = "https://app.example"
REFUSED = '{"code": "too_many_connections"}'


class ShippedHaproxy(Server):
    """HAProxy with the shipped configuration and one node at a fixed address, which it believes to be ready."""

    def __init__(self, node: str) -> None:
        super().__init__("haproxy")
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._config_path = self.directory / "haproxy.cfg"
        places = {
            "maxconn 65536": "maxconn 256",
            "retries 2": "retries 0",  # each one waits a second
            "bind :8080": f"bind {HOST}:{self.port}",
            "server-template node 10 belfry:8000": f"server node {node}",
            "default-server check inter 2s fall 2 rise 1 resolvers dns init-addr none": "",
        }
        self._config_path.write_text(changed((REPOSITORY / "deploy/nodes/haproxy.cfg").read_text(), places))

    def command(self) -> Sequence[str | Path]:
        binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        assert binary is not None, "no HAProxy on this machine"
        return [binary, "-f", self._config_path]

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


@pytest.fixture(scope="module")
def alone() -> Iterator[ShippedHaproxy]:
    """HAProxy whose node is away."""
    server = ShippedHaproxy(f"{HOST}:1")
    try:
        yield server.start()
    finally:
        server.destroy()


def get(url: str) -> requests.Response:
    return requests.get(url, headers={"Origin": ORIGIN}, timeout=30)


def delay_of(answer: requests.Response) -> int:
    """The delay that an EventSource would take from an answer that does not end it."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    # A page of another origin that may not read the answer would have its EventSource closed.
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.text.startswith("retry: ")
    assert answer.text.endswith("\n\n")
    return int(answer.text.removeprefix("retry: "))


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_is_told_to_come_again_while_no_node_serves(alone: ShippedHaproxy, path: str) -> None:
    delays = {delay_of(get(f"{alone.url}{path}?id=x")) for _ in range(5)}
    assert len(delays) > 1, "a crowd comes back spread out"
    assert min(delays) >= 2_000
    assert max(delays) < 5_000


@pytest.mark.parametrize("path", OTHERS)
def test_other_requests_are_told_that_no_node_serves(alone: ShippedHaproxy, path: str) -> None:
    assert get(f"{alone.url}{path}").status_code == 503


@pytest.mark.parametrize("path", STREAMS)
def test_a_node_that_refuses_a_stream_for_now_ends_it_for_nobody(path: str) -> None:
    refused = Answer(503, REFUSED.encode(), {"Content-Type": "application/problem+json"})
    with scripted_server(refused, refused) as node:
        server = ShippedHaproxy(urlsplit(node.url).netloc)
        try:
            server.start()
            delay_of(get(f"{server.url}{path}"))
            answer = get(f"{server.url}/feed")
            assert (answer.status_code, answer.text) == (503, REFUSED)
        finally:
            server.destroy()


def test_the_other_refusals_of_a_stream_pass_as_they_are() -> None:
    refused = Answer(401, b'{"code": "token_missing"}', {"Content-Type": "application/problem+json"})
    with scripted_server(refused) as node:
        server = ShippedHaproxy(urlsplit(node.url).netloc)
        try:
            answer = get(f"{server.start().url}/stream")
        finally:
            server.destroy()
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
