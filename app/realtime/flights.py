"""What happens to this worker's connections, as the flight recorder notes it."""

from __future__ import annotations

from collections.abc import Callable

from app.core.times import rfc3339
from app.realtime.recorder import Recorder
from app.realtime.subscriber import Subscriber
from app.store.flights import Flight, FlightStore

WAITING_MAX = 20_000  # events of one second: a worker's connections all at once


class Flights:
    """Notes the events of connections."""

    def __init__(self, store: FlightStore, clock: Callable[[], float]) -> None:
        self._recorder: Recorder[tuple[str, Flight]] = Recorder(store.write, WAITING_MAX)
        self._clock = clock

    def stop(self) -> None:
        """Record what is left."""
        self._recorder.stop()

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
        self._recorder.note((subscriber.user, event))
