"""The headers that every answer carries to keep browsers from guessing, framing and running what is not ours."""

from __future__ import annotations

from flask import Flask, Response, request

# No inline script or style anywhere, and nothing from elsewhere; no text can become markup or a script's address: a
# message can't become code even if one of our scripts were careless.
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
TRANSPORT = "max-age=31536000"


def install(app: Flask) -> None:
    """Add the headers to each answer of `app`, errors included, and have each redirect stay on this server."""
    app.after_request(_harden)
    app.after_request(_stay_here)


def _stay_here(response: Response) -> Response:
    """Flask's own redirects, such as that from `/admin`, are made with the client's `Host`, which a cache could keep.

    Every redirect of ours leads to a path (RFC 9110, 10.2.2 allows one without the host).
    """
    location = response.headers.get("Location", "")
    if location and (location[0] != "/" or location.startswith("//")):
        response.headers["Location"] = "/" + (location.split("/", 3)[3:] or [""])[0].lstrip("/")
    return response


def _harden(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.is_secure:
        headers.setdefault("Strict-Transport-Security", TRANSPORT)
    if response.mimetype == "text/html":
        _harden_page(response)
    elif response.mimetype in {"application/json", "application/problem+json"}:
        headers.setdefault("Cache-Control", "no-store")  # who is asking decides over the answer
    return response


def _harden_page(response: Response) -> None:
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", PERMISSIONS)
    # Not `no-referrer`: with that one, browsers send `Origin: null` with a form, also to ourselves.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")  # a page shows who is signed in
