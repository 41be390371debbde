"""This worker's copy of what was withdrawn, so that checking a credential costs no round trip.

One small read a second follows the store; whoever listens hears of each withdrawal within that time. Polled rather
than pushed: a lost message must not keep a stream open that has to end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from app.core.errors import BelfryError
from app.core.identity.revocation import Revoked
from app.core.identity.tokens import Claims
from app.store.identity.revocations import Place, Revocations

POLL_SECONDS = 1.0

log = logging.getLogger("belfry.revocations")


class RevocationWatch:
    """Starts with its first use, in the process that uses it. `listeners` are told of what is new."""

    def __init__(self, store: Revocations, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._place = Place()
        self._revoked = Revoked()
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self.listeners: list[Callable[[Revoked], None]] = []

    def covers(self, claims: Claims) -> bool:
        """Whether the credential was withdrawn. Raises `BelfryError` `store_unavailable` before the first reading."""
        if self._greenlet is None:
            self._start()
        return self._revoked.covers(claims)

    def reason(self, claims: Claims) -> str:
        """Why the credential was withdrawn, see `Revoked.reason`."""
        return self._revoked.reason(claims)

    def stop(self) -> None:
        """Follow the store no longer."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)
            self._greenlet = None

    def read(self) -> None:
        """Take in what is new. Raises `BelfryError` `store_unavailable`."""
        more = True
        while more:
            found, self._place, more = self._store.after(self._place)
            if found:
                self._revoked.add(found)
                fresh = Revoked(found)
                for listener in self.listeners:
                    listener(fresh)
        for kind, seconds in self._store.kept_seconds.items():
            self._revoked.forget(kind, self._clock() - seconds)

    def _start(self) -> None:
        self.read()  # several at the same moment may do so: each reads on from where the others stand, or reads twice
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._follow)

    def _follow(self) -> None:
        while True:
            gevent.sleep(POLL_SECONDS)
            try:
                self.read()
            except BelfryError as error:
                log.info("revocations can't be read: %s", error.detail)
            except Exception:
                log.exception("a reading of revocations failed")
