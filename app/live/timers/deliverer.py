"""Delivers scheduled messages when they are due. One loop per worker sleeps until the next known message.

Every worker claims due messages, and the store gives each message to one worker under a lease. To deliver a message is
to publish it under its id. So a message is published once, even if a worker dies or freezes after its claim.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from ... import metrics
from ...core import message
from ...core.errors import BelfryError
from ...core.message import Message
from ...core.wire.times import rfc3339
from ...store.insight.audit import Audit, AuditEntry
from ...store.logs.publisher import Published, Publishes
from ...store.timers.timers import CLAIM_JOBS, DELIVERED, LEASE_SECONDS, REFUSED, REVOKED, Job, Timers
from ...transport.connection import SilentError
from ..identity.revocation_watch import RevocationWatch
from ..loop import Loop

LOOK_SECONDS = 60.0  # at least so often a worker asks, in case that it was not told of an earlier message
RETRY_SECONDS = 0.5
LOGS_PER_TRIP = 200  # recipients of the messages that are published together
STOP_SECONDS = 2.0  # that a stopping worker waits for what it has claimed
MAX_RECIPIENTS = 1_000_000  # their number was checked when the message was accepted

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.timers")


@dataclass(frozen=True, slots=True)
class Held:
    """A job that this worker claimed, and until when. It is published `alone` after it failed together with others."""

    job: Job
    until: float
    alone: bool = False


class Deliverer:
    """One per worker. `note` hears of each message that was delivered, and who scheduled it."""

    def __init__(
        self,
        timers: Timers,
        publisher: Publishes,
        watch: RevocationWatch,
        audit: Audit,
        note: Callable[[tuple[str, Published]], None],
        clock: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timers = timers
        self._publisher = publisher
        self._watch = watch
        self._audit = audit
        self._note = note
        self._clock = clock
        self._now = now
        self._held: dict[str, Held] = {}
        self._next = now() + LOOK_SECONDS  # when this worker looks; the first acknowledgement of its channel is sooner
        self._sooner = Event()
        self._turning = BoundedSemaphore()
        self._leaving = False
        self._loop = Loop(self.turn, self._rest, "scheduled messages wait", logger)

    def start(self) -> None:
        """Begin to deliver."""
        self._loop.start()

    def stop(self) -> None:
        """Claim nothing more, and finish what was claimed, as far as that is quick."""
        self._leaving = True
        with gevent.Timeout(STOP_SECONDS, _QUIETLY), self._turning:
            pass
        self._loop.stop()

    def heard(self, told: bytes) -> None:
        """A message is due in so many ms, sooner than all others; told nothing, the worker looks at once."""
        self._expect(int(told) / 1_000 if told else 0.0)

    def turn(self) -> None:
        """Deliver what is due. Raises `BelfryError` where something was left, which is tried again."""
        with self._turning:
            if self._leaving:
                return
            self._next = math.inf
            try:
                seconds = self._work()
            except Exception:  # whatever failed, `Loop` logs it; without a next look, jobs would wait for it
                self._expect(RETRY_SECONDS)
                raise
            self._expect(seconds)

    def _rest(self) -> None:
        while (left := self._next - self._now()) > 0:
            self._sooner.clear()
            self._sooner.wait(left)

    def _expect(self, seconds: float) -> None:
        """Look in so many seconds, unless that is earlier already."""
        at = self._now() + min(seconds, LOOK_SECONDS)
        if at < self._next:
            self._next = at
            self._sooner.set()

    def _work(self) -> float:
        """One claim, and the deliveries; answers in how many seconds the next claim is worth it.

        After a full claim that is at least as long as the deliveries took: a backlog takes half of a worker at most.
        """
        began = self._now()
        self._held = {id_: held for id_, held in self._held.items() if held.until > began}
        seconds = self._claim() if len(self._held) < CLAIM_JOBS else 0.0
        failure = None
        for group in self._groups():
            try:
                self._deliver([held.job for held in group])
            except SilentError:
                raise
            except BelfryError as error:
                failure = error
                self._held |= {held.job.id: replace(held, alone=True) for held in group}
        if failure is not None:
            raise failure
        return max(seconds, self._now() - began)

    def _claim(self) -> float:
        asked = self._now()  # the lease began later than this
        claimed = self._timers.claim()
        self._held |= {job.id: Held(job, asked + LEASE_SECONDS) for job in claimed.jobs}
        return LOOK_SECONDS if claimed.next_seconds is None else claimed.next_seconds

    def _groups(self) -> Iterator[list[Held]]:
        """What is held, in groups of about one round trip."""
        group: list[Held] = []
        size = 0
        for held in list(self._held.values()):
            if held.alone:
                yield [held]
                continue
            if size >= LOGS_PER_TRIP:
                yield group
                group, size = [], 0
            group.append(held)
            size += held.job.recipients
        if group:
            yield group

    def _deliver(self, jobs: Sequence[Job]) -> None:
        """Publish what may be published, then tell the store what is over. Raises `BelfryError`."""
        ended: list[tuple[Job, str]] = []
        messages: list[tuple[Job, Message]] = []
        for job in jobs:
            read = self._read(job)
            if isinstance(read, Message):
                messages.append((job, read))
            else:
                ended.append((job, read))
        published = self._publisher.post([each for _, each in messages])() if messages else []
        for (job, _), each in zip(messages, published, strict=True):
            ended.append((job, self._told(job, each)))
        self._timers.finish(ended)
        for job, _ in ended:
            self._held.pop(job.id, None)

    def _read(self, job: Job) -> Message | str:
        """The message as it goes out now, or the state in which it ends."""
        if self._watch.covers(job.credential):
            self._drop(job)
            return REVOKED
        try:
            read = message.parse(job.text, now=self._clock(), new_id=job.id, max_recipients=MAX_RECIPIENTS)
        except BelfryError as error:  # kept by another version
            logger.warning("the scheduled message %s can't be delivered: %s", job.id, error.detail)
            return REFUSED
        # An id of the publisher's is remembered longer than one that was made here, and so are the recipients.
        return read._replace(own_id=False)

    def _drop(self, job: Job) -> None:
        reason = self._watch.reason(job.credential)
        logger.warning("the scheduled message %s of %r is dropped: %s", job.id, job.by, reason)
        self._audit.append([AuditEntry(rfc3339(self._clock()), job.by, "drop", "scheduled", job.id)])

    def _told(self, job: Job, published: Published) -> str:
        if published.reused:
            logger.warning("the scheduled message %s is not delivered: its id was published with other content", job.id)
            return REFUSED
        if not published.duplicate:
            metrics.TALLY.messages += 1
            self._note((job.by, published))
        return DELIVERED
