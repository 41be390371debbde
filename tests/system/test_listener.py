"""TLS that gunicorn ends itself: who opens a connection and says nothing holds no place for long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests

from tests.encryption import Authority
from tests.servers import HOST, Belfry, RedisServer
from tests.waiting import patient

PATIENCE_SECONDS = 1


class EncryptedBelfry(Belfry):
    """Reached by TLS alone, and waits for a client as long as gunicorn's keep-alive says."""

    def __init__(self, redis_url: str, authority: Authority) -> None:
        own = authority.certify("belfry.test", HOST)
        files = "--certfile", str(own.path), "--keyfile", str(own.key_path)
        super().__init__(redis_url, options=(*files, "--keep-alive", str(PATIENCE_SECONDS)))
        self._authority = authority

    def is_ready(self) -> bool:
        try:
            return self.ask()
        except requests.RequestException:
            return False

    def ask(self) -> bool:
        return requests.get(f"https://{HOST}:{self.port}/health/live", verify=str(self._authority.path), timeout=30).ok


@pytest.fixture(scope="module")
def encrypted(redis_server: RedisServer) -> Iterator[EncryptedBelfry]:
    with ExitStack() as stack:
        server = EncryptedBelfry(redis_server.url, Authority(stack))
        stack.callback(server.destroy)
        server.start()
        yield server


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_never_ends_is_given_up(encrypted: EncryptedBelfry, said: bytes) -> None:
    """Nothing at all, the begin of a greeting, and what is none."""
    with socket.create_connection((HOST, encrypted.port), timeout=patient(30 * PATIENCE_SECONDS)) as client:
        client.sendall(said)
        with suppress(ConnectionResetError):
            while client.recv(4_096):
                pass
    assert encrypted.ask()
    assert "Traceback" not in encrypted.log(), "anybody could fill the log"
