"""`/scheduled`: lists messages that wait for their delivery, and changes their time."""

from __future__ import annotations

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, ValidationError

from ...core.due import DeliverAt
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.wire import faults, strict_json
from ...store.timers.timers import Job, Place
from ..edge.audited import note
from ..edge.auth import Authenticator
from ..edge.reading import json_body, whole_number
from .messages import answer
from .scheduling import Scheduling, shown, unknown

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
BODY_MAX_BYTES = 4_096


class Reschedule(BaseModel):
    """The body of `PATCH /scheduled/{message_id}`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    deliver_at: DeliverAt


def blueprint(auth: Authenticator, scheduling: Scheduling) -> Blueprint:
    views = Blueprint("scheduled", __name__)

    @views.get("/scheduled")
    def waiting() -> Response:
        claims = auth.require(request, "publish")
        limit = whole_number(request, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        publisher = None if "admin" in claims.scopes else claims.user
        jobs, place = scheduling.page(limit, _place(request.args.get("after", "")), publisher)
        following = f"{place[0]}.{place[1]}" if place else None
        return answer({"scheduled": [shown(job) for job in jobs], "next": following})

    @views.patch("/scheduled/<message_id>")
    def change(message_id: str) -> Response:
        claims = auth.require(request, "publish")
        text = json_body(request, BODY_MAX_BYTES, auth.settings.body_seconds, "application/json")
        auth.check(claims)  # the body may have taken long to arrive
        due = _read(text).deliver_at
        changed = scheduling.change(_own(scheduling, claims, message_id), due, claims)
        if claims.session:
            auth_note = note(auth, claims, "reschedule", changed["deliver_at"], message_id)
            scheduling.audit.append([auth_note])
        return answer(changed)

    return views


def _read(text: bytes) -> Reschedule:
    sent = strict_json.read(text)
    try:
        return Reschedule.model_validate(sent)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        code = "unknown_field" if first["type"] == "extra_forbidden" else "bad_deliver_at"
        where = ".".join(str(part) for part in first["loc"])
        raise BelfryError(code, f"{where}: {faults.told(first)}." if where else f"{faults.told(first)}.") from None


def _own(scheduling: Scheduling, claims: Claims, message_id: str) -> Job:
    """Return a job that `claims` may change: one of the user's own, or any job for an administrator.

    Raises `BelfryError` `not_found`.
    """
    known = scheduling.find(message_id)
    if known is None or known.job is None or not (known.job.by == claims.user or "admin" in claims.scopes):
        raise unknown(message_id)
    return known.job


def _place(text: str) -> Place | None:
    """Return the place in `text`, which must be the `next` of an earlier page. Raises `BelfryError` `bad_parameter`."""
    if not text:
        return None
    at, _, message_id = text.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) <= 16 and message_id):
        raise BelfryError("bad_parameter", f"after: expected the `next` of an earlier page, got {text[:40]!a}.")
    return int(at), message_id
