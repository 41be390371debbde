"""`POST /tickets`: a credential for one use within a minute.

An `EventSource` on another origin can send neither header nor cookie, so its credential must be in the URL. A token in
a URL would end up in logs. A ticket in a log is worthless, because it has been used.
"""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ...store.identity.sessions import TICKET_SECONDS
from ..edge.auth import Authenticator, require_scope
from ..edge.limits import RateLimits


def blueprint(auth: Authenticator, limits: RateLimits) -> Blueprint:
    """Return the view of `/tickets`."""
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
