"""An untrusted request: its head is bounded, is read in linear time, and must name a host.

gunicorn's own parser searches all received bytes again whenever more arrive. Here the head is collected first, and each
byte is looked at once. Then that parser gets the whole head. Imported in gunicorn's master, before anything is patched.
"""

from __future__ import annotations

import re
from typing import Any, Final

import gevent
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import InvalidChunkSize, InvalidHeader, LimitRequestHeaders
from gunicorn.http.message import Request

# gunicorn asks for a megabyte of a body, and copies what is left of it with each piece that it hands on or drops.
READ_BYTES = 65_536
# Each read costs about as much as 1,000 bytes. A client that sends single bytes would make many of few bytes, so a read
# beyond these waits for more to come. A head or a body that comes over a network never needs so many.
FREE_READS = 64
BYTES_PER_READ = 256
PAUSE_SECONDS = 0.05  # longer by as much with each further read
PAUSE_MAX_SECONDS = 5.0
# A chunk costs as much as 500 bytes to read, however short it is. A body of more chunks than these is broken off.
FREE_CHUNKS = 1_000
BYTES_PER_CHUNK = 16

_END: Final = b"\r\n\r\n"
# RFC 9110, 7.2 with RFC 3986, 3.2.2: a name or an address, and a port.
_HOST = re.compile(r"(?:[\w.~!$&'()*+,;=%-]*|\[[\w.:%~-]+\])(?::[0-9]*)?", re.ASCII)


class FairSocket:
    """A connection that switches to other greenlets before each read.

    gevent switches only if a read has to wait. A client that sends faster than it is read, requests or a body that
    nobody wants, never lets it wait: all others, streams included, would stand still for as long as that goes on.
    A client that sends in tiny pieces waits longer and longer, while the pieces gather in the kernel.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.begin()

    def begin(self) -> None:
        """A new request: its reads are counted from here."""
        self._reads = self._bytes = 0

    def recv(self, most_bytes: int) -> bytes:
        gevent.sleep(self._pause_seconds())
        came: bytes = self._client.recv(min(most_bytes, READ_BYTES))
        self._reads += 1
        self._bytes += len(came)
        return came

    def _pause_seconds(self) -> float:
        beyond = self._reads - FREE_READS - self._bytes // BYTES_PER_READ
        return min(beyond * PAUSE_SECONDS, PAUSE_MAX_SECONDS) if beyond > 0 else 0


class HostError(InvalidHeader):
    """A request without a host, or with an invalid one."""

    def __str__(self) -> str:
        return f"An HTTP/1.1 request needs one Host header with a name or an address, got {self.hdr}"


class BoundedChunkedReader(ChunkedReader):
    """A chunked body. Too many tiny chunks are an error."""

    _chunks = _bytes = 0

    def parse_chunk_size(self, unreader: Any, data: Any = None) -> Any:
        """As gunicorn's. Raises its error for a broken body once there were too many chunks."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._bytes // BYTES_PER_CHUNK:
            raise InvalidChunkSize(b"%d chunks of %d bytes in all" % (self._chunks, self._bytes))
        size, rest = super().parse_chunk_size(unreader, data)
        self._bytes += size
        return size, rest


class BoundedRequest(Request):
    """gunicorn's request with a bound for its head, `max_bytes`."""

    max_bytes = 32_768

    def parse(self, unreader: Any) -> Any:
        """Read the head. Raises gunicorn's errors; RFC 9112, 3.2 asks for 400 without a valid `Host`."""
        rest = super().parse(unreader)
        host = next((value for name, value in self.headers if name == "HOST"), None)
        if not (_HOST.fullmatch(host) if host is not None else self.version == (1, 0)):
            raise HostError(host or "none")
        return rest

    def set_body_reader(self) -> None:
        """Know where the body ends, in one with a bounded number of chunks."""
        super().set_body_reader()
        if self.body is not None and type(self.body.reader) is ChunkedReader:
            self.body = Body(BoundedChunkedReader(self, self.unreader))

    def read_into(self, unreader: Any, buf: bytearray, stop: bool | None = False) -> None:
        """Append what comes; the first time in a request, which `stop` tells, all of its head."""
        if not stop:
            super().read_into(unreader, buf)
            return
        if type(unreader.sock) is FairSocket:
            unreader.sock.begin()
        super().read_into(unreader, buf, stop=True)
        end = buf.find(_END)
        if end < 0:
            end = self._read_on(unreader, buf)
        if end > self.max_bytes - len(_END):
            raise self._too_long()

    def _read_on(self, unreader: Any, buf: bytearray) -> int:
        """Read until the head has come, and answer where it ends; -1 where the parser can refuse what is there."""
        if type(unreader.sock) is not FairSocket:
            unreader.sock = FairSocket(unreader.sock)
        searched = feeds = ends = 0
        while True:
            if len(buf) > self.max_bytes:
                raise self._too_long()
            feeds += buf.count(b"\n", searched)
            ends += buf.count(b"\r\n", max(searched - 1, 0))
            in_first_line = ends <= buf.startswith(b"\r\n")  # one empty line may stand before it
            if feeds != ends or (in_first_line and len(buf) > self.limit_request_line + 2 * len(b"\r\n")):
                return -1
            searched = len(buf)
            super().read_into(unreader, buf)
            end = buf.find(_END, max(searched - len(_END) + 1, 0))
            if end >= 0:
                return end

    def _too_long(self) -> LimitRequestHeaders:
        return LimitRequestHeaders(f"the head has at most {self.max_bytes} bytes (BELFRY_MAX_HEAD_BYTES)")
