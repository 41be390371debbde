"""`/presence`: which users are connected now and with how many tabs, and how to end a connection."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request

from ...core.errors import BelfryError
from ...core.identity.names import check_user_id
from ...core.identity.tokens import Claims
from ...core.wire.frames import compact
from ...store.insight.audit import Audit
from ...store.insight.presence import Connection, PresenceStore
from ...store.keys import user_log
from ..edge.audited import note
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits
from ..edge.reading import listed, tabs_of, whole_number

USERS_MAX = 1_000
CONNECTION = re.compile(r"[0-9a-f]{8}")


def blueprint(auth: Authenticator, presence: PresenceStore, audit: Audit, limits: RateLimits) -> Blueprint:
    views = Blueprint("presence", __name__)

    @views.get("/presence")
    def show() -> Response:
        if "users" in request.args or "user" in request.args:
            users = asked_users(auth.require(request, "publish"), listed(request.args, "users", "user"))
            return answer(told(presence, users))
        auth.require(request, "admin")
        everyone = presence.everyone(whole_number(request, "limit", USERS_MAX, 1, USERS_MAX))
        return answer({user: {**summary(True, found), "list": found} for user, found in sorted(everyone.items())})

    @views.delete("/presence/<user>")
    def disconnect(user: str) -> Response:
        claims = auth.require(request, "admin")
        user = check_user_id(user)
        audit.append([note(auth, claims, "disconnect", user_log(user))])
        presence.disconnect(user, request.args.get("connection", ""))
        return Response(status=204)

    @views.post("/presence/tabs")
    def tabs() -> Response:
        claims = auth.require(request, "feed")
        limits.connect(claims.user)
        presence.share(claims.user, connection_of(request.args.get("connection", "")), tabs_of(request))
        return Response(status=204)

    return views


def connection_of(text: str) -> str:
    """Return the id of a connection, as `ready` reported it. Raises `BelfryError` `bad_parameter`."""
    if not CONNECTION.fullmatch(text):
        raise BelfryError("bad_parameter", f"connection: expected 8 hexadecimal digits, got {text[:40]!r}.")
    return text


def asked_users(claims: Claims, names: list[str]) -> list[str]:
    """Return the users that the request names.

    Raises `BelfryError` `bad_user_id`, `bad_parameter`, or `target_forbidden` if the token may not address one of them.
    """
    users = list(dict.fromkeys(map(check_user_id, names)))
    if not 1 <= len(users) <= USERS_MAX:
        raise BelfryError("bad_parameter", f"users: expected 1 to {USERS_MAX} user ids, got {len(users)}.")
    for user in users:
        if not claims.may_address(user_log(user)):
            raise BelfryError("target_forbidden", f"The token may not address {user!r}.")
    return users


def told(presence: PresenceStore, users: list[str]) -> dict[str, Any]:
    """Return a summary for each of `users`."""
    found = zip(presence.online(users), presence.connections(users), strict=True)
    return {user: summary(*each) for user, each in zip(users, found, strict=True)}


def summary(online: bool, connections: list[Connection]) -> dict[str, Any]:
    """Return whether a user is connected, with how many connections, and since when.

    The last two values may be a second old.
    """
    connections = connections if online else []
    since = min([connection["since"] for connection in connections], default=None)
    return {"online": online, "connections": len(connections), "since": since}


def answer(users: dict[str, Any]) -> Response:
    return Response(
        compact({"users": users}) + "\n", mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
