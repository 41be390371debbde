"""A limit on concurrent requests: of thousands of clients that connect at once, a few are served at a time.

A request that waits here is only a parsed head. After this gate it is a Flask request, an open feed and a Redis round
trip. So a storm of connections costs memory only for the few that are being opened, and requests do not use up their
time limits for the store in a queue.

A client that hung up while it waited, here or in the kernel's queue, is skipped. Otherwise impatient clients would
always be served one try too late: nobody would read the opened streams.
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
CROWD = 64  # with so many waiting requests, no new connections need to be accepted
WAIT_SECONDS = 10.0
RETRY_AFTER_SECONDS = 5
REFUSAL: Final = BelfryError("overloaded", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
_POLLRDHUP: int = getattr(select, "POLLRDHUP", 0)  # Linux
_poll: Any = monkey.get_original("select", "poll")()  # gevent's own would switch to other greenlets


class ConcurrencyLimit:
    """WSGI middleware: at most `AT_ONCE` of the requests that `wants_turn` selects run at a time.

    `refusal` answers a request that waited for `WAIT_SECONDS`.
    """

    def __init__(
        self, application: WSGIApplication, wants_turn: Callable[[WSGIEnvironment], bool], refusal: WSGIApplication
    ) -> None:
        self._application = application
        self._refusal = refusal
        self._wants_turn = wants_turn
        self._turns = BoundedSemaphore(AT_ONCE)
        self._waiting = 0
        self.crowded: Callable[[bool], object] = bool  # called when `CROWD` requests wait, and when fewer do

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request as soon as it may run, or with 503 `overloaded` if it waits too long."""
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
    """Whether the client has closed its end. It may still read, but this can't be told from a client that is gone."""
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
    """The shortest answer that the server accepts, because thousands of clients may have left.

    The client is gone, so this counts neither as a refusal nor as an error.
    """
    metrics.ABANDONED.inc()
    start_response("503 Service Unavailable", [("Content-Length", "0")])
    return []
