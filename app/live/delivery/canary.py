"""Tries again and again whether the store answers, and whether what it publishes is heard here.

A frozen server keeps its connections open, a cut without FIN looks like silence, and a subscriber link to a server that
is not the primary any more is alive and deaf. So each worker publishes a little something to itself, by the way that
messages take, and waits to hear it. By the same round trip it looks whether the server was started again or replaced.
Now and then it also examines whether the server is one that can keep messages.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

import gevent
from gevent.event import Event

from ... import metrics
from ...core.errors import BelfryError
from ...core.store_faults import Fault, Weight
from ...store.logs.log import LogStore
from ...transport.connection import RETRY_AFTER_SECONDS
from ..streams.subscriber import OpenLog
from .link import Link

BEATS_UNHEARD = 3  # in a row, until the link counts as deaf
FIRST_SECONDS: Final = 0.08  # readiness is answered within 100 ms, also before the first beat has ended

log = logging.getLogger("belfry.canary")


class Examines(Protocol):
    """See `store/examination.py`."""

    def begin(self) -> None: ...

    def look(self, channel: str) -> tuple[Fault, ...]: ...


class Canary:
    """One per worker. `log` is what the link subscribes to for it; `changed` hears of another server."""

    def __init__(
        self,
        store: LogStore,
        link: Link,
        follow: Callable[[], bool],
        changed: Callable[[], None],
        beat_seconds: float,
        examination: Examines | None = None,
        examine_seconds: float = 60.0,
    ) -> None:
        self._lineage = store.lineage
        self._known: tuple[bytes, int] | None = None  # of the lineage, at the last beat
        self._link = link
        self._follow = follow
        self._changed = changed
        self._beat_seconds = beat_seconds
        self.log = OpenLog(f"canary:{secrets.token_hex(8)}")
        self.channel = store.keys.live(self.log.name).encode()
        self._unheard = 0  # beats that Redis took since one was heard
        self._trouble = ""
        self._away_since: float | None = None
        self._examination = examination
        self._examine_seconds = examine_seconds
        self._examined: float | None = None
        self._tried = Event()
        self.faults: tuple[Fault, ...] = ()
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Begin."""
        self._greenlet = gevent.spawn(self._beat)

    def stop(self) -> None:
        """End."""
        if self._greenlet is not None:
            gevent.kill(self._greenlet)

    def check(self) -> None:
        """Raises `BelfryError` `store_unavailable` while the store is silent, unheard or not to be used.

        Answers by what is known: nothing is asked. A worker that has just started waits a moment for its first beat.
        """
        self._tried.wait(FIRST_SECONDS)
        refusing = [fault.text for fault in self.faults if fault.refuses]
        trouble = refusing[0] if refusing else self._trouble
        if not self._tried.is_set():
            trouble = "The message store has not answered yet."
        if trouble:
            raise BelfryError("store_unavailable", trouble, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    @property
    def away_seconds(self) -> float:
        """For how long the store has been silent or unheard; 0 while it is there."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    def unusable(self, seconds: float) -> str:
        """Why a server that is starting shall not start; waits up to `seconds` for the first beat to tell."""
        self._tried.wait(seconds)
        return next((fault.text for fault in self.faults if fault.weight is Weight.ENDS), "")

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
            self._tried.set()
            gevent.sleep(self._beat_seconds)

    def _try(self) -> None:
        if self._moved():
            log.warning("the Sentinels name another primary")
            self._link.reconnect()
        self._examine()
        before = self._known
        self._lineage.look(("PUBLISH", self.channel, b""))
        self._known = self._lineage.known
        if self._known != before:  # by this look, or by one that a read took since the last beat
            if before is not None and self._examination is not None:
                self._examined = None
                self._examination.begin()
            self._changed()
        self._unheard += 1  # this one is on its way
        if self._unheard < BEATS_UNHEARD:
            self._judge("")
            return
        why = f": {self._link.trouble}" if self._link.trouble else ""
        self._judge(f"The message store answers, and what it publishes is not heard{why}.")
        if self._unheard % BEATS_UNHEARD == 0:
            self._link.reconnect()

    def _examine(self) -> None:
        now = time.monotonic()
        is_due = self._examined is None or now - self._examined >= self._examine_seconds
        if self._examination is None or not (is_due or any(fault.refuses for fault in self.faults)):
            return
        faults = self._examination.look(self.channel.decode())
        self._examined = now
        for fault in [each for each in faults if each not in self.faults]:
            log.log(logging.ERROR if fault.refuses else logging.WARNING, "the store: %s", fault.text)
        codes = {fault.code for fault in faults}
        for code in {fault.code for fault in self.faults} - codes:
            log.warning("the store: no longer wrong: %s", code)
            metrics.STORE_FAULTS.labels(code).set(0)
        for code in codes:
            metrics.STORE_FAULTS.labels(code).set(1)
        self.faults = faults

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
            self._away_since = time.monotonic()
        elif self._trouble and not trouble:
            log.warning("the store is back")
            metrics.STORE_AWAY_SECONDS.inc(self.away_seconds)
            self._away_since = None
        metrics.STORE_AWAY.set(1 if trouble else 0)
        self._trouble = trouble
