"""The gunicorn worker that lets go of a socket when a stream was parked, and says goodbye when it stops.

Imported in gunicorn's master, before anything is patched: it imports nothing of Belfry that touches sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.realtime.parking import PARKED, PARKS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STOP_POLL_SECONDS = 0.05


class BelfryWorker(GeventWorker):
    """gevent's worker, with the two extensions."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Load the application, and tell it on each request that sockets can be parked here."""
        super().load_wsgi()
        application = self.wsgi
        self._streams = application.extensions["belfry.streams"]
        self._relay = application.extensions["belfry.relay"]

        def parking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[PARKS] = True
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

        self.wsgi = parking

    def is_already_handled(self, respiter: Any) -> bool:
        """gunicorn's extension point: leave the keep-alive loop of a connection whose socket is gone."""
        if respiter is PARKED:
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def run(self) -> None:
        """Serve; as soon as the worker is told to stop, say goodbye to every stream, and let runs come to their end."""
        self._relay.start()
        leaving = gevent.spawn(self._leave)
        super().run()
        leaving.join()

    def _leave(self) -> None:
        while self.alive:
            gevent.sleep(STOP_POLL_SECONDS)
        self._streams.drain()
        self._relay.drain()
