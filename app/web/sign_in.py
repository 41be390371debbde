"""`/login` and `/logout`: the demo's sign-in, where a name is enough, and the way out for everyone.

Outside the demo there is no `/login`: the application that people sign in to hands them a token.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from app.core.errors import BelfryError
from app.core.names import check_user_id
from app.core.tokens import SCOPES, Claims
from app.web.auth import Authenticator
from app.web.session import end_session, start_session

DEMO_NAMES: Final = ("alice", "bob", "carol")


def blueprint(auth: Authenticator) -> Blueprint:
    """The views of `/login` and `/logout`."""
    views = Blueprint("sign_in", __name__)

    @views.get("/login")
    def show() -> ResponseReturnValue:
        _require_demo(auth)
        return _form(problem="")

    @views.post("/login")
    def sign_in() -> ResponseReturnValue:
        _require_demo(auth)
        auth.refuse_cross_site(request)
        try:
            user = check_user_id(request.form.get("name", "").strip())
        except BelfryError as error:
            return _form(problem=error.detail), error.status
        return _signed_in(auth, user)

    @views.post("/logout")
    def sign_out() -> ResponseReturnValue:
        auth.refuse_cross_site(request)
        answer = redirect("/", code=303)
        end_session(answer, auth)
        return answer

    return views


def local_path(text: str) -> str:
    r"""`text` if it leads to a page of this server, else `/`.

    A browser takes `//host` and `/\host` for another server, and drops tabs and line ends before it looks.
    """
    local = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if local else "/"


def _require_demo(auth: Authenticator) -> None:
    if not auth.settings.demo:
        raise BelfryError("not_found", "This server has no sign-in of its own: the application hands out tokens")


def _form(problem: str) -> str:
    target = local_path(request.values.get("next", "/"))
    return render_template("sign_in/login.html", names=DEMO_NAMES, next=target, problem=problem)


def _signed_in(auth: Authenticator, user: str) -> Response:
    now = auth.clock()
    claims = Claims(user, frozenset(SCOPES), ("*",), None, now + auth.settings.session_seconds, "", issued_at=now)
    answer = redirect(local_path(request.form.get("next", "/")), code=303)
    start_session(answer, auth, claims)
    return answer
