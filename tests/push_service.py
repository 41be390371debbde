"""A push service of our own for tests, and the browser that decrypts what it receives.

The service answers each push as told: with a status, advice, a pause, or by breaking off.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core import jws
from app.core.push.encryption import DeviceKeys, point_of

RESET = 0  # a status that stands for breaking off


class Browser:
    """The receiving half of RFC 8291, written from its section 3.4 and not from our sending half."""

    def __init__(self, key: EllipticCurvePrivateKey | None = None, auth: bytes = bytes(range(16))) -> None:
        self._key = key or generate_private_key(SECP256R1())
        self._auth = auth
        self._point = point_of(self._key)
        self.keys = DeviceKeys(self._point, auth)
        self.p256dh = jws.encoded(self._point)

    def subscription(self, endpoint: str) -> dict[str, Any]:
        """What `PushSubscription.toJSON()` gives."""
        keys = {"p256dh": self.p256dh, "auth": jws.encoded(self._auth)}
        return {"endpoint": endpoint, "expirationTime": None, "keys": keys}

    def decrypted(self, body: bytes) -> bytes:
        salt, size, id_length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + id_length], body[21 + id_length :]
        assert len(body) <= size, "more than one record"
        shared = self._key.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), sender))
        info = b"WebPush: info\x00" + self._point + sender
        material = HKDF(SHA256(), 32, self._auth, info).derive(shared)
        key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(material)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(material)
        text = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
        assert text[-1:] == b"\x02", "not the last record"
        return text[:-1]

    def read(self, push: Received) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.decrypted(push.body))
        return found


@dataclass
class Received:
    """One request that came to the service."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """A running service. `answers` has what it says next for a path: a status and headers. Without one it says 201."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # paths that get no answer until `released`
    released: threading.Event = field(default_factory=threading.Event)
    connections: int = 0

    def endpoint(self, name: str) -> str:
        return f"{self.url}/push/{name}"

    def at(self, name: str) -> list[Received]:
        """What came for one device, in order."""
        return [push for push in list(self.received) if push.path == f"/push/{name}"]

    def says(self, name: str, *answers: int | tuple[int, dict[str, str]]) -> None:
        """Answer the next pushes to a device like this."""
        self.answers[f"/push/{name}"] = [(each, {}) if isinstance(each, int) else each for each in answers]


@contextmanager
def push_service() -> Iterator[PushService]:
    service = PushService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            service.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers = next(iter(service.answers.get(self.path, ())), (201, {}))
            if service.answers.get(self.path):
                service.answers[self.path].pop(0)
            service.received.append(Received(self.path, {name.lower(): of for name, of in self.headers.items()}, body))
            if self.path in service.silent:
                service.released.wait(60)
            if status == RESET:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
