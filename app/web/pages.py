"""The pages: `/` shows the signed-in user's feed and how to embed it, `/admin/` and `/admin/people/` are for operators.

They hold no data: their scripts fetch it.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.web.auth import REALM, Authenticator, require_scope


def blueprint(auth: Authenticator) -> Blueprint:
    """The views of the pages `/` and `/admin/`."""
    views = Blueprint("pages", __name__)

    @views.get("/")
    def feed() -> ResponseReturnValue:
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(auth)
        require_scope(claims, "feed")
        return render_template("pages/feed.html", user=claims.user, bell=True, may_publish="publish" in claims.scopes)

    @views.get("/admin/")
    def admin() -> ResponseReturnValue:
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(auth)
        require_scope(claims, "publish")
        require_scope(claims, "admin")
        return render_template("pages/admin.html", user=claims.user, bell="feed" in claims.scopes)

    @views.get("/admin/people/")
    def people() -> ResponseReturnValue:
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(auth)
        require_scope(claims, "admin")
        return render_template("pages/people.html", user=claims.user, bell="feed" in claims.scopes)

    return views


def _sign_in_first(auth: Authenticator) -> ResponseReturnValue:
    if auth.settings.demo:
        return redirect(f"/login?next={quote(request.path)}")
    return render_template("pages/anonymous.html"), 401, {"WWW-Authenticate": REALM}
