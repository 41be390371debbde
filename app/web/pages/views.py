"""The pages: `/` shows the user's feed, `/chat` asks a model, and those below `/admin/` are for administrators.

The pages contain no data: their scripts fetch it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from ...core.completion import check_run_id
from ...core.identity.tokens import Claims
from ...core.settings import Settings
from ..edge.auth import REALM, Authenticator, require_scope


def blueprint(auth: Authenticator) -> Blueprint:
    """Return the views of the pages."""
    views = Blueprint("pages", __name__)

    @views.get("/")
    def feed() -> ResponseReturnValue:
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(has_sign_in=auth.settings.demo)
        is_page = "Authorization" not in request.headers  # the links of every page lead here
        if is_page and "feed" not in claims.scopes and (page := _first_page(claims)):
            return redirect(f"{request.root_path}{page}")
        require_scope(claims, "feed")
        return render_template("pages/feed.html", **_visitor(claims, auth.settings))

    @views.get("/chat")
    @views.get("/chat/<run_id>")
    def chat(run_id: str = "") -> ResponseReturnValue:
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(has_sign_in=auth.settings.demo)
        require_scope(claims, "complete")
        check_run_id(run_id)
        return render_template("pages/chat.html", **_visitor(claims, auth.settings))

    _add_admin_pages(views, auth)
    return views


def _add_admin_pages(views: Blueprint, auth: Authenticator) -> None:
    @views.get("/admin/")
    def admin() -> ResponseReturnValue:
        return page("admin", "publish", "admin")

    @views.get("/admin/people/")
    def people() -> ResponseReturnValue:
        return page("people", "admin")

    @views.get("/admin/dashboard/")
    def dashboard() -> ResponseReturnValue:
        return page("dashboard", "admin")

    def page(name: str, *scopes: str) -> ResponseReturnValue:
        """Return a page for administrators, who need all of `scopes`."""
        claims = auth.visitor(request)
        if not claims:
            return _sign_in_first(has_sign_in=auth.settings.demo or bool(auth.settings.admin_password_hash))
        for scope in scopes:
            require_scope(claims, scope)
        return render_template(f"pages/{name}.html", **_visitor(claims, auth.settings))


def _first_page(claims: Claims) -> str:
    """Return the path of a page for somebody without a feed, or "" if there is none."""
    if "admin" in claims.scopes:
        return "/admin/" if "publish" in claims.scopes else "/admin/people/"
    return "/chat" if "complete" in claims.scopes else ""


def _visitor(claims: Claims, settings: Settings) -> dict[str, Any]:
    """Return what every page shows about the signed-in user, and whether this server has Web Push."""
    push = bool(settings.push_private_key)
    return {"user": claims.user, "scopes": claims.scopes, "bell": "feed" in claims.scopes, "push": push}


def _sign_in_first(*, has_sign_in: bool) -> ResponseReturnValue:
    if has_sign_in:
        return redirect(f"{request.root_path}/login?next={quote(request.root_path + request.path)}")
    return render_template("pages/anonymous.html"), 401, {"WWW-Authenticate": REALM}
