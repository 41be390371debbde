"""`DELETE /messages/<id>`: take a message back, everywhere it went; `DELETE /users/<id>`: forget a user."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.core.errors import BelfryError
from app.core.frames import compact
from app.core.names import check_user_id
from app.store.keys import user_log
from app.store.log import LogStore
from app.store.presence import PresenceStore
from app.store.read_state import ReadState
from app.store.recipients import Recipients
from app.web.auth import Authenticator


def blueprint(
    auth: Authenticator, recipients: Recipients, store: LogStore, read_state: ReadState, presence: PresenceStore
) -> Blueprint:
    views = Blueprint("retraction", __name__)

    @views.delete("/messages/<message_id>")
    def retract(message_id: str) -> Response:
        claims = auth.require(request, "publish")
        names = recipients.of(message_id)
        if not names:
            raise BelfryError("not_found", f"No message {message_id[:128]!a} is known that could be retracted.")
        for name in names:
            if not claims.may_address(name):
                raise BelfryError("target_forbidden", f"The token may not address {name!r}, to whom it also went.")
        found = recipients.retract(message_id, names)
        text = compact({"id": message_id, "retracted": [name.removeprefix("user:") for name in found]})
        return Response(text + "\n", mimetype="application/json")

    @views.delete("/users/<user>")
    def forget(user: str) -> Response:
        auth.require(request, "admin")
        presence.disconnect(check_user_id(user))
        store.forget([user_log(user)])
        read_state.forget(user)
        return Response(status=204)

    return views
