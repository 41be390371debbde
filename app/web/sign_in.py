"""`/login` and `/logout`: the demo's sign-in by name alone, the administrator's by password, and the way out.

With neither the demo nor a password there is no `/login`: the application that people sign in to hands them a token.
"""

from __future__ import annotations

from typing import Final

import gevent
from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from gevent.lock import BoundedSemaphore

from app import metrics
from app.core.errors import BelfryError
from app.core.names import check_user_id
from app.core.passwords import PasswordHash
from app.core.tokens import SCOPES, Claims
from app.store.audit import Audit
from app.web.auth import Authenticator
from app.web.by_hand import entry
from app.web.limits import Limits
from app.web.session import end_session, start_session

DEMO_NAMES: Final = ("alice", "bob", "carol")
ADMIN_SCOPES: Final = frozenset({"feed", "publish", "admin"})
PASSWORD_MAX_LENGTH: Final = 1_024
CONCURRENT_CHECKS: Final = 2  # each takes 32 MiB and a core


def blueprint(auth: Authenticator, audit: Audit, limits: Limits) -> Blueprint:
    """The views of `/login` and `/logout`."""
    views = Blueprint("sign_in", __name__)
    passwords = Passwords(auth.settings.admin_password_hash) if auth.settings.admin_password_hash else None

    @views.get("/login")
    def show() -> ResponseReturnValue:
        require_sign_in()
        return form()

    @views.post("/login")
    def sign_in() -> ResponseReturnValue:
        require_sign_in()
        auth.refuse_cross_site(request)
        limits.sign_in(request, request.form.get("name", ""))
        try:
            claims = recognised(request.form.get("name", "").strip())
        except BelfryError as error:
            metrics.SIGN_INS.labels("refused").inc()
            return form(error.detail), error.status
        audit.append([entry(auth, claims.user, "sign_in")])
        metrics.SIGN_INS.labels("accepted").inc()
        answer = redirect(local_path(request.form.get("next", "/")), code=303)
        start_session(answer, auth, claims)
        return answer

    @views.post("/logout")
    def sign_out() -> ResponseReturnValue:
        auth.refuse_cross_site(request)
        answer = redirect("/", code=303)
        end_session(answer, auth)
        return answer

    def recognised(name: str) -> Claims:
        """Who signs in. Raises `BelfryError` `bad_user_id`, or `sign_in_refused` after noting it."""
        user = check_user_id(name)
        now = auth.clock()
        until = now + auth.settings.session_seconds
        if passwords is None:
            return Claims(user, frozenset(SCOPES), ("*",), None, until, "", issued_at=now)
        fits = passwords.fit(request.form.get("password", ""))
        if not fits or user != auth.settings.admin_name:
            audit.append([entry(auth, user, "sign_in_refused")])
            raise BelfryError("sign_in_refused")
        return Claims(user, ADMIN_SCOPES, (), None, until, "", issued_at=now)

    def require_sign_in() -> None:
        if not (auth.settings.demo or passwords):
            raise BelfryError("not_found", "This server has no sign-in of its own: the application hands out tokens")

    def form(problem: str = "") -> str:
        target = local_path(request.values.get("next", "/"))
        names = () if passwords else DEMO_NAMES
        return render_template(
            "sign_in/login.html", names=names, next=target, problem=problem, password=passwords is not None
        )

    return views


class Passwords:
    """Checks the administrator's password outside the event loop, so that no stream waits for it."""

    def __init__(self, stored: str) -> None:
        self._stored = PasswordHash.parse(stored)
        self._turns = BoundedSemaphore(CONCURRENT_CHECKS)

    def fit(self, password: str) -> bool:
        """Whether it is the one. The name plays no part, so that an unknown one takes as long as the right one."""
        with self._turns:
            fits: bool = gevent.get_hub().threadpool.apply(self._stored.fits, (password[:PASSWORD_MAX_LENGTH],))
        return fits


def local_path(text: str) -> str:
    r"""`text` if it leads to a page of this server, else `/`.

    A browser takes `//host` and `/\host` for another server, and drops tabs and line ends before it looks.
    """
    local = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if local else "/"
