"""Headers of every answer that stop browsers from guessing content types, framing pages and running foreign scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Response

from ...server.sockets import Fields
from . import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# No inline script or style is allowed, and nothing from other servers. No text can become markup or a script's URL. So
# a message can't become code even if one of our scripts has a bug. The policy `belfry-push` may only name the service
# worker of Web Push as a script.
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types belfry-push"
)
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
TRANSPORT = "max-age=31536000"
# Answers of these types depend on the user.
PERSONAL: Final = frozenset({"application/json", "application/problem+json"})


def harden(response: Response, environ: WSGIEnvironment) -> None:
    """Add the missing headers to a response object, and make a redirect stay on this server."""
    _stay_here(response)
    for name, value in fields(environ, response.mimetype):
        response.headers.setdefault(name, value)
    if response.mimetype == "text/html":
        _harden_page(response)


def fields(environ: WSGIEnvironment, mimetype: str | None) -> Fields:
    """Return the headers of an answer of `mimetype`, except for those that only pages have."""
    found = [("X-Content-Type-Options", "nosniff")]
    if environ["wsgi.url_scheme"] == "https":
        found.append(("Strict-Transport-Security", TRANSPORT))
    if mimetype in PERSONAL:
        found.append(("Cache-Control", "no-store"))
    return found + request_ids.fields(environ)


def _stay_here(response: Response) -> None:
    """Turn the target of a redirect into a path.

    Flask's own redirects, such as that from `/admin`, contain the client's `Host`, which a cache could keep. RFC 9110,
    10.2.2 allows a redirect to a path without a host.
    """
    location = response.headers.get("Location", "")
    if location and (location[0] != "/" or location.startswith("//")):
        response.headers["Location"] = "/" + (location.split("/", 3)[3:] or [""])[0].lstrip("/")


def _harden_page(response: Response) -> None:
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", PERMISSIONS)
    # This is not `no-referrer`, because browsers would then send `Origin: null` with a form, also to Belfry itself.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")  # a page shows who is signed in
