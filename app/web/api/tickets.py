"""`POST /tickets`: a credential for one use within a minute.

For an `EventSource` on another origin, which sends neither header nor cookie: a token in its address would end up in
logs, a used ticket is worth nothing there.
"""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ...store.identity.sessions import TICKET_SECONDS
from ..edge.auth import Authenticator, require_scope
from ..edge.limits import RateLimits


def blueprint(auth: Authenticator, limits: RateLimits) -> Blueprint:
    """The view of `/tickets`."""
    views = Blueprint("tickets", __name__)

    @views.post("/tickets")
    def issue() -> ResponseReturnValue:
        claims = auth.identify(request)
        require_scope(claims, "feed", "complete")
        limits.connect(claims.user)
        answer = jsonify(ticket=auth.tickets.issue(claims, auth.clock()), expires_in=TICKET_SECONDS)
        answer.headers["Cache-Control"] = "no-store"
        return answer, 201

    return views
