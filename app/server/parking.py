"""What a response and the gunicorn worker agree on: parking a socket, an answer written as a whole, one repeated.

Imported in gunicorn's master, before anything is patched: it opens nothing.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import gevent.socket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PARKS: Final = "belfry.parks"  # key of the WSGI environment: this server knows what `PARKED` means
WRITES: Final = "belfry.writes"  # key of a `Writes`: this server writes answers that are known as a whole
REPEAT: Final = "belfry.repeat"  # key of a `Repeat`, where the application knows one

KEEPALIVE_IDLE_SECONDS: Final = 60
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3

Fields = list[tuple[str, str]]
Writes = Callable[["WSGIEnvironment", "StartResponse", str, Fields, bytes], Iterable[bytes]]


class Answered(NamedTuple):
    """A whole answer: its status, its header fields as lines, its body. The connection ends after the `last` one."""

    status: str
    lines: str
    body: bytes
    last: bool = False


class Repeat(NamedTuple):
    """What answers the same request with another body of at most `max_bytes`, which has to come within `seconds`.

    `answer` gives None where the request has to be parsed and answered anew; nothing was done then. `failed` is the
    answer where the body could not be read.
    """

    answer: Callable[[bytes], Answered | None]
    failed: Callable[[Exception], Answered]
    max_bytes: int
    seconds: float


class _Sent:
    """An answer of which nothing is left to send."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


PARKED: Final[Iterable[bytes]] = _Sent()  # its socket was taken
WRITTEN: Final[Iterable[bytes]] = _Sent()  # its socket is ready for the next request


def prepare(listener: socket.socket) -> None:
    """Frames leave at once, and a peer that vanished without a FIN is noticed: on Linux every connection inherits it.

    A proxy on this machine, which may come by a unix socket, delays nothing and does not vanish.
    """
    if listener.family == socket.AF_UNIX or sys.platform != "linux":  # elsewhere no socket is parked
        return
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def write(
    environ: WSGIEnvironment, start_response: StartResponse, status: str, fields: Fields, body: bytes
) -> Iterable[bytes]:
    """Answer with `body`: head and body in one write where the server knows how."""
    writes: Writes | None = environ.get(WRITES)
    if writes is not None:
        return writes(environ, start_response, status, fields, body)
    start_response(status, fields)
    return [body]


def parkable(environ: WSGIEnvironment) -> gevent.socket.socket | None:
    """The client's socket if it may be taken: a plain one, of HTTP/1, in a worker that lets go of it."""
    client = environ.get("gunicorn.socket")
    plain = type(client) is gevent.socket.socket and environ.get("HTTP_VERSION") != "2"
    return client if plain and environ.get(PARKS) else None
