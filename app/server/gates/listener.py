"""The worker's listeners: they accept connections, and refuse some of them.

Imported in gunicorn's master, before anything is patched.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent import monkey
from gevent.server import StreamServer

from ..sockets import spent

REQUEST_BYTES = 16_384
logger = logging.getLogger("belfry.listener")
_ORIGIN = re.compile(rb"\r\nOrigin:[ \t]*([^\r\n]*)", re.IGNORECASE)


class ConnectionListener(StreamServer):
    """Accepts connections, and refuses those that took a descriptor which the worker needs for itself.

    `no_room` knows what to answer to a page of an origin.
    """

    no_room: Callable[[str], bytes]
    handshake_seconds: float  # that a client of TLS has until both have agreed; plain ones have as long for a request
    ssl_args: Any  # gevent's own, whose stubs know neither this one's values nor that the next is of the instance
    wrap_socket: Any

    def do_handle(self, *accepted: Any) -> None:
        """At once, and not in the connection's greenlet: a hundred may be accepted before the first of those runs."""
        if spent(accepted[0].fileno()):
            refuse(accepted[0], self.no_room)
        else:
            super().do_handle(*accepted)

    def wrap_socket_and_handle(self, client: Any, address: Any) -> None:
        """As gevent's, which waits for the handshake without end: connections that say nothing could hold every place.

        One that fails is the client's doing and no error of ours; its socket is closed then.
        """
        late = TimeoutError("the TLS handshake did not come in time")  # an OSError, for which gevent closes the socket
        try:
            with gevent.Timeout(self.handshake_seconds, late):
                wrapped = self.wrap_socket(client, **self.ssl_args)
        except OSError as error:
            logger.debug("no TLS with %s: %s", address, error)
            return
        with wrapped:
            self.handle(wrapped, address)


def refuse(client: socket.socket, no_room: Callable[[str], bytes]) -> None:
    """Refuse a connection without waiting: neither for the request nor until the answer has left."""
    with contextlib.suppress(OSError):
        client.setblocking(False)
        came = b""
        with contextlib.suppress(BlockingIOError):
            # Left unread it would turn the close into a reset, which overtakes the answer.
            came = client.recv(REQUEST_BYTES)
        origin = _ORIGIN.search(came.partition(b"\r\n\r\n")[0])
        client.send(no_room(origin[1].decode("latin-1").strip() if origin else ""))
        client.shutdown(socket.SHUT_WR)
    client.close()


class ListenerAddress:
    """The address of a listener, which gunicorn asks for with each connection. It outlives the listener."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        return self._name


def is_shared(listener: Any) -> bool:
    """Whether the arbiter listens there too. Then another worker serves waiting clients, for example after a reload.

    Closing the last copy of a listener resets the connections in its queue. An arbiter that stops has closed its own
    before it tells the workers. Only Linux tells; elsewhere nobody is relied on.
    """
    with contextlib.suppress(OSError):
        ours = Path(f"/proc/self/fd/{listener.fileno()}").readlink()
        return any(map(partial(_leads_to, ours), Path(f"/proc/{os.getppid()}/fd").iterdir()))
    return False


def _leads_to(target: Path, link: Path) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile
        return link.readlink() == target
    return False


def has_callers(server: StreamServer) -> bool:
    """Whether a connection waits to be accepted."""
    poll = monkey.get_original("select", "poll")()
    poll.register(server.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def pause(servers: Iterable[StreamServer], crowded: bool) -> None:
    """Stop accepting while many requests wait: in the kernel's queue new connections cost nothing."""
    for server in servers:
        if server.started:
            server.stop_accepting() if crowded else server.start_accepting()
