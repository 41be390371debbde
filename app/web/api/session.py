"""`/session`: exchanges a bearer token for a cookie that page scripts can't read, and ends the session.

The cookie is a random number, and the store keeps the session's data. So a session can be ended at any time. It does
not outlive its token, and allows exactly what the token allows.
"""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from ...core.identity.tokens import Claims
from ...core.wire.times import rfc3339
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits


def blueprint(auth: Authenticator, limits: RateLimits) -> Blueprint:
    """Return the views of `/session`."""
    views = Blueprint("session", __name__)

    @views.post("/session")
    def start() -> ResponseReturnValue:
        claims = auth.holder(request)
        limits.connect(claims.user)
        answer = jsonify(user=claims.user, expires_at=rfc3339(_end(auth, claims)))
        answer.status_code = 201
        start_session(answer, auth, claims)
        return answer

    @views.delete("/session")
    def end() -> ResponseReturnValue:
        auth.refuse_cross_site(request)
        answer = Response(status=204)
        end_session(answer, auth)
        return answer

    return views


def start_session(response: Response, auth: Authenticator, claims: Claims) -> None:
    """Start a session with the rights of `claims` in `response`. It lasts as long as `claims`, up to the limit.

    The browser's previous session ends, because somebody else may know its cookie.
    """
    old = _stored(auth)
    now, until = auth.clock(), _end(auth, claims)
    lasting = replace(claims, expires_at=until)
    if old is not None and old.user == claims.user:
        value = auth.sessions.renew(old, lasting, now)
    else:
        if old is not None:
            auth.sessions.end(old.user, old.session, now)
        value = auth.sessions.start(lasting, now)
    secure = auth.is_secure(request)
    name = auth.cookie_name(request)
    response.set_cookie(name, value, max_age=int(until - now), httponly=True, samesite="Lax", secure=secure)


def end_session(response: Response, auth: Authenticator) -> None:
    """End the request's session, if there is one, in the store and in the browser.

    An unknown session may be a guess, so it is counted. Raises `BelfryError` `rate_limited` if there were too many.
    """
    claims = _stored(auth)
    if claims is not None:
        auth.sessions.end(claims.user, claims.session, auth.clock())
    elif auth.session_cookie(request):
        auth.count_guess(request)
    response.delete_cookie(auth.cookie_name(request), httponly=True, samesite="Lax", secure=auth.is_secure(request))


def _stored(auth: Authenticator) -> Claims | None:
    """Return the session of the request's cookie, or None if the store knows no such session."""
    value = auth.session_cookie(request)
    return auth.sessions.find(value, auth.clock()) if value else None


def _end(auth: Authenticator, claims: Claims) -> float:
    """Return when the session ends, in Unix seconds.

    The store forgets a revocation after a while. No credential may live longer than that, so a session may not either.
    """
    longest_seconds = min(auth.settings.session_seconds, auth.settings.revocation_seconds)
    return min(claims.expires_at, auth.clock() + longest_seconds)
