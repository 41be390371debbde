"""`/login` and `/logout`: the demo's sign-in, where a name is enough, and the way out for everyone.

Outside the demo there is no `/login`: the application that people sign in to hands them a token.
"""

from __future__ import annotations

import secrets
from typing import Final

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from app.core.errors import BelfryError
from app.core.names import check_user_id
from app.core.tokens import SCOPES
from app.web.auth import Authenticator, refuse_cross_site
from app.web.session import clear_cookie, set_cookie

DEMO_NAMES: Final = ("alice", "bob", "carol")
FORM_MAX_BYTES: Final = 16_384  # werkzeug's own limit doesn't count a body without a Content-Length


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
        refuse_cross_site(request)
        request.max_content_length = FORM_MAX_BYTES
        try:
            user = check_user_id(request.form.get("name", "").strip())
        except BelfryError as error:
            return _form(problem=error.detail), error.status
        return _signed_in(auth, user)

    @views.post("/logout")
    def sign_out() -> ResponseReturnValue:
        refuse_cross_site(request)
        answer = redirect("/", code=303)
        clear_cookie(answer, auth)
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
    seconds = auth.settings.session_seconds
    token = auth.keyring.sign(user, SCOPES, auth.clock(), seconds, topics=("*",), token_id=secrets.token_hex(16))
    answer = redirect(local_path(request.form.get("next", "/")), code=303)
    set_cookie(answer, auth, token, seconds)
    return answer
