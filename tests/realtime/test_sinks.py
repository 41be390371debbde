"""A parked socket, whatever kind of socket it is."""

from __future__ import annotations

import gevent.socket
import pytest

from app.realtime.poller import AVAILABLE, Poller
from app.realtime.sinks import ParkedSocket


@pytest.mark.skipif(not AVAILABLE, reason="no epoll on this system")
def test_a_unix_socket_can_be_parked() -> None:
    """A proxy on the same machine may come by one (`BELFRY_BIND=unix:…`); it has none of TCP's options."""
    ours, theirs = gevent.socket.socketpair()
    poller = Poller()
    sink = ParkedSocket(ours, poller, write_timeout_seconds=1)
    assert sink.write(b"data: hello\n\n")
    assert theirs.recv(64) == b"data: hello\n\n"
    sink.close()
    assert theirs.recv(64) == b""
    theirs.close()
    poller.close()
