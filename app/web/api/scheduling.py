"""Accepts messages for later delivery, changes and cancels them, and describes them to publishers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from flask import Request

from ...core import message
from ...core.due import Due
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.message import Message
from ...core.settings import Settings
from ...core.wire.times import rfc3339
from ...live.timers.deliverer import MAX_RECIPIENTS
from ...store.insight.audit import Audit
from ...store.timers.timers import CANCELLED, DELIVERING, SCHEDULED, Job, ScheduleOutcome, Timers
from ..edge.audited import note
from ..edge.auth import Authenticator

Result = dict[str, Any]
Accepted = Result | Message | BelfryError  # a message means that it is due already

ACCEPTED = 202
RETRY_AFTER_SECONDS = 1


class Scheduling:
    """Schedules, changes and cancels messages.

    Every method raises `BelfryError` `store_unavailable` and `not_replicated`, in addition to those that it names.
    """

    def __init__(self, timers: Timers, auth: Authenticator, audit: Audit, settings: Settings) -> None:
        self._timers = timers
        self._auth = auth
        self.audit = audit
        self._settings = settings
        self.find = timers.find
        self.page = timers.page

    def accept(self, messages: Sequence[Message], claims: Claims, asked: Request | None) -> list[Accepted]:
        """Schedule messages.

        Return for each one its answer with `status`, a refusal, or the message itself if it is due.
        """
        if claims.session and asked is not None:
            target = self._noted(claims, asked)
            self.audit.append([target(name, each.id) for each in messages for name in each.logs])
        receipts = self._timers.schedule(messages, claims)
        return [self._accepted(each, receipt) for each, receipt in zip(messages, receipts, strict=True)]

    def change(self, job: Job, due: Due, claims: Claims) -> Result:
        """Deliver a message at another time.

        Raises `BelfryError` `not_found`, `delivery_under_way` or `bad_deliver_at`.
        """
        what, due_ms = self._timers.change(job, due, claims)
        if what == "far":
            raise self._far(due_ms)
        if what == DELIVERING:
            raise under_way(job.id)
        if what != "changed":
            raise unknown(job.id)
        return {"id": job.id, "deliver_at": rfc3339(due_ms / 1_000), "state": SCHEDULED}

    def cancel(self, job: Job) -> Result:
        """Cancel a message. Raises `BelfryError` `not_found` or `delivery_under_way`."""
        state = self._timers.cancel(job)
        if state == DELIVERING:
            raise under_way(job.id)
        if state not in {SCHEDULED, CANCELLED}:
            raise unknown(job.id)
        return {"id": job.id, "retracted": [], "state": CANCELLED}

    def _noted(self, claims: Claims, asked: Request) -> Callable[[str, str], Any]:
        return lambda name, id_: note(self._auth, claims, "schedule", name, id_, asked=asked)

    def _accepted(self, sent: Message, receipt: ScheduleOutcome) -> Accepted:
        if receipt.what == "now":
            return sent
        if receipt.what == "reused":
            detail = f"The message id {sent.id!r} was used before with other content or other recipients."
            return BelfryError("id_reused", detail, id=sent.id)
        if receipt.what == "far":
            return self._far(receipt.due_ms)
        if receipt.what == "many":
            most = self._settings.max_scheduled
            detail = (
                f"At most {most} messages of one publisher are scheduled (BELFRY_MAX_SCHEDULED); cancel some of them."
            )
            return BelfryError("too_many_scheduled", detail, id=sent.id)
        answer = {
            "id": sent.id,
            "deliveries": [],
            "deliver_at": rfc3339(receipt.due_ms / 1_000),
            "state": receipt.state,
        }
        if receipt.what == "duplicate":
            return {"status": 200, **answer, "duplicate": True}
        return {"status": ACCEPTED, **answer}

    def _far(self, due_ms: int) -> BelfryError:
        most = min(self._settings.schedule_seconds, self._settings.revocation_seconds)
        told = f"deliver_at: at most {most} seconds from now (BELFRY_SCHEDULE_SECONDS), got {written(due_ms)}."
        return BelfryError("bad_deliver_at", told)


def written(due_ms: int) -> str:
    """Return a due time as text. It may be too late for RFC 3339."""
    try:
        return rfc3339(due_ms / 1_000)
    except (ValueError, OverflowError):
        return "a later one"


def under_way(message_id: str) -> BelfryError:
    return BelfryError(
        "delivery_under_way",
        f"The message {message_id[:128]!a} is being delivered; try again in a moment: then it can be retracted.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def unknown(message_id: str) -> BelfryError:
    return BelfryError("not_found", f"No message {message_id[:128]!a} is scheduled, or not any more.")


def parsed(job: Job) -> Message:
    """Return the message of a job as it would be sent now.

    Raises `BelfryError` if an incompatible version stored it.
    """
    return message.parse(job.text, now=job.due_ms / 1_000, new_id=job.id, max_recipients=MAX_RECIPIENTS)


def shown(job: Job) -> Result:
    """Return a scheduled message as the listing shows it."""
    read = parsed(job)
    event, _, record = read.record.partition(b" ")
    content = json.loads(record)
    return {
        "id": job.id,
        "deliver_at": rfc3339(job.due_ms / 1_000),
        "state": job.state,
        "by": job.by,
        "to": [name.removeprefix("user:") for name in read.logs],
        "event": event.decode(),
        "title": content.get("title"),
    }
