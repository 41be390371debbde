"""A request's head is bounded, read in linear time and names a host; no header decides where the server is mounted."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader

from app.core.settings import Settings
from app.server.request import BYTES_PER_CHUNK, FREE_CHUNKS, FREE_READS, BoundedRequest, FairSocket
from tests.hostile.raw import ask, heard
from tests.servers import HOST, Belfry
from tests.waiting import patient

LIMIT = Settings(secret="x" * 32).max_head_bytes
LINE = b"X-Filler: " + b"x" * 4_000 + b"\r\n"
START = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


def head_of(size: int) -> bytes:
    """A valid head of `size` bytes, itself and its end included."""
    lines = LINE * ((size - len(START) - 100) // len(LINE))
    left = size - len(START) - len(lines) - len(b"X: \r\n\r\n")
    head = START + lines + b"X: " + b"y" * left + b"\r\n\r\n"
    assert len(head) == size
    return head


def test_a_head_of_the_limit_is_served_and_one_byte_more_is_refused(belfry: Belfry) -> None:
    assert ask(belfry.port, head_of(LIMIT)).status == 200
    answer = ask(belfry.port, head_of(LIMIT + 1))
    assert (answer.status, answer.problem["code"]) == (431, "head_too_large")
    assert str(LIMIT) in answer.problem["detail"]


def test_the_limit_is_a_setting(redis_server: Any) -> None:
    server = Belfry(redis_server.url, {"BELFRY_MAX_HEAD_BYTES": "8192"})
    try:
        server.start()
        assert ask(server.port, head_of(8_192)).status == 200
        assert ask(server.port, head_of(8_193)).status == 431
    finally:
        server.destroy()


def test_the_second_request_of_a_connection_has_the_same_limit(belfry: Belfry) -> None:
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        client.sendall(head_of(1_000))
        assert heard(client).status == 200
        client.sendall(head_of(LIMIT + 1))
        assert heard(client).status == 431


def test_a_head_without_an_end_is_refused_at_the_limit(belfry: Belfry) -> None:
    assert ask(belfry.port, START + LINE * 20).status == 431


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n", "bad_request"),
        (b"GET /" + b"x" * 9_000, "uri_too_long"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "bad_request"),
    ],
    ids=["bare LF", "bare LF later", "long line without end", "TLS to a plain port"],
)
def test_what_can_never_become_a_head_is_refused_at_once(belfry: Belfry, sent: bytes, code: str) -> None:
    started = time.monotonic()
    assert ask(belfry.port, sent).problem["code"] == code
    assert time.monotonic() - started < patient(10)  # and not when a head has to be there


@pytest.mark.parametrize("sent", [b"", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a\r\nHost: a\r\n", b"Host: [x\r\n"])
def test_a_request_of_http_1_1_names_one_valid_host(belfry: Belfry, sent: bytes) -> None:
    answer = ask(belfry.port, b"GET /health/live HTTP/1.1\r\n" + sent + b"\r\n")
    assert (answer.status, answer.problem["code"]) == (400, "bad_request")
    assert "host" in answer.problem["detail"].lower()


@pytest.mark.parametrize("sent", [b"x", b"x.example:8000", b"[::1]:1", b"xn--bcher-kva.example", b"a_b", b""])
def test_a_valid_host_is_served(belfry: Belfry, sent: bytes) -> None:
    assert ask(belfry.port, b"GET /health/live HTTP/1.1\r\nHost: " + sent + b"\r\n\r\n").status == 200


def test_http_1_0_needs_no_host(belfry: Belfry, nginx: Any) -> None:
    for port in (belfry.port, nginx.port):
        assert ask(port, b"GET /health/live HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize("name", [b"SCRIPT_NAME", b"Script_Name", b"SCRIPT-NAME", b"PATH_INFO", b"X-Script-Name"])
@pytest.mark.parametrize("value", [b"/x", b"/health", b"other", b"/"])
def test_no_header_sets_where_the_server_is_mounted(belfry: Belfry, name: bytes, value: bytes) -> None:
    for path, status in ((b"/x/metrics", 404), (b"/health/live", 200)):
        sent = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + name + b": " + value + b"\r\n\r\n"
        assert ask(belfry.port, sent).status == status


class Dripping(SocketUnreader):
    """What gunicorn reads from, where one piece comes at a time, and then the end."""

    def __init__(self, sent: bytes, piece: int = 1) -> None:
        super().__init__(self)  # type: ignore[arg-type]  # of a socket, it calls `recv` alone
        self._sent = io.BytesIO(sent)
        self._piece = piece
        self.reads = 0

    def recv(self, most_bytes: int) -> bytes:
        self.reads += 1
        return self._sent.read(min(self._piece, most_bytes))


class Counted(bytearray):
    """A buffer that counts how many of its bytes were searched."""

    searched = 0

    def count(self, *asked: Any) -> int:
        self.searched += len(self) - (asked[1] if len(asked) > 1 else 0)
        return super().count(*asked)

    def find(self, *asked: Any) -> int:
        found = super().find(*asked)
        self.searched += (found if found >= 0 else len(self)) - (asked[1] if len(asked) > 1 else 0)
        return found


@pytest.mark.parametrize("piece", [1, 7, 1_000])
def test_each_byte_of_a_head_is_looked_at_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("app.server.request.gevent.sleep", lambda _seconds: None)

    def searched(size: int) -> int:
        request = BoundedRequest.__new__(BoundedRequest)
        request.limit_request_line = 8_190
        buffer = Counted()
        with contextlib.suppress(NoMoreData, LimitRequestHeaders):
            request.read_into(Dripping(START + b"X: y\r\n" * size, piece), buffer, stop=True)
        return buffer.searched

    small, large = searched(1_000), searched(4_000)
    assert large <= 5 * small


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_head_is_the_same_wherever_it_is_cut_into_packets(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr("app.server.request.gevent.sleep", lambda _seconds: None)
    sent = b"GET /a?b HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\nBODY AFTER IT AND MORE"
    unreader = Dripping(sent, cut)
    request = BoundedRequest(Config(), unreader, ("127.0.0.1", 1))
    assert (request.uri, request.headers) == ("/a?b", [("HOST", "x"), ("A", "b")])
    assert b"".join(iter(unreader.read, b"")) == b"BODY AFTER IT AND MORE"


@pytest.mark.parametrize("sent", [b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
def test_what_the_parser_takes_it_still_takes(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("app.server.request.gevent.sleep", lambda _seconds: None)
    for piece in (1, 2, 3, 100):
        assert BoundedRequest(Config(), Dripping(sent, piece), ("127.0.0.1", 1)).uri == "/"


def test_garbage_never_makes_the_parser_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the head is given up early, gunicorn's parser refuses what is there: it would read on in its own way."""
    monkeypatch.setattr("app.server.request.gevent.sleep", lambda _seconds: None)
    for sent in (b"GET /" + b"x" * 20_000, b"a\nb", b"GET / HTTP/1.1\r\nA: b\nC: d\r\n", b"\r\n" + b"x" * 20_000):
        with pytest.raises(ParseException):
            BoundedRequest(Config(), Dripping(sent, 10), ("127.0.0.1", 1))


