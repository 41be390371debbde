"""Recorders: callers note an event and continue. Once a second, a recorder stores the new events.

`Flights` notes what happens to this worker's connections (the flight recorder). `KnownUsers` notes who reads a feed
and whom messages were sent to, so that administrators find these users: each user once in a while.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import gevent

from ...core.errors import BelfryError
from ...core.log.change import Change
from ...core.log.marks import Mark
from ...core.wire.times import rfc3339
from ...store.insight.directory import Directory, KnownUser
from ...store.insight.flights import FlightStore, written
from ..loop import Loop
from ..streams.subscriber import Subscriber
from ..turns import Slices, background

WRITE_SECONDS = 1.0
WAITING_MAX = 20_000  # events of one second: a worker's connections all at once, or as many users
IDS_NOTED = 20  # of one change
AGAIN_SECONDS = 600.0  # Belfry notes a busy user once in this time
NOTED_MAX = 20_000  # users remembered as noted
USER = "user:"
VISIT = "visit:"

_NAMES = {
    (Mark.READ, True): "read",
    (Mark.READ, False): "unread",
    (Mark.ARCHIVED, True): "archived",
    (Mark.ARCHIVED, False): "unarchived",
    (Mark.REMOVED, True): "removed",
    (Mark.REMOVED, False): "unremoved",
}

logger = logging.getLogger("belfry.recorder")

T = TypeVar("T")


class Recorder(Generic[T]):
    """The events that wait to be recorded. If more than `most` come in a second, only the latest are kept.

    `write` gets an iterator. It pauses after an event when requests had to wait for long enough.
    """

    def __init__(self, write: Callable[[Iterator[T]], None], most: int) -> None:
        self._store = write
        self._waiting: deque[T] = deque(maxlen=most)
        self._loop = Loop(
            lambda: self._write(background()),
            lambda: gevent.sleep(WRITE_SECONDS),
            "events could not be recorded",
            logger,
        )

    def note(self, item: T) -> None:
        """Record `item` soon."""
        self._waiting.append(item)
        self._loop.start()

    def stop(self) -> None:
        """Record the events that still wait, without the pauses of background work."""
        if self._loop.stop():
            self._write(Slices())

    def _write(self, slices: Slices) -> None:
        if not self._waiting:
            return
        try:
            self._store(self._taken(slices))
        except BelfryError as error:
            logger.info("events are not recorded: %s", error.detail)
        except Exception:
            logger.exception("events could not be recorded")

    def _taken(self, slices: Slices) -> Iterator[T]:
        """Take the events that wait now. If the store fails, those not taken yet wait for the next write."""
        for _ in range(len(self._waiting)):
            yield self._waiting.popleft()
            slices.pause()


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

    def pushed(self, user: str, message_id: str, devices: int) -> None:
        """Push services took a message for this many devices of `user`."""
        event = {"time": rfc3339(self._clock()), "what": "pushed", "ids": (message_id,), "devices": devices}
        self._recorder.note((user, written(event)))

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


class KnownUsers:
    """The users whom one worker has noted lately."""

    def __init__(self, directory: Directory, clock: Callable[[], float]) -> None:
        self._recorder: Recorder[KnownUser] = Recorder(directory.write, WAITING_MAX)
        self._clock = clock
        self._noted: set[str] = set()
        self._since = 0.0

    def note(self, logs: Iterable[str]) -> None:
        """Note the users whose logs are among `logs`, because a message was sent to them."""
        now = self._renewed()
        for name in logs:
            if name not in self._noted and name.startswith(USER):
                self._noted.add(name)
                self._recorder.note(KnownUser(name.removeprefix(USER), now, visited=False))

    def visit(self, user: str) -> None:
        """Note a user who reads the feed."""
        now = self._renewed()
        mark = f"{VISIT}{user}"
        if mark not in self._noted:
            self._noted.add(mark)
            self._recorder.note(KnownUser(user, now))

    def _renewed(self) -> float:
        """Return the time. Forget the noted users if they are too many, or were noted too long ago."""
        now = self._clock()
        if now - self._since > AGAIN_SECONDS or len(self._noted) > NOTED_MAX:
            self._noted, self._since = set(), now
        return now
