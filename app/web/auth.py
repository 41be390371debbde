"""Who is asking: the bearer header says it, else the session cookie.

The cookie travels by itself, so it only counts when the request comes from our own pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from flask import Request

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.tokens import Claims, Keyring

COOKIE: Final = "belfry_session"
REALM: Final = 'Bearer realm="belfry"'


class Authenticator:
    """Turns a request into verified claims, or refuses it with the challenge that RFC 6750 section 3 asks for."""

    def __init__(self, keyring: Keyring, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.keyring = keyring
        self.settings = settings
        self.clock = clock

    def require(self, request: Request, scope: str) -> Claims:
        """The claims of who sent `request`, who must have `scope`.

        Raises `BelfryError`: `token_missing`, `token_invalid`, `token_expired`, `scope_missing`, `cross_site`.
        """
        claims = self.identify(request)
        require_scope(claims, scope)
        return claims

    def identify(self, request: Request) -> Claims:
        """The claims of who sent `request`, whatever they may do. Raises as `require` does."""
        token = bearer_token(request)
        if token is None and COOKIE in request.cookies:
            refuse_cross_site(request)
            token = request.cookies[COOKIE]
        if token is None:
            raise token_missing()
        return self.verify(token)

    def visitor(self, request: Request) -> Claims | None:
        """Who opens a page, or None. A link on another site may lead to a page, so only the credential counts here."""
        token = bearer_token(request) or request.cookies.get(COOKIE, "")
        try:
            return self.verify(token)
        except BelfryError:
            return None

    def verify(self, token: str) -> Claims:
        """The claims of `token`. Raises `BelfryError` `token_invalid` or `token_expired`."""
        try:
            return self.keyring.verify(token, self.clock())
        except BelfryError as error:
            error.headers["WWW-Authenticate"] = f'{REALM}, error="invalid_token"'
            raise


def bearer_token(request: Request) -> str | None:
    """The token of `Authorization: Bearer`, or None. Another scheme is some proxy's business and doesn't count."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def token_missing() -> BelfryError:
    return BelfryError("token_missing", headers={"WWW-Authenticate": REALM})


def require_scope(claims: Claims, scope: str) -> None:
    """Raises `BelfryError` `scope_missing` unless the token has `scope`."""
    if scope not in claims.scopes:
        challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
        detail = f"This needs the scope {scope!r}, the token has {' '.join(sorted(claims.scopes)) or 'none'!r}"
        raise BelfryError("scope_missing", detail, headers={"WWW-Authenticate": challenge})


def refuse_cross_site(request: Request) -> None:
    """Raises `BelfryError` `cross_site` when a browser says that a page of another origin sent this.

    SameSite=Lax does not stop other subdomains of our site, which a browser counts as the same site.
    """
    if not _comes_from_us(request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin"), request.host):
        raise BelfryError("cross_site")


def _comes_from_us(fetch_site: str | None, origin: str | None, host: str) -> bool:
    if fetch_site in ("same-origin", "none"):
        return True  # no page can forge it; behind a proxy that rewrites Host, Origin would mislead
    if fetch_site == "same-site" or fetch_site is None:
        # Browsers leave Sec-Fetch-Site out over plain http, and programs leave out both.
        return fetch_site is None if origin is None else origin.lower().partition("://")[2] == host.lower()
    return False
