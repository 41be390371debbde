"""`/admin/…`: what administrators can read and change, except for messages: the audit log, sessions and revocations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...core.errors import BelfryError
from ...core.identity.names import check_user_id
from ...core.identity.revocation import RevocationKind
from ...core.identity.tokens import TOKEN_ID_MAX
from ...core.wire import faults, strict_json
from ...core.wire.times import rfc3339
from ...store.identity.revocations import Revocations
from ...store.insight.audit import Audit, AuditEntry
from ...store.insight.figures import FigureStore
from ..edge.audited import note
from ..edge.auth import Authenticator
from ..edge.reading import body, whole_number

AUDIT_DEFAULT = 100
AUDIT_MAX = 1_000
BODY_MAX_BYTES = 16_384


class Order(BaseModel):
    """The body of `POST /admin/revocations`: exactly one of a user, a token, and the id of a token."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: Annotated[str, Field(min_length=1)] | None = None
    token: Annotated[str, Field(min_length=1)] | None = None
    token_id: Annotated[str, Field(min_length=1, max_length=TOKEN_ID_MAX)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Order:
        if sum(value is not None for value in (self.user, self.token, self.token_id)) != 1:
            raise ValueError("give exactly one of user, token and token_id")
        return self


def blueprint(auth: Authenticator, audit: Audit, revocations: Revocations, figures: FigureStore) -> Blueprint:
    views = Blueprint("admin", __name__, url_prefix="/admin")

    @views.get("/audit")
    def entries() -> Response:
        auth.require(request, "admin")
        limit = whole_number(request, "limit", AUDIT_DEFAULT, 1, AUDIT_MAX)
        return jsonify(entries=[shown(entry) for entry in audit.newest(limit)])

    @views.get("/figures")
    def last_hour() -> Response:
        auth.require(request, "admin")
        points = ",".join(figures.hour(auth.clock()))  # the points are JSON already
        text = f'{{"seconds":{auth.settings.figures_seconds},"points":[{points}]}}\n'
        return Response(text, mimetype="application/json")

    @views.get("/sessions")
    def sessions() -> Response:
        auth.require(request, "admin")
        user = check_user_id(request.args.get("user", ""))
        found = auth.sessions.of_user(user, auth.clock())
        return jsonify(
            user=user,
            sessions=[{"name": session.name, "expires_at": rfc3339(session.expires_at)} for session in found],
        )

    @views.post("/revocations")
    def revoke() -> Response:
        claims = auth.require(request, "admin")
        text = body(request, BODY_MAX_BYTES, auth.settings.body_seconds)
        auth.check(claims)  # the body may have taken long to arrive
        kind, name = _ordered(auth, _order(text))
        audit.append([note(auth, claims, "revoke", f"{kind.value}:{name}")])
        # This comes before the sessions are removed, because that may take long.
        revocations.revoke(kind, name, auth.clock())
        ended = auth.sessions.end_all(name, auth.clock()) if kind is RevocationKind.USER else 0
        return jsonify(revoked=kind.value, name=name, sessions_ended=ended)

    return views


def shown(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry as the listing shows it. It has no `count` if it stands for one occurrence."""
    fields = asdict(entry)
    if entry.count == 1:
        del fields["count"]
    return fields


def _order(text: bytes) -> Order:
    sent = strict_json.read(text)
    try:
        return Order.model_validate(sent)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join([f"{part}: " for part in first["loc"]])
        raise BelfryError("bad_parameter", f"{where}{faults.told(first)}.") from None


def _ordered(auth: Authenticator, order: Order) -> tuple[RevocationKind, str]:
    """Return what to revoke. Raises `BelfryError` `bad_parameter` for a token that is not valid.

    A token is revoked by its id. Only a valid token proves that the id in it is real.
    """
    if order.user is not None:
        return RevocationKind.USER, check_user_id(order.user)
    if order.token is not None:
        try:
            return RevocationKind.TOKEN, auth.keyring.verify(order.token, auth.clock()).token_id
        except BelfryError as error:
            raise BelfryError("bad_parameter", f"token: {error.detail}") from None
    return RevocationKind.TOKEN, order.token_id or ""
