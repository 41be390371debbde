"""How a response uses its client's socket: takes it over, answers in one write, reads a body within a time limit.

`PARKS`, `WRITES` and `REPEAT` are what a response and the gunicorn worker agree on. `ReadDeadline` limits how long a
body may take. The last descriptors of a worker are kept for its own connections to Redis, and the ones before them for
requests: otherwise clients that wait to be accepted take every descriptor that becomes free, and a worker whose link to
Redis was cut never gets it back while it holds streams that it cannot serve.

Imported in gunicorn's master, before anything is patched: it opens nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import gevent
import gevent.socket
from gunicorn.http.errors import ParseException

from ..core.errors import BelfryError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PARKS: Final = "belfry.parks"  # key of the WSGI environment: this server knows what `PARKED` means
WRITES: Final = "belfry.writes"  # key of a `Writes`: this server writes answers that are known as a whole
REPEAT: Final = "belfry.repeat"  # key of a `Repeat`, where the application knows one

KEEPALIVE_IDLE_SECONDS: Final = 60
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3

# For Belfry itself: the hub's link, the pool for commands, the poller, connections to upstreams, a few files.
OWN_DESCRIPTORS: Final = 32
# Descriptors for requests: a publish must still reach the streams that fill the worker.
REQUEST_DESCRIPTORS: Final = 32
# Places in the table of descriptors that a worker reserves when it starts. They take 0.5 MB of the kernel's memory.
TABLE_DESCRIPTORS: Final = 65_536
NO_DESCRIPTOR: Final = BelfryError(
    "too_many_connections",
    "This worker has no descriptor left.",
    headers={"Retry-After": "5", "Connection": "close"},
)

Fields = list[tuple[str, str]]
Writes = Callable[["WSGIEnvironment", "StartResponse", str, Fields, bytes], Iterable[bytes]]


class Answered(NamedTuple):
    """A whole answer: its status, its header fields as lines, its body. The connection ends after the `last` one."""

    status: str
    lines: str
    body: bytes
    last: bool = False


class Repeat(NamedTuple):
    """Answers the same request with another body of at most `max_bytes`, which has to come within `seconds`.

    `answer` gives None where the request has to be parsed and answered anew; nothing was done then. `failed` is the
    answer where the body could not be read.
    """

    answer: Callable[[bytes], Answered | None]
    failed: Callable[[Exception], Answered]
    max_bytes: int
    seconds: float


class _Sent:
    """An answer that was already sent."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


PARKED: Final[Iterable[bytes]] = _Sent()  # its socket was taken
WRITTEN: Final[Iterable[bytes]] = _Sent()  # its socket is ready for the next request


def prepare(listener: socket.socket) -> None:
    """Set a listener's options: frames leave at once, and vanished peers are noticed. Linux connections inherit them.

    A proxy on this machine, which may come by a unix socket, delays nothing and does not vanish.
    """
    if listener.family == socket.AF_UNIX or sys.platform != "linux":  # elsewhere no socket is parked
        return
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def lines_of(fields: Fields) -> str:
    """Return header fields as the lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields])


def write(
    environ: WSGIEnvironment, start_response: StartResponse, status: str, fields: Fields, body: bytes
) -> Iterable[bytes]:
    """Answer with `body`: head and body in one write if the server can."""
    writes: Writes | None = environ.get(WRITES)
    if writes is not None:
        return writes(environ, start_response, status, fields, body)
    start_response(status, fields)
    return [body]


def parkable(environ: WSGIEnvironment) -> gevent.socket.socket | None:
    """The client's socket if it can be taken over: without TLS, HTTP/1, in Belfry's worker."""
    client = environ.get("gunicorn.socket")
    plain = type(client) is gevent.socket.socket and environ.get("HTTP_VERSION") != "2"
    return client if plain and environ.get(PARKS) else None


class ReadDeadline:
    """A context in which the client has `seconds` to send a body. Raises `BelfryError` `body_late` in the reader.

    If the client leaves or frames the body wrongly, the context raises `body_broken`: the fault is the client's.

    It works as `gevent.Timeout` does and costs less than half as much: one is started for each message, and hardly
    any expires.
    """

    __slots__ = ("_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._timer: Any = gevent.get_hub().loop.timer(self._seconds)
        self._timer.start(_give_up, gevent.getcurrent(), self._seconds)

    def __exit__(self, _kind: object, failure: object, _trace: object) -> None:
        self._timer.close()
        if isinstance(failure, OSError | ParseException):
            raise BelfryError("body_broken")


def _give_up(reading: Any, seconds: float) -> None:
    reading.throw(BelfryError("body_late", f"The whole body has to come within {seconds:g} s."))


def reserve_table() -> None:
    """Make the kernel grow this process's table of descriptors now, and not while the worker serves.

    The table doubles when it is full, and never shrinks. While it grows, a process with threads waits 10 to 30 ms for
    the other cores (expand_fdtable in fs/file.c of Linux).
    """
    highest = min(_limit(), TABLE_DESCRIPTORS) - 1
    with contextlib.suppress(OSError), Path(os.devnull).open("rb") as file:
        os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, highest))


def spent(descriptor: int) -> bool:
    """Whether this descriptor is one of those reserved for Belfry's own connections.

    POSIX gives out the lowest free descriptor (open(2)), so a new one's number says how many are in use at least.
    """
    return descriptor >= _limit() - OWN_DESCRIPTORS


def spent_for_streams(descriptor: int) -> bool:
    """Whether this descriptor is one of those reserved for requests, so that no stream may keep it."""
    return descriptor >= _limit() - OWN_DESCRIPTORS - REQUEST_DESCRIPTORS


def _limit() -> int:
    """Read each time: an administrator may lift it while the worker runs (prlimit(1))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30
