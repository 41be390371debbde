"""`/users`, for administrators: lists the known users, shows what is known about one, and erases one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from ...core.errors import BelfryError
from ...core.identity.names import check_user_id, spellings
from ...core.identity.revocation import RevocationKind
from ...core.wire.frames import compact
from ...core.wire.times import rfc3339
from ...store.conversations.conversations import Conversations
from ...store.identity.revocations import Revocations
from ...store.insight.audit import Audit
from ...store.insight.directory import Directory
from ...store.insight.flights import FlightStore
from ...store.insight.presence import PresenceStore
from ...store.insight.recent import RecentStore
from ...store.insight.trace import Tracing
from ...store.keys import user_log
from ...store.logs.log import LogStore
from ...store.logs.read_state import ReadState
from ...store.push.subscriptions import Subscriptions
from ...store.runs.runs import Runs
from ..edge.audited import note
from ..edge.auth import Authenticator
from ..edge.reading import whole_number

FOUND_DEFAULT = 20
FOUND_MAX = 100
MESSAGES_TOLD = 20


def blueprint(user_views: UserViews) -> Blueprint:
    """Return the views of `/users`."""
    views = Blueprint("users", __name__)
    views.get("/users")(user_views.search)
    views.get("/users/<user>")(user_views.show)
    views.get("/users/<user>/messages/<message_id>")(user_views.trace)
    views.delete("/users/<user>")(user_views.forget)
    return views


@dataclass(frozen=True, slots=True)
class UserViews:
    """The views about users, for administrators."""

    auth: Authenticator
    store: LogStore
    read_state: ReadState
    presence: PresenceStore
    flights: FlightStore
    revocations: Revocations
    runs: Runs
    conversations: Conversations
    subscriptions: Subscriptions
    audit: Audit
    directory: Directory
    tracing: Tracing
    recent: RecentStore

    def search(self) -> Response:
        self.auth.require(request, "admin")
        prefix = request.args.get("prefix", "")
        limit = whole_number(request, "limit", FOUND_DEFAULT, 1, FOUND_MAX)
        found = self.directory.search(check_user_id(prefix) if prefix else "", limit)
        online = self.presence.online([user.user for user in found]) if found else []
        users = [
            {"user": user, "online": connected, "seen": rfc3339(seen), "visited": visited}
            for (user, seen, visited), connected in zip(found, online, strict=True)
        ]
        return answer({"users": users, "known": self.directory.count()})

    def show(self, user: str) -> Response:
        self.auth.require(request, "admin")
        user = check_user_id(user)
        self.presence.inquire(user)
        (page,) = self.store.read([(user_log(user), ())], user)
        told = {
            "user": user,
            "online": self.presence.online([user])[0],
            "connections": self.presence.connections([user])[0],
            "log": {"newest": page.top, "oldest": page.oldest, "kept": page.kept, "unread": page.unread(page.top)},
            "messages": self.tracing.latest(user, MESSAGES_TOLD),
            "events": self.flights.of(user),
        }
        return answer(told)

    def trace(self, user: str, message_id: str) -> Response:
        self.auth.require(request, "admin")
        user = check_user_id(user)
        self.presence.inquire(user)
        told = self.tracing.of(user, message_id)
        if told is None:
            raise BelfryError("not_found", f"No message {message_id[:128]!a} is known to have gone to {user!r}.")
        return answer(told)

    def forget(self, user: str) -> Response:
        claims = self.auth.require(request, "admin")
        name = check_user_id(user)
        self.audit.append([note(self.auth, claims, "forget", user_log(name))])
        # This comes first, because the erasure may take long.
        self.revocations.revoke(RevocationKind.USER, name, self.auth.clock())
        self.presence.disconnect(name, reason="revoked")
        self.auth.sessions.end_all(name, self.auth.clock())
        for spelling in spellings(user):
            self._erase(spelling)
        return Response(status=204)

    def _erase(self, user: str) -> None:
        """Remove all data of a user that is stored under one spelling of the name."""
        self.runs.forget(user)
        self.conversations.forget(user)  # after the runs, because their ends would be written into it
        self.subscriptions.forget(user)
        self.store.forget([user_log(user)])
        self.read_state.forget(user)
        self.flights.forget(user)
        self.directory.forget(user)
        self.recent.forget(user)


def answer(body: dict[str, Any]) -> Response:
    return Response(compact(body) + "\n", mimetype="application/json", headers={"Cache-Control": "no-store"})
