"""Checks regularly that the store answers, and that messages which it publishes reach this worker.

Some failures end no connection: a frozen server keeps its connections open, a cut without FIN looks like silence, and a
former primary answers but publishes no new messages. So each worker publishes to a channel of its own, along the path
of messages, and waits to receive it. The same round trip shows whether the server was started again or replaced. At a
longer interval the canary also checks the server's configuration: whether it can keep messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

import gevent
from gevent.event import Event

from ... import metrics
from ...core.errors import BelfryError
from ...core.store_faults import Fault, Weight
from ...store.logs.lineage import ServerObserver
from ...transport.connection import RETRY_AFTER_SECONDS, has_moved
from ..streams.subscriber import OpenLog
from .link import Link

BEATS_UNHEARD = 3  # publications in a row that do not come back, until the link counts as broken
FIRST_SECONDS: Final = 0.08  # `/health/ready` answers within 100 ms, even before the first round trip has ended

LEAVE_SECONDS = 0.5  # a store that does not answer then assumes that the worker died

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.canary")


class Examiner(Protocol):
    """See `store/examination.py`."""

    def is_due(self) -> bool: ...

    def look(self, channel: str) -> tuple[Fault, ...]: ...


class ShardHealth:
    """The problems of all shards, for the metrics: a worker counts once, even if several shards have a problem."""

    def __init__(self) -> None:
        self._away: set[str] = set()
        self._faults: dict[str, set[str]] = {}  # shard → codes

    def away(self, shard: str, *, is_away: bool) -> None:
        """Note whether a shard is away: it does not answer, or its publications do not arrive here."""
        (self._away.add if is_away else self._away.discard)(shard)
        metrics.STORE_AWAY.set(1 if self._away else 0)

    def faults(self, shard: str, codes: set[str]) -> None:
        """Note the faults in the configuration of a shard's server."""
        before = self._codes()
        self._faults[shard] = codes
        after = self._codes()
        for code in before | after:
            metrics.STORE_FAULTS.labels(code).set(1 if code in after else 0)

    def leave(self, shard: str) -> None:
        """Forget a shard that no longer exists."""
        self.away(shard, is_away=False)
        self.faults(shard, set())

    def _codes(self) -> set[str]:
        return {code for codes in self._faults.values() for code in codes}


