"""What happens to this worker's connections, as the flight recorder notes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...core.log.change import Change
from ...core.log.marks import Mark
from ...core.wire.times import rfc3339
from ...store.insight.flights import FlightStore, written
from ..streams.subscriber import Subscriber
from .recorder import Recorder

WAITING_MAX = 20_000  # events of one second: a worker's connections all at once
IDS_NOTED = 20  # of one change

_NAMES = {
    (Mark.READ, True): "read",
    (Mark.READ, False): "unread",
    (Mark.ARCHIVED, True): "archived",
    (Mark.ARCHIVED, False): "unarchived",
    (Mark.REMOVED, True): "removed",
    (Mark.REMOVED, False): "unremoved",
}


class Flights:
    """Notes the events of connections."""

    def __init__(self, store: FlightStore, clock: Callable[[], float]) -> None:
        self._recorder: Recorder[tuple[str, bytes]] = Recorder(store.write, WAITING_MAX)
        self._clock = clock

    def stop(self) -> None:
        """Record what is left."""
        self._recorder.stop()

    def connected(self, subscriber: Subscriber, connection: str, *, resumed: bool, lost: bool) -> None:
        """A connection begins after the offset where it stands; `lost`: it was told that history was lost.

        `resumed`: its client came with a cursor, and so has everything up to there.
        """
        self._note(subscriber, "resumed" if resumed else "connected", connection, lost=lost)

    def reset(self, subscriber: Subscriber, connection: str) -> None:
        """A connection is told in its midst that history was lost."""
        self._note(subscriber, "reset", connection)

    def closed(self, subscriber: Subscriber, connection: str, reason: str) -> None:
        """A connection ends; it was sent everything up to the offset where it stands."""
        self._note(subscriber, "closed", connection, reason=reason)

    def changed(self, user: str, change: Change) -> None:
        """A user marked messages, or took a mark off; of many, the first are named."""
        what = _NAMES[change.mark, change.on]
        ids = {"all": True} if change.ids is None else {"ids": change.ids[:IDS_NOTED], "count": len(change.ids)}
        self._recorder.note((user, written({"time": rfc3339(self._clock()), "what": what, **ids})))

    def retracted(self, users: Iterable[str], message_id: str) -> None:
        """A message was taken out of the feeds of `users`."""
        event = written({"time": rfc3339(self._clock()), "what": "retracted", "ids": (message_id,)})
        for user in users:
            self._recorder.note((user, event))

    def _note(self, subscriber: Subscriber, what: str, connection: str, **more: object) -> None:
        event = {
            "time": rfc3339(self._clock()),
            "what": what,
            "connection": connection,
            "offset": subscriber.vector[0].offset,
            "places": subscriber.places(),
            **more,
        }
        self._recorder.note((subscriber.user, written(event)))
