"""Parking a socket: the agreement between the stream's response and the gunicorn worker.

Imported in gunicorn's master, before anything is patched: it opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import gevent.socket

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PARKS: Final = "belfry.parks"  # key of the WSGI environment: this server knows what `PARKED` means


class _Parked:
    """An answer whose socket was taken: nothing is left to send."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


PARKED: Final[Iterable[bytes]] = _Parked()


def parkable(environ: WSGIEnvironment) -> gevent.socket.socket | None:
    """The client's socket if it may be taken: a plain one, of HTTP/1, in a worker that lets go of it."""
    client = environ.get("gunicorn.socket")
    plain = type(client) is gevent.socket.socket and environ.get("HTTP_VERSION") != "2"
    return client if plain and environ.get(PARKS) else None
