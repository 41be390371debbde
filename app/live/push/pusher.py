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
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from typing import Any, Final, NamedTuple

import gevent
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

from ... import metrics
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.push import endpoint, notification
from ...core.push.encryption import SALT_BYTES, encrypt
from ...core.push.endpoint import PushEndpoint
from ...core.push.notification import Notification
from ...core.push.vapid import VapidKey
from ...core.settings import Settings
from ...store.insight.presence import PresenceStore
from ...store.logs.delivery import unhandled
from ...store.logs.log import LogStore
from ...store.push.pushes import DeviceLeft, Pushes, PushJob
from ...store.push.subscriptions import Device, Subscriptions
from ..identity.revocation_watch import RevocationWatch
from ..insight.recorder import Flights
from ..loop import Loop
from .push_services import NoAddressError, NoPlaceError, PushAnswer, PushFailedError, PushServices

JOBS_AT_ONCE: Final = 400  # of a worker: more than the places of several push services
LOOK_SECONDS: Final = 60.0  # at least so often a worker looks while pushes wait
RETRY_SECONDS: Final = 0.5  # after the store failed
APPEND_SECONDS: Final = 30.0  # a message that was not appended by then never will be: its publish failed
NOT_YET_SECONDS: Final = 1.0
NO_PLACE_SECONDS: Final = 2.0  # after the push service had no free place; doubles each time
LONGEST_WAIT_SECONDS: Final = 60.0  # for a place
CLOCKS_SECONDS: Final = 5.0  # by which the clocks of two nodes may differ
TOGETHER_MS: Final = 1_000  # devices that are due so soon after the first one are tried together with it
# A claim that only found busy push services costs as much as one that sends. The next one comes no sooner.
BUSY_SECONDS: Final = 0.5
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


class Result(NamedTuple):
    """What came of one push to one device, and for how many seconds the push service asked to wait."""

    outcome: Outcome
    advice: float = 0.0


