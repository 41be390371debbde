"""Raw requests, as a stranger sends them, and what comes back."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.servers import HOST

SECONDS = 60.0  # only a test that fails waits so long


class Heard(NamedTuple):
    """What a stranger was answered: 0 where the connection ended without an answer."""

    status: int
    head: bytes
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


def ask(port: int, *pieces: bytes, ends: bool = False) -> Heard:
    """Send `pieces`, each in a packet of its own, and read until the server closes or has answered once.

    With `ends` nothing more is sent after them, which the server hears.
    """
    with socket.create_connection((HOST, port), timeout=SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # refused before all was sent
            for piece in pieces:
                client.sendall(piece)
            if ends:
                client.shutdown(socket.SHUT_WR)
        return heard(client)


def heard(client: socket.socket) -> Heard:
    """The next answer on a connection."""
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while not _is_whole(came) and (piece := client.recv(65_536)):
            came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    return Heard(int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0, head, body)


def _is_whole(came: bytes) -> bool:
    head, end, body = came.partition(b"\r\n\r\n")
    length = _field(head.split(b"\r\n"), b"content-length:")
    return bool(end) and length.isdigit() and len(body) >= int(length)


def _field(lines: Iterable[bytes], name: bytes) -> bytes:
    return next((line[len(name) :].strip() for line in lines if line.lower().startswith(name)), b"")
