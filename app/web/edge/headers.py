"""Headers of every answer that keep browsers from guessing content types, framing pages and running foreign scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Response

from ...server.sockets import Fields
from . import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# No inline script or style anywhere, and nothing from elsewhere; no text can become markup or a script's address: a
# message can't become code even if one of our scripts were careless.
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
TRANSPORT = "max-age=31536000"
PERSONAL: Final = frozenset({"application/json", "application/problem+json"})  # who is asking decides over the answer


def harden(response: Response, environ: WSGIEnvironment) -> None:
    """Add the headers to a response object that lacks them, and have a redirect stay on this server."""
    _stay_here(response)
    for name, value in fields(environ, response.mimetype):
        response.headers.setdefault(name, value)
    if response.mimetype == "text/html":
        _harden_page(response)


def fields(environ: WSGIEnvironment, mimetype: str | None) -> Fields:
    """The headers of an answer of `mimetype`, apart from those that only pages have."""
    found = [("X-Content-Type-Options", "nosniff")]
    if environ["wsgi.url_scheme"] == "https":
        found.append(("Strict-Transport-Security", TRANSPORT))
    if mimetype in PERSONAL:
        found.append(("Cache-Control", "no-store"))
    return found + request_ids.fields(environ)


def _stay_here(response: Response) -> None:
    """Flask's own redirects, such as that from `/admin`, are made with the client's `Host`, which a cache could keep.

    Every redirect of ours leads to a path (RFC 9110, 10.2.2 allows one without the host).
    """
    location = response.headers.get("Location", "")
    if location and (location[0] != "/" or location.startswith("//")):
        response.headers["Location"] = "/" + (location.split("/", 3)[3:] or [""])[0].lstrip("/")


def _harden_page(response: Response) -> None:
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", PERMISSIONS)
    # Not `no-referrer`: with that one, browsers send `Origin: null` with a form, also to ourselves.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")  # a page shows who is signed in
