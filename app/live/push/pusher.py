"""Sends pushes when they are due. One loop per worker claims them; each job then has a greenlet until it is over.

A worker that dies leaves its jobs under a lease, and another worker sends them: at least once. The payload has the id
of the message, so a device that gets it twice shows one notification.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import gevent
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from gevent.event import Event
from gevent.pool import Pool

from ... import metrics
from ...core.errors import BelfryError
from ...core.push import endpoint, notification
from ...core.push.encryption import SALT_BYTES, encrypt
from ...core.push.notification import Notification
from ...core.push.vapid import VapidKey
from ...core.settings import Settings
from ...store.insight.presence import PresenceStore
from ...store.logs.delivery import unhandled
from ...store.logs.log import LogStore
from ...store.push.pushes import Pushes, PushJob
from ...store.push.subscriptions import Device, Subscriptions
from ..identity.revocation_watch import RevocationWatch
from ..insight.recorder import Flights
from ..loop import Loop
from .push_services import NoPlaceError, PushAnswer, PushFailedError, PushServices

JOBS_AT_ONCE: Final = 400  # of a worker: more than the places of several push services
LOOK_SECONDS: Final = 60.0  # at least so often a worker looks while pushes wait
RETRY_SECONDS: Final = 0.5  # after the store failed
APPEND_SECONDS: Final = 30.0  # a message that was not appended by then never will be: its publish failed
NOT_YET_SECONDS: Final = 1.0
NO_PLACE_SECONDS: Final = 2.0
FIRST_PAUSE_SECONDS: Final = 5.0  # after a failed push; doubles with each
LONGEST_PAUSE_SECONDS: Final = 600.0
STOP_SECONDS: Final = 2.0  # that a stopping worker waits for the requests under way

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.push")


class Outcome(Enum):
    """What came of one push to one device. The values are labels of the metric."""

    SENT = "sent"
    GONE = "gone"  # the subscription has ended
    RETRY = "retried"
    REFUSED = "refused"
    WAITING = "waiting"  # the push service had no free place


class Pusher:
    """One per worker."""

    def __init__(
        self,
        pushes: Pushes,
        subscriptions: Subscriptions,
        logs: LogStore,
        presence: PresenceStore,
        watch: RevocationWatch,
        flights: Flights,
        settings: Settings,
        clock: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pushes = pushes
        self._subscriptions = subscriptions
        self._logs = logs
        self._presence = presence
        self._watch = watch
        self._flights = flights
        self._settings = settings
        self._clock = clock
        self._now = now
        self._key = VapidKey(settings.push_private_key, settings.push_contact)
        self._services = PushServices(settings)
        self._jobs = Pool(JOBS_AT_ONCE)
        self._next = math.inf  # when this worker looks; the first acknowledgement of its channel makes it look
        self._sooner = Event()
        self._leaving = False
        self._loop = Loop(self.turn, self._rest, "pushes wait", logger)

    def start(self) -> None:
        """Begin to send."""
        self._loop.start()

    def stop(self) -> None:
        """Claim nothing more, and let the requests under way end, as far as that is quick."""
        self._leaving = True
        self._loop.stop()
        with gevent.Timeout(STOP_SECONDS, _QUIETLY):
            self._jobs.join()
        self._services.close()

    def heard(self, told: bytes) -> None:
        """A push is due in so many ms, sooner than all others; told nothing, the worker looks at once."""
        self._expect(int(told) / 1_000 if told else 0.0)

    def turn(self) -> None:
        """Claim what is due, and begin to send it. Raises `BelfryError`."""
        self._next = math.inf
        room = self._jobs.free_count()
        if self._leaving or room <= 0:
            self._expect(RETRY_SECONDS)
            return
        try:
            claimed = self._pushes.claim(room)
        except Exception:  # whatever failed, `Loop` logs it; without a next look, pushes would wait for it
            self._expect(RETRY_SECONDS)
            raise
        for job in claimed.jobs:
            self._jobs.spawn(self._guarded, job)
        if claimed.next_seconds is not None:
            self._expect(claimed.next_seconds)

    def _rest(self) -> None:
        while (left := self._next - self._now()) > 0:
            self._sooner.clear()
            self._sooner.wait(None if left == math.inf else left)

    def _expect(self, seconds: float) -> None:
        """Look in so many seconds, unless that is earlier already."""
        at = self._now() + min(seconds, LOOK_SECONDS)
        if at < self._next:
            self._next = at
            self._sooner.set()

    def _guarded(self, job: PushJob) -> None:
        try:
            self._push(job)
        except BelfryError as error:  # the lease brings the job back
            logger.info("the push of %s waits: %s", job.message_id, error.detail)
        except Exception:  # the root of a greenlet: a bug in one job must not end the others
            logger.exception("the push of %s failed", job.message_id)
            self._skip(job, "failed")  # the same would happen again each time that its lease ends

    def _push(self, job: PushJob) -> None:
        devices = self._devices(job)
        if not devices:
            self._pushes.finish(job)
            return
        message = unhandled(self._logs, job.user, job.message_id, self._clock())
        if not message.appended:
            self._wait_for_message(job)
        elif message.record is None:
            self._skip(job, "handled")
        elif not self._settings.push_connected and self._presence.online([job.user])[0]:
            self._skip(job, "connected")
        else:
            proof = self._key.proof(job.user, job.message_id)
            ttl = self._settings.push_ttl_seconds
            self._send(job, devices, notification.of_record(message.record, job.user, proof, self._clock(), ttl))

    def _devices(self, job: PushJob) -> list[Device]:
        """Return the devices to send to. Those whose credential was withdrawn are removed."""
        found: list[Device] = []
        for device in self._subscriptions.of_user(job.user):
            if self._watch.covers(device.credential):
                self._subscriptions.end(device)
            elif job.devices is None or device.name in job.devices:
                found.append(device)
        return found

    def _wait_for_message(self, job: PushJob) -> None:
        """The push was stored, and its message was not: the publish is under way, or it failed."""
        if self._clock() - job.since_ms / 1_000 < APPEND_SECONDS:
            self._pushes.again(job, NOT_YET_SECONDS)
        else:
            self._pushes.finish(job, appended=False)

    def _skip(self, job: PushJob, why: str) -> None:
        metrics.PUSHES.labels(why).inc()
        self._pushes.finish(job)

    def _send(self, job: PushJob, devices: list[Device], told: Notification) -> None:
        """Send to all devices side by side, then end the job or store what is left of it."""
        sending = [gevent.spawn(self._sent, device, told) for device in devices]
        gevent.joinall(sending)
        left: list[str] = []
        advice = 0.0
        sent = tried = 0
        for device, each in zip(devices, sending, strict=True):
            outcome, seconds = each.get()
            metrics.PUSHES.labels(outcome.value).inc()
            sent += outcome is Outcome.SENT
            if outcome is Outcome.GONE:
                self._subscriptions.end(device)
            elif outcome in (Outcome.RETRY, Outcome.WAITING):
                left.append(device.name)
                tried += outcome is Outcome.RETRY
                advice = max(advice, seconds)
        if sent:
            self._flights.pushed(job.user, job.message_id, sent)
        self._settle(job._replace(devices=tuple(left), tries=job.tries + (tried > 0)), advice)

    def _settle(self, job: PushJob, advice: float) -> None:
        if not job.devices:
            self._pushes.finish(job)
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** max(0, job.tries - 1), LONGEST_PAUSE_SECONDS)
        seconds = max(advice, pause if job.tries else NO_PLACE_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311 - spreads load
        if self._clock() + seconds > job.since_ms / 1_000 + self._settings.push_retry_seconds:
            metrics.PUSHES.labels("given_up").inc(len(job.devices))
            logger.warning("the push of %s is given up for %d devices", job.message_id, len(job.devices))
            self._pushes.finish(job)
        else:
            self._pushes.again(job, seconds)

    def _sent(self, device: Device, told: Notification) -> tuple[Outcome, float]:
        """Send to one device. Return what came of it, and the seconds that the service asked to wait."""
        settings = self._settings
        try:
            to = endpoint.parse(device.endpoint, settings.push_host_patterns, settings.own_push_networks)
            body = encrypt(
                told.payload,
                device.device_keys,
                sender=generate_private_key(SECP256R1()),
                salt=secrets.token_bytes(SALT_BYTES),
            )
        except ValueError as error:  # the settings have changed since
            logger.warning("a device of %r is no longer pushed to: %s", device.credential.user, error)
            return Outcome.GONE, 0.0
        headers = {
            **told.headers,
            "Authorization": self._key.authorization(to.origin, self._clock()),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
        }
        try:
            answer = self._services.send(to, headers, body)
        except NoPlaceError:
            return Outcome.WAITING, NO_PLACE_SECONDS
        except PushFailedError as error:
            logger.info("the push service %s failed: %s", to.origin, error)
            return Outcome.RETRY, 0.0
        return outcome_of(answer), answer.retry_after or 0.0


def outcome_of(answer: PushAnswer) -> Outcome:
    """Return what an answer means (RFC 8030 sections 5 and 7.3). A redirect is refused like any other answer."""
    if 200 <= answer.status < 300:
        return Outcome.SENT
    if answer.status in (404, 410):
        return Outcome.GONE
    return Outcome.RETRY if answer.status in (408, 425, 429) or answer.status >= 500 else Outcome.REFUSED
