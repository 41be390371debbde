"""`/login` and `/logout`: the demo's sign-in by name alone, the administrator's sign-in by password, and sign-out.

Without the demo and a password, there is no `/login`: users sign in to the application, which gives them a token.
"""

from __future__ import annotations

from typing import Final

import gevent
from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from gevent.lock import BoundedSemaphore

from ... import metrics
from ...core.errors import BelfryError
from ...core.identity.names import check_user_id
from ...core.identity.passwords import PasswordHash
from ...core.identity.tokens import SCOPES, Claims
from ...server.sockets import ReadDeadline
from ...store.insight.audit import Audit
from ..api.session import end_session, start_session
from ..edge.audited import entry
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits
from ..edge.loopback import host_of, is_loopback
from ..edge.reading import refuse_coding

DEMO_NAMES: Final = ("alice", "bob", "carol")
ADMIN_SCOPES: Final = frozenset({"feed", "publish", "admin"})
FORM_MAX_BYTES: Final = 16_384  # werkzeug's own limit doesn't count a body without a Content-Length
PASSWORD_MAX_LENGTH: Final = 1_024
PLAIN_HTTP: Final = (
    "Your browser opened this page over plain http, and would drop the session cookie, which is for https only. Open "
    "the page by https. A server without TLS of its own needs a proxy that ends TLS in front of it."
)
CONCURRENT_CHECKS: Final = 2  # each takes 32 MiB and a core


def blueprint(auth: Authenticator, audit: Audit, limits: RateLimits) -> Blueprint:
    """Return the views of `/login` and `/logout`."""
    views = Blueprint("sign_in", __name__)
    door = SignInPolicy(auth, audit)

    @views.get("/login")
    def show() -> ResponseReturnValue:
        door.require()
        return door.form()

    @views.post("/login")
    def sign_in() -> ResponseReturnValue:
        door.require()
        auth.refuse_cross_site(request)
        refuse_coding(request)
        request.max_content_length = FORM_MAX_BYTES
        with ReadDeadline(auth.settings.body_seconds):
            _ = request.form  # reads the form and keeps it
        name = request.form.get("name", "").strip()
        if door.is_guarded:
            limits.sign_in(request, name)
        try:
            door.refuse_plain_http(request.headers.get("Origin", ""))
            claims = door.recognise(name, request.form.get("password", ""))
        except BelfryError as error:
            metrics.SIGN_INS.labels("refused").inc()
            return door.form(error.detail), error.status
        metrics.SIGN_INS.labels("accepted").inc()
        answer = redirect(local_path(request.form.get("next", ""), request.root_path), code=303)
        start_session(answer, auth, claims)
        return answer

    @views.post("/logout")
    def sign_out() -> ResponseReturnValue:
        auth.refuse_cross_site(request)
        answer = redirect(f"{request.root_path}/", code=303)
        end_session(answer, auth)
        return answer

    return views


class SignInPolicy:
    """Decides who may sign in: the administrator if a password is set; anybody in a demo without one."""

    def __init__(self, auth: Authenticator, audit: Audit) -> None:
        self._auth = auth
        self._audit = audit
        stored = auth.settings.admin_password_hash
        self._passwords = Passwords(stored) if stored else None

    @property
    def is_guarded(self) -> bool:
        """Whether signing in needs a password."""
        return self._passwords is not None

    def require(self) -> None:
        """Raise `BelfryError` `not_found` if there is no sign-in."""
        if not (self._auth.settings.demo or self._passwords):
            raise BelfryError("not_found", "This server has no sign-in of its own: the application hands out tokens")

    def refuse_plain_http(self, origin: str) -> None:
        """Raise `BelfryError` `insecure_sign_in` if the browser would drop the session cookie, which is for https only.

        The browser's own `Origin` shows the scheme. The request itself may not, behind a proxy that ends TLS. Browsers
        keep such cookies for this machine's own names.
        """
        scheme, _, host = origin.lower().partition("://")
        if scheme == "http" and not self._auth.settings.demo and not is_loopback(host_of(host)):
            raise BelfryError("insecure_sign_in", PLAIN_HTTP)

    def form(self, problem: str = "") -> str:
        """Return the sign-in page."""
        return render_template(
            "sign_in/login.html",
            names=() if self._passwords else DEMO_NAMES,
            next=local_path(request.values.get("next", ""), request.root_path),
            password=self.is_guarded,
            problem=problem,
        )

    def recognise(self, name: str, password: str) -> Claims:
        """Return the claims of the user `name`. The audit log gets an entry in any case.

        Raises `BelfryError` `bad_user_id` or `sign_in_refused`.
        """
        user, now = check_user_id(name), self._auth.clock()
        if self._passwords:
            fits = self._passwords.fit(password)
            if not fits or user != self._auth.settings.admin_name:
                self._audit.refuse(entry(self._auth, user, "sign_in_refused"))
                raise BelfryError("sign_in_refused")
        self._audit.append([entry(self._auth, user, "sign_in")])
        scopes, topics = (ADMIN_SCOPES, ()) if self._passwords else (frozenset(SCOPES), ("*",))
        until, key = now + self._auth.settings.session_seconds, self._auth.keyring.sign_in
        return Claims(user, scopes, topics, None, until, "", issued_at=now, key=key)


class Passwords:
    """Checks the administrator's password outside the event loop, so that no stream waits for it."""

    def __init__(self, stored: str) -> None:
        self._stored = PasswordHash.parse(stored)
        self._turns = BoundedSemaphore(CONCURRENT_CHECKS)

    def fit(self, password: str) -> bool:
        """Return whether the password is right.

        This does not look at the name, so that a wrong name takes as long as the right one.
        """
        with self._turns:
            fits: bool = gevent.get_hub().threadpool.apply(self._stored.fits, (password[:PASSWORD_MAX_LENGTH],))
        return fits


def local_path(text: str, root_path: str = "") -> str:
    r"""Return `text` if it leads to a page of this host, otherwise the path of the feed below `root_path`.

    Browsers read `//host` and `/\host` as another server, and drop tabs and line ends first.
    """
    local = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if local else f"{root_path}/"