def test_single_bytes_cost_few_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of the limit in single bytes, one each millisecond: the reads are few and the pauses grow."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("app.server.request.gevent.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))

    class Slow:
        taken = reads = 0

        def recv(self, _most_bytes: int) -> bytes:
            self.reads += 1
            clock.now = max(clock.now, (self.taken + 1) / 1_000)
            came = min(int(clock.now * 1_000), LIMIT) - self.taken
            self.taken += came
            return b"x" * came

    source = Slow()
    fair = FairSocket(source)
    while source.taken < LIMIT:
        assert fair.recv(65_536)
    assert source.reads < 4 * FREE_READS


def test_a_body_of_many_tiny_chunks_is_broken_off_and_one_of_larger_chunks_is_not(belfry: Belfry) -> None:
    start = f"POST /publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {belfry.token('shop', 'publish')}\r\n"
    start += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    tiny = ask(belfry.port, start.encode() + b"1\r\n \r\n" * (2 * FREE_CHUNKS) + b"0\r\n\r\n")
    assert (tiny.status, tiny.problem["code"]) == (400, "body_broken")
    chunk = b"%x\r\n%b\r\n" % (BYTES_PER_CHUNK, b" " * BYTES_PER_CHUNK)
    usual = ask(belfry.port, start.encode() + chunk * (2 * FREE_CHUNKS) + b'e\r\n{"to":"alice"}\r\n0\r\n\r\n')
    assert usual.status == 201


def test_ordinary_pieces_are_never_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("app.server.request.gevent.sleep", pauses.append)
    fair = FairSocket(Dripping(b"x" * 1_000_000, 536))
    while fair.recv(65_536):
        pass
    assert set(pauses) == {0}
