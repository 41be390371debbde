"""This worker's copy of what was withdrawn, so that checking a credential costs no round trip.

One small read a second follows the store, and the listeners hear of each withdrawal within that time. The copy is
polled for, not pushed: a lost message must not keep a stream open that has to end.

A store may lose withdrawals: by an eviction, a FLUSHALL, or a failover to a replica that lacked them. A worker that was
started then would take the withdrawn credentials again. So each worker that knows them puts them back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent
from gevent.lock import BoundedSemaphore

from ...core.identity.revocation import RevocationKind, Revoked
from ...core.identity.tokens import Claims
from ...store.identity.revocations import START, Revocations, StreamPositions
from ..loop import Loop

POLL_SECONDS = 1.0
COMPARE_SECONDS = 5.0  # how often the store is asked whether it still has what is known here
# A withdrawal that expires so soon is not missed: clocks differ, and Redis may let it go a moment earlier.
EXPIRING_SECONDS = 60.0
# A worker ends the streams of an ended session when it reads of it. After that, only a ticket, which lives a minute, or
# a request under way may still name the session. The store tells of it for longer, to workers that could not read.
ENDED_KEPT_SECONDS = 300.0

logger = logging.getLogger("belfry.revocations")


class RevocationWatch:
    """Starts with its first use, in the process that uses it. `listeners` are told of what is new."""

    def __init__(self, store: Revocations, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._place = StreamPositions()
        self._is_complete = False  # whether everything was read that the store remembered when the place was START
        self._reading = BoundedSemaphore()
        self._compared: float | None = None  # by the clock of this process
        self._revoked = Revoked()
        self._loop = Loop(self.read, lambda: gevent.sleep(POLL_SECONDS), "revocations can't be read", logger)
        self.listeners: list[Callable[[Revoked], None]] = []

    def covers(self, claims: Claims) -> bool:
        """Whether the credential was withdrawn. Raises `BelfryError` `store_unavailable` before the first reading."""
        if not self._loop.running:
            self._start()
        return self._revoked.covers(claims)

    def reason(self, claims: Claims) -> str:
        """Why the credential was withdrawn, see `Revoked.reason`."""
        return self._revoked.reason(claims)

    def stop(self) -> None:
        """Follow the store no longer."""
        self._loop.stop()

    def read(self) -> None:
        """Take in what is new. Raises `BelfryError` `store_unavailable`; the next reading then goes on from there."""
        with self._reading:  # a second greenlet would read everything a second time when a worker starts
            self._read_stream()
            if not self._is_complete:
                self._read_all()
            for kind, seconds in self._store.kept_seconds.items():
                kept_seconds = min(seconds, ENDED_KEPT_SECONDS) if kind is RevocationKind.SESSION else seconds
                self._revoked.forget(kind, self._clock() - kept_seconds)
            self._compare()

    def _compare(self) -> None:
        """Put back what the store has lost."""
        now = time.monotonic()
        if self._compared is not None and now - self._compared < COMPARE_SECONDS:
            return
        self._compared = now
        known = []
        for kind in (RevocationKind.USER, RevocationKind.TOKEN):
            known += self._revoked.since(kind, self._clock() - self._store.kept_seconds[kind] + EXPIRING_SECONDS)
        if known and self._store.count() < len(known):
            restored = self._store.restore(known)
            logger.error("the store had lost %d of %d withdrawals: this worker put them back", restored, len(known))

    def _read_stream(self) -> None:
        more = True
        while more:
            asked = self._place
            found, self._place, more = self._store.after(asked)
            if self._place.revoked == START != asked.revoked:
                self._is_complete = False  # withdrawals were trimmed away before they were read here
            if found:
                self._revoked.add(found)
                self._tell(Revoked(found))

    def _read_all(self) -> None:
        """Take in all that the store remembers. What is withdrawn meanwhile comes after the place in the stream."""
        for found in self._store.remembered():
            self._revoked.add(found)
        self._revoked.arrange()
        if self._revoked:
            self._tell(self._revoked)
        self._is_complete = True

    def _tell(self, withdrawn: Revoked) -> None:
        for listener in self.listeners:
            listener(withdrawn)

    def _start(self) -> None:
        self.read()
        self._loop.start()
