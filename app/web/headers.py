"""The headers that every answer carries to keep browsers from guessing, framing and running what is not ours."""

from __future__ import annotations

from flask import Flask, Response

# No inline script or style anywhere, nothing from elsewhere, and no text that a script could turn into code.
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def install(app: Flask) -> None:
    """Add the headers to each answer of `app`, errors included."""
    app.after_request(_harden)


def _harden(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        # Not `no-referrer`: with that one, browsers send `Origin: null` with a form, also to ourselves.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")  # a page shows who is signed in
    return response
