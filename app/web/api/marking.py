"""The changes that users make to their own feeds: mark messages as read, archive them, remove them, or undo that.

Each answer has the counts after the change. An event notifies the user's connections of the change.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.log.change import Change, parse_archive, parse_read, parse_remove
from ...core.log.marks import Mark
from ...core.settings import Settings
from ...core.wire.frames import compact
from ...store.logs.read_state import ChangeOutcome, ReadState
from ..edge.auth import Authenticator
from ..edge.reading import json_body, logs_of


def blueprint(
    auth: Authenticator, read_state: ReadState, note: Callable[[str, Change], None], settings: Settings
) -> Blueprint:
    """Return the views. Each change calls `note` with the user's id and the change."""
    views = Blueprint("marking", __name__)

    @views.post("/feed/read")
    def read() -> Response:
        claims = auth.require(request, "feed")
        return answer(change(claims, parse_read(sent(claims))))

    @views.post("/feed/archive")
    def archive() -> Response:
        claims = auth.require(request, "feed")
        return answer(change(claims, parse_archive(sent(claims))))

    @views.post("/feed/remove")
    def remove_many() -> Response:
        claims = auth.require(request, "feed")
        return answer(change(claims, parse_remove(sent(claims))))

    @views.delete("/feed/<message_id>")
    def remove(message_id: str) -> Response:
        claims = auth.require(request, "feed")
        outcome = change(claims, Change(Mark.REMOVED, True, (message_id,)))
        if not outcome.found:
            raise BelfryError("not_found", f"The feed holds no message {message_id[:128]!a}.")
        return answer(outcome)

    def sent(claims: Claims) -> bytes:
        text = json_body(request, settings.max_body_bytes, settings.body_seconds)
        auth.check(claims)  # the body may have taken long to arrive
        return text

    def change(claims: Claims, wish: Change) -> ChangeOutcome:
        # The credential alone decides whose feed and which logs this changes. A request can't reach another user's
        # feed.
        outcome = read_state.change(claims.user, logs_of(claims, request), wish)
        if outcome.changed:
            note(claims.user, wish)
        return outcome

    return views


def answer(outcome: ChangeOutcome) -> Response:
    """Return the counts after a change as JSON."""
    text = compact(outcome.counts._asdict()) + "\n"
    return Response(text, mimetype="application/json", headers={"Cache-Control": "no-store"})
