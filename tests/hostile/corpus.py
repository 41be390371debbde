"""Requests without a credential that once cost too much, or might: at most 64 KB each, whole ones and broken ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.hostile.growth import ATOMS

SIZE = 60_000
HEADER = 7_900  # below nginx's and gunicorn's limit for one header
START = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
CHUNKED = POST % b"/publish" + b"Transfer-Encoding: chunked\r\n\r\n"
PLACES = (
    b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /users/%s%%2F HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /static/%s HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
    b"PATCH /scheduled/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /scheduled?after=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /v1/responses/%s?stream=true HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /completions/%s/stream?format=ui-message-stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /docs?%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /stream?last_event_id=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /stream?ticket=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /feed?%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    *[
        START.replace(b"/health/live", b"/feed") + name + b": %s\r\n\r\n"
        for name in (
            b"Authorization: Bearer", b"Authorization", b"Cookie", b"Accept", b"Accept-Encoding", b"Range",
            b"If-None-Match", b"X-Forwarded-For", b"Origin", b"Last-Event-ID", b"Content-Type", b"X", b"Expect",
            b"X-Forwarded-Prefix", b"X-Request-Id", b"traceparent", b"Idempotency-Key", b"Accept-Language",
        )
    ],
)  # fmt: skip


class Hostile(NamedTuple):
    """One request. `whole` where its end is in it: what never ends a proxy does not hand on."""

    name: str
    sent: bytes
    whole: bool = True


def known() -> Iterator[Hostile]:
    """Those that did harm, and their relatives."""
    yield Hostile("question marks for a header", START + b"?" * SIZE + b"\r\n", whole=False)
    yield Hostile("question marks in a path", b"GET /\xc3\xa9" + b"?" * 8_100 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    yield Hostile("valid header lines without end", START + b"X: y\r\n" * (SIZE // 6), whole=False)
    yield Hostile("long header lines without end", START + (b"X: " + b"y" * 4_000 + b"\r\n") * 14, whole=False)
    yield Hostile("a request line without end", b"GET /" + b"x" * SIZE, whole=False)
    yield Hostile("line ends", b"\r\n" * (SIZE // 2), whole=False)
    yield Hostile("returns", b"\r" * SIZE, whole=False)
    yield Hostile("zeros", b"\0" * SIZE, whole=False)
    yield Hostile("tokens in a bad header", START + b"eyJa-" * (SIZE // 5) + b"\r\n", whole=False)
    yield Hostile("chunks of one byte", CHUNKED + b"1\r\nx\r\n" * (SIZE // 6) + b"0\r\n\r\n")
    yield Hostile("a long extension", CHUNKED + b"5;" + b'a="' * 2_000 + b"\r\nhello\r\n0\r\n\r\n")
    yield Hostile("extensions", CHUNKED + b"5" + b";a=b" * 2_000 + b"!\r\nhello\r\n0\r\n\r\n")
    yield Hostile("trailers", CHUNKED + b"0\r\n" + b"X: y\r\n" * (SIZE // 6) + b"\r\n")
    yield Hostile("a bad size", CHUNKED + b"f" * 8_000 + b"\r\n")
    for name, media_type in (
        ("a form", b"application/x-www-form-urlencoded"),
        ("parts", b"multipart/form-data; boundary=x"),
    ):
        for body in (
            b"a=b&" * (SIZE // 4),
            b"&" * SIZE,
            b"%" * SIZE,
            b"--x\r\n" * (SIZE // 5),
            b"--x\r\nA:b" * (SIZE // 9),
        ):
            head = POST % b"/login" + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (media_type, len(body))
            yield Hostile(f"{name} of {body[:8]!r}", head + body)
    for path in (b"/publish", b"/v1/chat/completions", b"/v1/responses", b"/completions", b"/session", b"/feed/read"):
        body = b'{"a":' * (SIZE // 5)
        head = POST % path + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        yield Hostile(f"deep JSON for {path.decode()}", head + body)


def generated(seed: int = 13) -> Iterator[Hostile]:
    """Each atom in two places drawn by lot, and mixtures of atoms in all places."""
    draw = random.Random(seed)
    atoms = [atom.encode(errors="surrogatepass") for atom in ATOMS]
    for atom in atoms:
        for place in draw.sample(PLACES, 2):
            yield Hostile(f"{atom!r} in {place[:60]!r}", place % (atom * (HEADER // len(atom))))
    for place in PLACES:
        mixed = b"".join(draw.choices(atoms, k=HEADER // 4))[:HEADER]
        yield Hostile(f"a mixture in {place[:60]!r}", place % mixed)
