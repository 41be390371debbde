"""`/users`, for administrators: who is known, what is known of a user, and forgetting it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app.core.errors import BelfryError
from app.core.frames import compact
from app.core.names import check_user_id
from app.core.revocation import Kind
from app.core.times import rfc3339
from app.store.audit import Audit
from app.store.directory import Directory
from app.store.flights import FlightStore
from app.store.keys import user_log
from app.store.log import LogStore
from app.store.presence import PresenceStore
from app.store.read_state import ReadState
from app.store.recent import RecentStore
from app.store.revocations import Revocations
from app.store.runs import Runs
from app.store.trace import Tracing
from app.web.auth import Authenticator
from app.web.by_hand import note
from app.web.reading import whole_number

FOUND_DEFAULT = 20
FOUND_MAX = 100
MESSAGES_TOLD = 20


def blueprint(
    auth: Authenticator,
    store: LogStore,
    read_state: ReadState,
    presence: PresenceStore,
    flights: FlightStore,
    revocations: Revocations,
    runs: Runs,
    audit: Audit,
    directory: Directory,
    tracing: Tracing,
    recent: RecentStore,
) -> Blueprint:
    views = Blueprint("users", __name__)

    @views.get("/users")
    def search() -> Response:
        auth.require(request, "admin")
        prefix = request.args.get("prefix", "")
        found = directory.search(check_user_id(prefix) if prefix else "", limit())
        online = presence.online([user for user, _ in found]) if found else []
        users = [
            {"user": user, "online": connected, "seen": rfc3339(seen)}
            for (user, seen), connected in zip(found, online, strict=True)
        ]
        return answer({"users": users, "known": directory.count()})

    @views.get("/users/<user>")
    def show(user: str) -> Response:
        auth.require(request, "admin")
        presence.inquire(check_user_id(user))
        (page,) = store.read([(user_log(user), ())], user)
        told = {
            "user": user,
            "online": presence.online([user])[0],
            "connections": presence.connections([user])[0],
            "log": {"newest": page.top, "oldest": page.oldest, "kept": page.kept, "unread": page.unread(page.top)},
            "messages": tracing.latest(user, MESSAGES_TOLD),
            "events": flights.of(user),
        }
        return answer(told)

    @views.get("/users/<user>/messages/<message_id>")
    def trace(user: str, message_id: str) -> Response:
        auth.require(request, "admin")
        presence.inquire(check_user_id(user))
        told = tracing.of(user, message_id)
        if told is None:
            raise BelfryError("not_found", f"No message {message_id[:128]!a} is known to have gone to {user!r}.")
        return answer(told)

    @views.delete("/users/<user>")
    def forget(user: str) -> Response:
        claims = auth.require(request, "admin")
        check_user_id(user)
        audit.append([note(auth, claims, "forget", user_log(user))])
        auth.sessions.end_all(user, auth.clock())
        revocations.revoke(Kind.USER, user, auth.clock())
        presence.disconnect(user)
        runs.forget(user)
        store.forget([user_log(user)])
        read_state.forget(user)
        flights.forget(user)
        directory.forget(user)
        recent.forget(user)
        return Response(status=204)

    def limit() -> int:
        return whole_number(request, "limit", FOUND_DEFAULT, 1, FOUND_MAX)

    return views


def answer(body: dict[str, Any]) -> Response:
    return Response(compact(body) + "\n", mimetype="application/json", headers={"Cache-Control": "no-store"})
