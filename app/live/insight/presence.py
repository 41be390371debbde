"""Tells the store who is connected to this worker: what changed, once a second, and a lease for all of it."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable

import gevent

from ...core.errors import BelfryError
from ...core.wire.times import rfc3339
from ...store.insight.presence import Connection, PresenceStore
from ..loop import Loop
from ..streams.subscriber import ClientInfo, OpenLog, Subscriber
from ..turns import background

TELL_SECONDS = 1.0
NAME_BITS = 32
RENEWALS_PER_LEASE = 3
USERS_PER_REPORT = 25  # one round trip takes the worker as long as a slice

logger = logging.getLogger("belfry.presence")


class Presence:
    """The connections of this worker."""

    def __init__(self, store: PresenceStore, lease_seconds: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._ticks_per_renewal = max(1, int(lease_seconds / RENEWALS_PER_LEASE / TELL_SECONDS))
        self._users: dict[str, OpenLog] = {}  # who is connected, and the log that has the connections
        self._changed: set[str] = set()
        self._ticks = 0
        self._loop = Loop(
            self._tick, lambda: gevent.sleep(TELL_SECONDS), "presence could not be told", logger, wait_first=False
        )
        self.worker = secrets.token_hex(6)

    def start(self) -> None:
        """Begin to tell; again has no effect."""
        self._loop.start()

    def stop(self) -> None:
        """Say that this worker has no connections any more."""
        if self._loop.stop():
            try:
                self._store.end(self.worker)
            except BelfryError as error:
                logger.info("presence can't be removed, it stays until its lease ends: %s", error.detail)

    def connected(self, subscriber: Subscriber, client: ClientInfo, number: int, tabs: int) -> None:
        """Count a new connection, whose name is `number`."""
        subscriber.client, subscriber.number, subscriber.since = client, number, self._clock()
        subscriber.tabs = tabs
        self._users[subscriber.user] = subscriber.logs[0]
        self._changed.add(subscriber.user)

    def disconnected(self, subscriber: Subscriber) -> str:
        """Forget a connection that its log has let go; answers its name."""
        if not subscriber.logs[0].members:
            del self._users[subscriber.user]
        self._changed.add(subscriber.user)
        return id_of(subscriber)

    def tell_again(self, user: str) -> None:
        """Tell soon where the user's connections stand."""
        self._changed.add(user)

    def _tick(self) -> None:
        tick, self._ticks = self._ticks, self._ticks + 1
        if self._changed or not tick % self._ticks_per_renewal:
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, set()
        left = list(changed)
        slices = background()
        try:
            while True:
                told = {user: self._connections(user) for user in left[:USERS_PER_REPORT]}
                if not self._store.renew(self.worker, told, self._clock()):
                    self._changed |= self._users.keys() - changed
                left = left[USERS_PER_REPORT:]
                if not left:
                    return
                slices.pause()
        except BelfryError as error:
            logger.info("presence can't be stored yet: %s", error.detail)
            self._changed.update(left)

    def _connections(self, user: str) -> list[Connection]:
        now = rfc3339(self._clock())
        return [
            {
                "id": id_of(subscriber),
                "since": rfc3339(subscriber.since),
                "address": subscriber.client.address,
                "agent": subscriber.client.agent,
                "tabs": subscriber.tabs or None,
                "told": now,
                "places": subscriber.places(),
                "topics": [each.name.removeprefix("topic:") for each in subscriber.logs[2:]],
            }
            for subscriber in (self._users[user].members if user in self._users else ())
            if subscriber.client
        ]


def number_of_one() -> int:
    """A number for a new connection."""
    return random.getrandbits(NAME_BITS)


def name_of(number: int) -> str:
    """The name of the connection with this number, as clients and administrators are told it."""
    return f"{number:08x}"


def id_of(subscriber: Subscriber) -> str:
    """The name of a connection, "" of one that is not told of."""
    return name_of(subscriber.number) if subscriber.client else ""
