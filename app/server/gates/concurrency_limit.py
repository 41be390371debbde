"""Turns: of thousands of clients that come back at once, a few are let in at a time.

A request that waits here is a parsed head and nothing more; behind this point it is a Flask request, an open feed and a
Redis round trip. So a storm of connections costs memory for the few that are being opened, and no limit on waiting for
the store runs out in a queue.

Who hung up while waiting, here or in the kernel's queue, is not let in. Impatient clients that come again would else be
served one try too late for ever: each opened stream would be one that nobody reads any more.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from gevent import monkey
from gevent.lock import BoundedSemaphore

from ... import metrics
from ...core.errors import BelfryError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

AT_ONCE = 64
CROWD = 64  # so many waiting requests are enough to keep busy
WAIT_SECONDS = 10.0
RETRY_AFTER_SECONDS = 5
REFUSAL: Final = BelfryError("overloaded", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
_POLLRDHUP: int = getattr(select, "POLLRDHUP", 0)  # Linux
_poll: Any = monkey.get_original("select", "poll")()  # gevent's own would leave the turn to others


class ConcurrencyLimit:
    """WSGI middleware: requests of which `wants_turn` says so run at most `AT_ONCE` at a time.

    `refusal` answers those whose turn does not come in time.
    """

    def __init__(
        self, application: WSGIApplication, wants_turn: Callable[[WSGIEnvironment], bool], refusal: WSGIApplication
    ) -> None:
        self._application = application
        self._refusal = refusal
        self._wants_turn = wants_turn
        self._turns = BoundedSemaphore(AT_ONCE)
        self._waiting = 0
        self.crowded: Callable[[bool], object] = bool  # told when a crowd waits, and when it is gone

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request in its turn, or with 503 `overloaded` when that doesn't come in time."""
        if not self._wants_turn(environ):
            return self._application(environ, start_response)
        if not self._acquire():
            return self._refusal(environ, start_response)
        try:
            if hung_up(environ):
                return _for_nobody(start_response)
            return self._application(environ, start_response)
        finally:
            self._turns.release()

    def _acquire(self) -> bool:
        if self._turns.acquire(blocking=False):
            return True
        self._waiting += 1
        if self._waiting == CROWD:
            self.crowded(True)
        try:
            return self._turns.acquire(timeout=WAIT_SECONDS)
        finally:
            self._waiting -= 1
            if self._waiting == CROWD - 1:
                self.crowded(False)


def hung_up(environ: WSGIEnvironment) -> bool:
    """Whether the client has closed its end: after that it can't be told from one that is gone, and a stream is."""
    client = environ.get("gunicorn.socket")
    if client is None or not _POLLRDHUP:
        return False
    descriptor = client.fileno()
    _poll.register(descriptor, _POLLRDHUP)
    try:
        return bool(_poll.poll(0))
    finally:
        _poll.unregister(descriptor)


def _for_nobody(start_response: StartResponse) -> Iterable[bytes]:
    """The least that a server takes for an answer: each of thousands that left costs the others time.

    Nobody was refused: the client had left. So it counts neither as a refusal nor as an error.
    """
    metrics.ABANDONED.inc()
    start_response("503 Service Unavailable", [("Content-Length", "0")])
    return []
