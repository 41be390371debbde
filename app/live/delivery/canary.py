"""Tries again and again whether the store answers, and whether what it publishes is heard here.

A frozen server keeps its connections open, a cut without FIN looks like silence, and a subscriber link to a server that
is not the primary any more is alive and deaf. So each worker publishes a little something to itself, by the way that
messages take, and waits to hear it. By the same round trip it looks whether the server was started again or replaced.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

import gevent

from app import metrics
from app.core.errors import BelfryError
from app.live.delivery.link import Link
from app.live.streams.subscriber import OpenLog
from app.store.logs.log import LogStore
from app.transport.connection import RETRY_AFTER_SECONDS

BEATS_UNHEARD = 3  # in a row, until the link counts as deaf

log = logging.getLogger("belfry.canary")


class Canary:
    """One per worker. `log` is what the link subscribes to for it; `changed` hears of another server."""

    def __init__(
        self,
        store: LogStore,
        link: Link,
        follow: Callable[[], bool],
        changed: Callable[[], None],
        beat_seconds: float,
    ) -> None:
        self._lineage = store.lineage
        self._link = link
        self._follow = follow
        self._changed = changed
        self._beat_seconds = beat_seconds
        self.log = OpenLog(f"canary:{secrets.token_hex(8)}")
        self.channel = store.keys.live(self.log.name).encode()
        self._unheard = 0  # beats that Redis took since one was heard
        self._trouble = ""
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Begin."""
        self._greenlet = gevent.spawn(self._beat)

    def stop(self) -> None:
        """End."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)

    def check(self) -> None:
        """Raises `BelfryError` `store_unavailable` while the store is silent or unheard."""
        if self._trouble:
            raise BelfryError("store_unavailable", self._trouble, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def heard(self) -> None:
        """The link received what was published here."""
        self._unheard = 0

    def _beat(self) -> None:
        while True:
            try:
                self._try()
            except BelfryError as error:
                if error.code == "store_unavailable":  # and not that there is too much to do
                    self._judge(error.detail)
            except Exception:
                log.exception("the store could not be tried")
            gevent.sleep(self._beat_seconds)

    def _try(self) -> None:
        if self._moved():
            log.warning("the Sentinels name another primary")
            self._link.reconnect()
        if self._lineage.look(("PUBLISH", self.channel, b"")):
            self._changed()
        self._unheard += 1  # this one is on its way
        if self._unheard < BEATS_UNHEARD:
            self._judge("")
            return
        self._judge("The message store answers, and what it publishes is not heard.")
        if self._unheard % BEATS_UNHEARD == 0:
            self._link.reconnect()

    def _moved(self) -> bool:
        try:
            return self._follow()
        except BelfryError as error:
            log.info("the Sentinels can't be asked: %s", error.__cause__ or error.detail)
            return False

    def _judge(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.error("the store is away: %s", trouble)
            metrics.STORE_OUTAGES.inc()
        elif self._trouble and not trouble:
            log.warning("the store is back")
        metrics.STORE_AWAY.set(1 if trouble else 0)
        self._trouble = trouble
