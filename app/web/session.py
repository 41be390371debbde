"""`/session`: exchange a bearer token for a cookie that page scripts can't read, and end it.

The cookie carries the token itself, so a session never outlives its token and allows exactly what the token allows.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from app.core.errors import BelfryError
from app.core.times import rfc3339
from app.core.tokens import Claims
from app.web.auth import COOKIE, Authenticator, bearer_token, refuse_cross_site, token_missing

COOKIE_MAX_BYTES: Final = 4_000  # browsers silently drop a cookie whose name and value are over 4,096


def blueprint(auth: Authenticator) -> Blueprint:
    views = Blueprint("session", __name__)

    @views.post("/session")
    def start() -> ResponseReturnValue:
        token = bearer_token(request)
        if token is None:
            raise token_missing()
        claims = auth.verify(token)
        seconds = session_seconds(auth, claims)
        answer = jsonify(user=claims.user, expires_at=rfc3339(auth.clock() + seconds))
        answer.status_code = 201
        set_cookie(answer, auth, token, seconds)
        return answer

    @views.delete("/session")
    def end() -> ResponseReturnValue:
        refuse_cross_site(request)
        answer = Response(status=204)
        clear_cookie(answer, auth)
        return answer

    return views


def session_seconds(auth: Authenticator, claims: Claims) -> int:
    """How long a session with these claims lasts from now."""
    return min(int(claims.expires_at - auth.clock()), auth.settings.session_seconds)


def set_cookie(response: Response, auth: Authenticator, token: str, seconds: int) -> None:
    """Let `response` start a session of `seconds` with `token`.

    Raises `BelfryError` `bad_request` if the token is too long for a cookie.
    """
    if len(token) > COOKIE_MAX_BYTES:
        raise BelfryError(
            "bad_request", f"A cookie holds a token of {COOKIE_MAX_BYTES} bytes, this one has {len(token)}"
        )
    response.set_cookie(COOKIE, token, max_age=seconds, httponly=True, samesite="Lax", secure=_secure(auth))


def clear_cookie(response: Response, auth: Authenticator) -> None:
    """Let `response` end the session."""
    response.delete_cookie(COOKIE, httponly=True, samesite="Lax", secure=_secure(auth))


def _secure(auth: Authenticator) -> bool:
    # TLS mostly ends in a proxy, so outside the demo the cookie is for https whatever this request came by.
    return request.is_secure or not auth.settings.demo