_NO_PLACE: Final = Result(Outcome.WAITING)


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
        """Make a pusher. `trusts` may be set: whether what vouched for a credential is still trusted."""
        self.trusts: Callable[[Claims], bool] = lambda _: True
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
        self._not_before = -math.inf  # it does not look sooner
        self._claimed = -math.inf  # when it claimed last
        self._sooner = Event()
        self._turning = BoundedSemaphore()
        self._leaving = False
        self._loop = Loop(self.turn, self._rest, "pushes wait", logger)

    def start(self) -> None:
        """Begin to send."""
        self._loop.start()

    def stop(self) -> None:
        """Claim nothing more, and let the requests under way end, as far as that is quick."""
        self._leaving = True
        with gevent.Timeout(STOP_SECONDS, _QUIETLY):
            with self._turning:  # Redis may have run the claim: its pushes would wait until their lease ends
                self._loop.stop()
            self._jobs.join()
        self._loop.stop()
        self._services.close()

    def heard(self, told: bytes) -> None:
        """A push is due in so many ms, sooner than all others; told nothing, the worker looks at once."""
        self._expect(int(told) / 1_000 if told else 0.0)

    def turn(self) -> None:
        """Claim what is due, and begin to send it. Raises `BelfryError`."""
        with self._turning:
            if self._leaving:
                return
            self._next = math.inf
            room = self._jobs.free_count()
            self._expect(self._claim(room) if room > 0 else RETRY_SECONDS)

    def _claim(self, room: int) -> float:
        """Begin to send up to `room` pushes. Return in how many seconds the next claim is worth it."""
        self._claimed = self._now()
        try:
            claimed = self._pushes.claim(room)
        except Exception:  # whatever failed, `Loop` logs it; without a next look, pushes would wait for it
            self._expect(RETRY_SECONDS)
            raise
        for job in claimed.jobs:
            self._jobs.spawn(self._guarded, job)
        return math.inf if claimed.next_seconds is None else claimed.next_seconds

    def _rest(self) -> None:
        while (left := max(self._next, self._not_before) - self._now()) > 0:
            self._sooner.clear()
            self._sooner.wait(None if left == math.inf else left)

    def _expect(self, seconds: float) -> None:
        """Look in so many seconds, unless that is earlier already."""
        at = self._now() + (seconds if seconds == math.inf else min(seconds, LOOK_SECONDS))
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
        devices = self._devices(job.user)
        known = map(DeviceLeft, devices) if job.left is None else job.left
        left = [each for each in known if each.name in devices]
        if not left:
            self._pushes.finish(job)
            return
        due_ms = max(self._clock() * 1_000, min(each.at_ms for each in left)) + TOGETHER_MS
        due = [each for each in left if each.at_ms <= due_ms]
        later = [each for each in left if each.at_ms > due_ms]
        if not any(self._has_place(devices[each.name]) for each in due):
            self._settle(job, later, [(each, _NO_PLACE) for each in due])
            return
        told = self._told(job)
        if told is not None:
            # A repeated publish may have stored this push for a device that subscribed after the message came.
            latest = told.published_at + CLOCKS_SECONDS
            sending = [(each, devices[each.name]) for each in due if devices[each.name].since <= latest]
            self._send(job._replace(left=tuple(later)), sending, told)

    def _told(self, job: PushJob) -> Notification | None:
        """Return what to send now. If that is nothing, end the job or have it taken again."""
        message = unhandled(self._logs, job.user, job.message_id, self._clock())
        if not message.appended:
            self._wait_for_message(job)
        elif message.digest not in ("", job.digest):
            self._skip(job, "reused", appended=False)
        elif message.record is None:
            self._skip(job, "handled")
        elif not self._settings.push_connected and self._presence.online([job.user])[0]:
            self._skip(job, "connected")
        else:
            ttl = self._settings.push_ttl_seconds
            return notification.of_record(message.record, job.user, self._key, self._clock(), ttl)
        return None

    def _devices(self, user: str) -> dict[str, Device]:
        """Return the user's devices by name. Those whose credential was withdrawn are removed.

        A device whose key is not trusted any more stays, and gets nothing: its next subscription has another key.
        The session does not count: signing out removes its devices, and a session that was replaced ends nothing.
        """
        found: dict[str, Device] = {}
        for device in self._subscriptions.of_user(user):
            if self._watch.covers(replace(device.credential, session="")):
                self._subscriptions.end(device)
            elif self.trusts(device.credential):
                found[device.name] = device
        return found

    def _has_place(self, device: Device) -> bool:
        """Return whether the push service has a free place. A device that is not sent to needs none."""
        try:
            return self._services.has_place(self._endpoint(device))
        except ValueError:
            return True

    def _endpoint(self, device: Device) -> PushEndpoint:
        """Return where the device is reached. Raises `ValueError` if this worker may not connect to it."""
        return endpoint.parse(device.endpoint, self._settings.push_host_patterns, self._settings.own_push_networks)

    def _wait_for_message(self, job: PushJob) -> None:
        """The push was stored, and its message was not: the publish is under way, or it failed."""
        if self._clock() - job.since_ms / 1_000 < APPEND_SECONDS:
            self._pushes.again(job, NOT_YET_SECONDS)
        else:
            self._pushes.finish(job, appended=False)

    def _skip(self, job: PushJob, why: str, *, appended: bool = True) -> None:
        metrics.PUSHES.labels(why).inc()
        self._pushes.finish(job, appended=appended)

    def _send(self, job: PushJob, due: list[tuple[DeviceLeft, Device]], told: Notification) -> None:
        """Send to all devices that are due side by side, then end the job or store what is left of it."""
        sending = [gevent.spawn(self._sent, device, told) for _, device in due]
        gevent.joinall(sending)
        results = [each.get() for each in sending]
        for (_, device), result in zip(due, results, strict=True):
            metrics.PUSHES.labels(result.outcome.value).inc()
            if result.outcome is Outcome.GONE:
                self._subscriptions.end(device)
        sent = [result for result in results if result.outcome is Outcome.SENT]
        if sent:
            self._flights.pushed(job.user, job.message_id, len(sent))
        self._settle(job, job.left or (), [(each, result) for (each, _), result in zip(due, results, strict=True)])

    def _settle(self, job: PushJob, later: Iterable[DeviceLeft], tried: Iterable[tuple[DeviceLeft, Result]]) -> None:
        """End the job, or store the devices that are still to be reached: those for later, and those to try again."""
        left = list(later)
        spread = random.uniform(1.0, 1.2)  # noqa: S311 - spreads load
        for each, result in tried:
            if result.outcome is Outcome.WAITING:
                self._not_before = self._claimed + BUSY_SECONDS
            if result.outcome in (Outcome.RETRY, Outcome.WAITING):
                left += self._again(job, each, result, spread)
        if left:
            seconds = min(each.at_ms for each in left) / 1_000 - self._clock()
            self._pushes.again(job._replace(left=tuple(left)), max(0.0, seconds))
        else:
            self._pushes.finish(job)

    def _again(self, job: PushJob, device: DeviceLeft, result: Result, spread: float) -> list[DeviceLeft]:
        """Return the device with the time of its next try, or nothing if the push is given up for it."""
        now_ms, settings = int(self._clock() * 1_000), self._settings
        if result.outcome is Outcome.WAITING:
            pause = min(NO_PLACE_SECONDS * 2**device.waits, LONGEST_WAIT_SECONDS)
            device = device._replace(waits=device.waits + 1)
            begin_ms = job.since_ms
            longest = settings.push_delay_seconds + max(settings.push_ttl_seconds, settings.push_retry_seconds)
        else:
            pause = max(result.advice, min(FIRST_PAUSE_SECONDS * 2**device.tries, LONGEST_PAUSE_SECONDS))
            begin_ms, longest = device.failed_ms or now_ms, settings.push_retry_seconds
            device = device._replace(tries=device.tries + 1, failed_ms=begin_ms, waits=0)
        at_ms = now_ms + int(pause * spread * 1_000)
        if at_ms <= begin_ms + longest * 1_000:
            return [device._replace(at_ms=at_ms)]
        metrics.PUSHES.labels("given_up").inc()
        logger.warning("the push of %s is given up for a device of %r", job.message_id, job.user)
        return []

    def _sent(self, device: Device, told: Notification) -> Result:
        """Send to one device. Return what came of it."""
        try:
            to = self._endpoint(device)
            if not self._services.has_place(to):
                return _NO_PLACE
            body = encrypt(
                told.payload,
                device.device_keys,
                sender=generate_private_key(SECP256R1()),
                salt=secrets.token_bytes(SALT_BYTES),
            )
        except ValueError as error:  # the settings have changed since
            logger.warning("a device of %r is not pushed to: %s", device.credential.user, error)
            return Result(Outcome.REFUSED)  # the device stays: other nodes may have other settings
        headers = {
            **told.headers,
            "Authorization": self._key.authorization(to.origin, self._clock()),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
        }
        try:
            answer = self._services.send(to, headers, body)
        except NoPlaceError:
            return _NO_PLACE
        except NoAddressError as error:
            logger.warning("a device of %r is not pushed to: %s: %s", device.credential.user, to.origin, error)
            return Result(Outcome.REFUSED)
        except PushFailedError as error:
            logger.info("the push service %s failed: %s", to.origin, error)
            return Result(Outcome.RETRY)
        return Result(outcome_of(answer), answer.retry_after or 0.0)


def outcome_of(answer: PushAnswer) -> Outcome:
    """Return what an answer means (RFC 8030 sections 5 and 7.3). A redirect is refused like any other answer."""
    if 200 <= answer.status < 300:
        return Outcome.SENT
    if answer.status in (404, 410):
        return Outcome.GONE
    return Outcome.RETRY if answer.status in (408, 425, 429) or answer.status >= 500 else Outcome.REFUSED
