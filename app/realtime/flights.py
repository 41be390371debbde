"""Notes what happens to this worker's connections, for the flight recorder; written once a second, in one batch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import gevent

from app.core.errors import BelfryError
from app.core.times import rfc3339
from app.realtime.subscriber import Subscriber
from app.store.flights import Flight, FlightStore

WRITE_SECONDS = 1.0
WAITING_MAX = 20_000  # events; more than that in a second and the oldest are not recorded

log = logging.getLogger("belfry.flights")


class Flights:
    """What waits to be recorded."""

    def __init__(self, store: FlightStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._waiting: deque[tuple[str, Flight]] = deque(maxlen=WAITING_MAX)
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Begin to write; again has no effect."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)

    def stop(self) -> None:
        """Write what is left."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)
            self._write()

    def connected(self, subscriber: Subscriber, connection: str, *, lost: bool) -> None:
        """A connection begins after the offset where it stands; `lost`: it was told that history was lost."""
        self._note(subscriber, "connected", connection, lost=lost)

    def closed(self, subscriber: Subscriber, connection: str, reason: str) -> None:
        """A connection ends; it was sent everything up to the offset where it stands."""
        self._note(subscriber, "closed", connection, reason=reason)

    def _note(self, subscriber: Subscriber, what: str, connection: str, **more: object) -> None:
        event = {
            "time": rfc3339(self._clock()),
            "what": what,
            "connection": connection,
            "offset": subscriber.vector[0].offset,
            **more,
        }
        self._waiting.append((subscriber.user, event))

    def _work(self) -> None:
        while True:
            gevent.sleep(WRITE_SECONDS)
            self._write()

    def _write(self) -> None:
        events = list(self._waiting)
        self._waiting.clear()
        try:
            self._store.write(events)
        except BelfryError as error:
            log.info("%d events are not recorded: %s", len(events), error.detail)
        except Exception:
            log.exception("%d events could not be recorded", len(events))