class Canary:
    """One per worker and shard. The link subscribes to the channel of `log`.

    `changed` is called after the server was replaced or restarted. `shard` is the shard's name, empty if the store has
    only one.
    """

    def __init__(
        self,
        log: OpenLog,
        channel: str,
        lineage: ServerObserver,
        link: Link,
        follow: Callable[[], bool],
        changed: Callable[[], None],
        beat_seconds: float,
        examination: Examiner | None = None,
        examine_seconds: float = 60.0,
        shard: str = "",
        troubles: ShardHealth | None = None,
    ) -> None:
        self.shard = shard
        self._name = f"the shard {shard}" if shard else "the store"
        self._troubles = troubles or ShardHealth()
        self._lineage = lineage
        self._link = link
        self._follow = follow
        self._changed = changed
        self._beat_seconds = beat_seconds
        self.log = log
        self.channel = channel.encode()
        self._unheard = 0  # publications since one was received
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
        self._troubles.leave(self.shard)

    def move(self, log: OpenLog, channel: str) -> None:
        """Publish to another channel from now on, because the slot of the former one left this shard."""
        self.log = log
        self.channel = channel.encode()
        self._unheard = 0

    def leave(self) -> None:
        """End, and tell the store that this worker stops. A Redis server that takes over then need not wait for it."""
        self.stop()
        try:
            with gevent.Timeout(LEAVE_SECONDS, _QUIETLY):
                self._lineage.stop()
        except BelfryError as error:
            logger.info("the store can't be told that this worker stops: %s", error.detail)

    def check(self) -> None:
        """Raises `BelfryError` `store_unavailable` while the store is away or has a fault that refuses traffic.

        This sends nothing to the store. A worker that has just started waits up to 80 ms for its first result.
        """
        self.wait_tried(FIRST_SECONDS)
        refusing = [fault.text for fault in self.faults if fault.refuses]
        trouble = refusing[0] if refusing else self._trouble
        if not self._tried.is_set():
            trouble = "The message store has not answered yet."
        if trouble:
            told = f"{self.shard}: {trouble}" if self.shard else trouble
            raise BelfryError("store_unavailable", told, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def wait_tried(self, seconds: float) -> None:
        """Wait until the store was tried once, for at most `seconds`."""
        self._tried.wait(seconds)

    @property
    def away_seconds(self) -> float:
        """For how long the store has been away; 0 while it is not."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    def unusable(self, seconds: float) -> str:
        """The fault that forbids the server to start, or "". Waits up to `seconds` for the first result."""
        self._tried.wait(seconds)
        return next((fault.text for fault in self.faults if fault.weight is Weight.ENDS), "")

    def heard(self) -> None:
        """The link received a publication of this canary."""
        self._unheard = 0

    def _beat(self) -> None:
        while True:
            try:
                self._try()
            except BelfryError as error:
                # An overloaded store is not away. If the channel's slot has moved, `Links` assigns another channel.
                if error.code == "store_unavailable" and not has_moved(error):
                    self._judge(error.detail)
            except Exception:
                logger.exception("checking the store failed")
            self._tried.set()
            gevent.sleep(self._beat_seconds)

    def _try(self) -> None:
        if self._moved():
            logger.warning("the Sentinels name another primary")
            self._link.reconnect()
        self._examine()
        if not self._tried.is_set() and any(fault.weight is Weight.ENDS for fault in self.faults):
            return  # this server is about to stop, and has changed nothing
        known = self._lineage.id
        if self._lineage.look(("PUBLISH", self.channel, b"")):
            if known and self._examination is not None:
                self._examined = None
            self._changed()
        self._unheard += 1  # until this publication arrives
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
        is_refusing = any(fault.refuses for fault in self.faults)
        if self._examination is None or not (is_due or is_refusing or self._examination.is_due()):
            return
        faults = self._examination.look(self.channel.decode())
        self._examined = now
        for fault in [each for each in faults if each not in self.faults]:
            logger.log(logging.ERROR if fault.refuses else logging.WARNING, "%s: %s", self._name, fault.text)
        codes = {fault.code for fault in faults}
        for code in {fault.code for fault in self.faults} - codes:
            logger.warning("%s: no longer has the fault %s", self._name, code)
        self._troubles.faults(self.shard, codes)
        self.faults = faults

    def _moved(self) -> bool:
        try:
            return self._follow()
        except BelfryError as error:
            logger.info("the Sentinels can't be asked: %s", error.__cause__ or error.detail)
            return False

    def _judge(self, trouble: str) -> None:
        if trouble and not self._trouble:
            logger.error("%s is away: %s", self._name, trouble)
            metrics.STORE_OUTAGES.inc()
            self._away_since = time.monotonic()
        elif self._trouble and not trouble:
            logger.warning("%s is back", self._name)
            metrics.STORE_AWAY_SECONDS.inc(self.away_seconds)
            self._away_since = None
        self._troubles.away(self.shard, is_away=bool(trouble))
        self._trouble = trouble


class Canaries:
    """The canaries of all shards. The store is available if every shard is."""

    def __init__(self) -> None:
        self.troubles = ShardHealth()
        self._canaries: dict[bytes, Canary] = {}  # by channel
        self._since = time.monotonic()
        self._fault: Fault | None = None  # of what names no shard
        self._trouble = ""

    def refuse(self, fault: Fault | None, trouble: str = "") -> None:
        """Note what keeps the worker from finding any shard: a fault of the configuration, or another `trouble`.

        Without either, nothing does any more.
        """
        self._trouble = trouble
        if fault is not None and fault != self._fault:
            logger.error("the store: %s", fault.text)
        if fault != self._fault:
            self._fault = fault
            self.troubles.faults("", {fault.code} if fault else set())

    def add(self, canary: Canary) -> None:
        """Include a canary."""
        self._canaries[canary.channel] = canary

    def remove(self, canary: Canary) -> None:
        """Exclude a canary."""
        self._canaries.pop(canary.channel, None)

    def heard(self, channel: bytes) -> bool:
        """Handle a publication if `channel` belongs to a canary; return whether it does."""
        canary = self._canaries.get(channel)
        if canary is not None:
            canary.heard()
        return canary is not None

    def leave(self) -> None:
        """See `Canary.leave`."""
        gevent.joinall([gevent.spawn(canary.leave) for canary in self])

    def check(self) -> None:
        """See `Canary.check`. Raises `BelfryError` `store_unavailable`, which names the shard."""
        if not self._canaries:
            text = self._fault.text if self._fault else self._trouble or "The message store has not answered yet."
            raise BelfryError("store_unavailable", text, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        for canary in self:
            canary.check()

    @property
    def away_seconds(self) -> float:
        """For how long all shards have been away; 0 while at least one is available."""
        if not self._canaries:
            return time.monotonic() - self._since
        return min(canary.away_seconds for canary in self)

    def unusable(self, seconds: float) -> str:
        """See `Canary.unusable`. Waits up to `seconds` for all shards together."""
        due = time.monotonic() + seconds
        while not (self._canaries or self._fault) and time.monotonic() < due:
            gevent.sleep(0.02)
        if self._fault is not None and self._fault.weight is Weight.ENDS:
            return self._fault.text
        found = (canary.unusable(max(0.0, due - time.monotonic())) for canary in self)
        return next((text for text in found if text), "")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Each kind of fault once, with the first shard that has it."""
        found: dict[str, Fault] = {}
        for canary in self:
            for fault in canary.faults:
                told = f"{canary.shard}: {fault.text}" if canary.shard else fault.text
                found.setdefault(fault.code, replace(fault, text=told))
        return tuple(found.values())

    def __iter__(self) -> Iterator[Canary]:
        return iter(list(self._canaries.values()))
