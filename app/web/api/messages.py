"""`/messages`: lists the latest messages, shows one, retracts one from all recipients, or cancels a scheduled one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.wire.frames import compact
from ...live.insight.recorder import Flights
from ...store.insight.audit import Audit
from ...store.insight.recent import MESSAGES_KEPT, RecentStore
from ...store.logs.delivery import USER, Delivery, Read, Readers, content_of, deliveries
from ...store.logs.log import LogStore
from ...store.logs.recipients import Recipients
from ...store.timers.timers import RememberedJob
from ..edge.audited import note
from ..edge.auth import Authenticator, require_scope
from ..edge.reading import flag, whole_number
from .scheduling import Scheduling, parsed, written

LIMIT_DEFAULT = 50


def blueprint(message_views: MessageViews) -> Blueprint:
    """Return the views of `/messages`."""
    views = Blueprint("messages", __name__)
    views.get("/messages")(message_views.newest)
    views.get("/messages/<message_id>")(message_views.show)
    views.get("/messages/<message_id>/content")(message_views.content)
    views.delete("/messages/<message_id>")(message_views.retract)
    return views


@dataclass(frozen=True, slots=True)
class MessageViews:
    """The views about messages, for publishers and administrators."""

    auth: Authenticator
    recipients: Recipients
    store: LogStore
    recent: RecentStore
    readers: Readers
    flights: Flights
    audit: Audit
    scheduling: Scheduling

    def newest(self) -> Response:
        """List the messages that were published last."""
        self.auth.require(request, "admin")
        limit = whole_number(request, "limit", LIMIT_DEFAULT, 1, MESSAGES_KEPT)
        return answer({"messages": self.recent.newest(limit)})

    def show(self, message_id: str) -> Response:
        """Show the state of a message at each recipient."""
        claims = self.auth.require(request, "publish")
        names = self.recipients.of(message_id)
        known = None if names else self.scheduling.find(message_id)
        if known is not None:
            return answer(_scheduled(known, claims, message_id))
        _require_known(names, claims, message_id)
        counted = {}
        if flag(request, "readers"):
            require_scope(claims, "admin")
            counted = {name: self.readers.count(name, message_id) for name in names if not name.startswith(USER)}
        return answer({"id": message_id, **status(deliveries(self.store, message_id, names), counted)})

    def content(self, message_id: str) -> Response:
        """Show the content of a message."""
        claims = self.auth.require(request, "admin")
        names = logs_of(self.recipients, claims, message_id)
        record = content_of(self.store, message_id, names)
        if record is None:
            raise BelfryError("not_found", f"The message {message_id[:128]!a} is not kept any more.")
        event, _, text = record.partition(b" ")
        return answer({"event": event.decode(), "message": json.loads(text), "logs": names})

    def retract(self, message_id: str) -> Response:
        """Remove a message from every log, or cancel it if it is scheduled."""
        claims = self.auth.require(request, "publish")
        names = self.recipients.of(message_id)
        known = None if names else self.scheduling.find(message_id)
        job = known.job if known is not None else None
        _require_known(parsed(job).logs if job is not None else names, claims, message_id)
        if claims.session:
            self.audit.append([note(self.auth, claims, "retract", "", message_id)])
        if job is not None:
            return answer(self.scheduling.cancel(job))
        found = self.recipients.retract(message_id, names)
        self.flights.retracted([name.removeprefix(USER) for name in found if name.startswith(USER)], message_id)
        return answer({"id": message_id, "retracted": [shown(name) for name in found]})


def logs_of(recipients: Recipients, claims: Claims, message_id: str) -> list[str]:
    """Return the logs that a message went to.

    Raises `BelfryError` `not_found`, or `target_forbidden` if the token may not address one of the logs.
    """
    names = recipients.of(message_id)
    _require_known(names, claims, message_id)
    return names


def _require_known(names: Sequence[str], claims: Claims, message_id: str) -> None:
    """Check that a message went to some log, and that the token may address all its logs.

    Raises `BelfryError` `not_found` or `target_forbidden`.
    """
    if not names:
        raise BelfryError("not_found", f"No message {message_id[:128]!a} is known, or not any more.")
    for name in names:
        if not claims.may_address(name):
            raise BelfryError("target_forbidden", f"The token may not address {name!r}, to whom it also went.")


def _scheduled(known: RememberedJob, claims: Claims, message_id: str) -> dict[str, Any]:
    """Return what is known about a scheduled message. Raises `BelfryError` `target_forbidden`."""
    when = {"state": known.state, "deliver_at": written(known.due_ms)}
    if known.job is None:
        return {"id": message_id, **status([], {}), **when}
    names = parsed(known.job).logs
    _require_known(names, claims, message_id)
    to = [shown(name) for name in names]
    return {"id": message_id, **status([], {}), "recipients": len(to), **when, "by": known.job.by, "to": to}


def status(found: list[Delivery], counted: Mapping[str, Read]) -> dict[str, Any]:
    """Return the number of recipients that keep and have read the message, and the state at each of them.

    `counted` has the numbers of readers of topics.
    """
    return {
        "recipients": len(found),
        "kept": sum(each.offset is not None for each in found),
        "read": sum(each.read for each in found),
        "deliveries": [
            {
                "to": shown(each.log),
                "offset": each.offset,
                "read": each.read,
                "archived": each.archived,
                "removed": each.removed,
                **({"readers": counted[each.log]._asdict()} if each.log in counted else {}),
            }
            for each in found
        ],
    }


def shown(log_name: str) -> str:
    """Return the name of a log as the answer to a publish shows it: for a user's log, the user's id."""
    return log_name.removeprefix("user:")


def answer(body: dict[str, Any]) -> Response:
    return Response(compact(body) + "\n", mimetype="application/json", headers={"Cache-Control": "no-store"})
