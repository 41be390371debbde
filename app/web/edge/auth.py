"""Authentication: the user of the bearer header, of a ticket in the query, or of the session cookie.

The browser sends the cookie by itself. So it counts only if the request comes from Belfry's own pages, or from an
origin that the settings allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from flask import Request

from ...core.errors import BelfryError
from ...core.identity.tokens import Claims, Keyring
from ...core.settings import Settings
from ...live.identity.key_source import KeySource
from ...live.identity.revocation_watch import RevocationWatch
from ...store.identity.sessions import Sessions, Tickets
from .limits import RateLimits

COOKIE: Final = "belfry_session"
# RFC 6265bis section 4.1.3.2: browsers accept such a name only over TLS, and only from this very host.
HOST_COOKIE: Final = f"__Host-{COOKIE}"
USUAL_PORTS: Final = frozenset({"80", "443"})
PORT_DIGITS: Final = 5
TICKET: Final = "ticket"
REALM: Final = 'Bearer realm="belfry"'
GUESSED: Final = frozenset({"token_invalid", "ticket_invalid"})  # refusals of a guessed credential
INVALID: Final = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}


class Authenticator:
    """Turns a request into verified claims, or refuses it with the challenge of RFC 6750 section 3.

    A bearer token costs no round trip to the store. A ticket costs one, and a cookie costs one a second.
    """

    def __init__(
        self,
        keyring: Keyring,
        sessions: Sessions,
        tickets: Tickets,
        watch: RevocationWatch,
        limits: RateLimits,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        key_source: KeySource | None = None,
    ) -> None:
        self.keyring = keyring
        self.sessions = sessions
        self.tickets = tickets
        self.settings = settings
        self.clock = clock
        self._watch = watch
        self._limits = limits
        self._key_source = key_source
        self._origins = frozenset(settings.allowed_origins)

    def require(self, request: Request, scope: str, *, counted: bool = True) -> Claims:
        """Return the claims of the sender of `request`, who must have `scope`.

        The request counts against its user's limit. `counted` False turns this off, if the caller counts it itself.

        Raises `BelfryError`: `token_missing`, `token_invalid`, `token_expired`, `token_revoked`, `ticket_invalid`,
        `scope_missing`, `cross_site`, `rate_limited`.
        """
        claims = self.identify(request)
        require_scope(claims, scope)
        if counted:
            self._limits.request(claims.user)
        return claims

    def identify(self, request: Request) -> Claims:
        """Return the claims of the sender of `request`, with any scopes. Raises like `require`."""
        try:
            return self._identified(request)
        except BelfryError as error:
            self._count(request, error)
            raise

    def _count(self, request: Request, error: BelfryError) -> None:
        """Count a refused credential. Raises `BelfryError` `rate_limited` if there were too many."""
        if error.code in GUESSED:
            self.count_guess(request)

    def count_request(self, user: str) -> None:
        """Count a request of `user` without a credential. Raises `BelfryError` `rate_limited` after too many."""
        self._limits.request(user)

    def count_guess(self, request: Request) -> None:
        """Count a credential that was not valid. Raises `BelfryError` `rate_limited` if there were too many."""
        self._limits.refused_credential(request)

    def _identified(self, request: Request) -> Claims:
        token = bearer_token(request)
        if token is not None:
            return self.verify(token)
        if request.method == "GET" and TICKET in request.args:  # HEAD would use the ticket up in vain
            return self._redeem(request.args[TICKET])
        session = self.session_cookie(request)
        if not session:
            raise token_missing()
        self.refuse_cross_site(request)
        return self._find(session)

    def visitor(self, request: Request) -> Claims | None:
        """Return the claims of the user who opens a page, or None.

        A link on another site may lead to a page, so this checks only the credential, and not where the request comes
        from. Raises `BelfryError` `rate_limited` after too many credentials that were not valid.
        """
        token, session = bearer_token(request), self.session_cookie(request)
        if not (token or session):
            return None
        try:
            return self.verify(token) if token else self._find(session)
        except BelfryError as error:
            self._count(request, error)
            if error.status != 401:
                raise
            return None

    def holder(self, request: Request) -> Claims:
        """Return the claims of the bearer token alone. Raises `BelfryError` like `require`, except for the scope."""
        token = bearer_token(request)
        if token is None:
            raise token_missing()
        try:
            return self.verify(token)
        except BelfryError as error:
            self._count(request, error)
            raise

    def verify(self, token: str) -> Claims:
        """Return the claims of `token`. Raises `BelfryError` `token_invalid`, `token_expired` or `token_revoked`."""
        try:
            claims = self._verified(token)
        except BelfryError as error:
            error.headers.update(INVALID if error.status == 401 else {})
            raise
        self.check(claims)
        return claims

    def _verified(self, token: str) -> Claims:
        try:
            return self.keyring.verify(token, self.clock())
        except BelfryError as error:
            if error.code != "token_invalid" or self._key_source is None or not self._key_source.refreshed_for(token):
                raise
        return self.keyring.verify(token, self.clock())

    def check(self, claims: Claims) -> None:
        """Check claims again after a wait. Raises `BelfryError` `token_expired` or `token_revoked`."""
        if claims.expires_at <= self.clock():
            raise BelfryError("token_expired", headers=INVALID)
        if self._watch.covers(claims):
            raise BelfryError("token_revoked", self._watch.reason(claims), headers=INVALID)
        if not self.trusts(claims):
            raise BelfryError("token_revoked", "What vouched for the credential is no longer trusted", headers=INVALID)

    def trusts(self, claims: Claims) -> bool:
        """Return whether what vouched for `claims` is still trusted.

        A session, a ticket or a device may come from a published key that this worker does not know yet, so the keys
        are fetched once. Raises `BelfryError` `keys_unavailable` if they can't be fetched.
        """
        if self.keyring.trusts(claims):
            return True
        return self._key_source is not None and self._key_source.refreshed() and self.keyring.trusts(claims)

    def session_cookie(self, request: Request) -> str:
        """Return the value of the session cookie, "" without one.

        The cookie of this port comes first, then the plain one, then that of another port. A proxy may send another
        `Host`, and the nodes behind it may listen on different ports. A session of another deployment is unknown here.
        """
        name, plain, found = self.cookie_name(request), self._plain_name(request), request.cookies
        return found.get(name) or found.get(plain) or _of_any_port(found, plain)

    def cookie_name(self, request: Request) -> str:
        """Return the name of the session cookie, with the port if it is not 80 or 443.

        Browsers send a cookie to all ports of its host (RFC 6265 section 8.5), so two servers on one host need two
        names.
        """
        _, colon, port = request.host.rpartition(":")
        has_port = colon and _is_port(port) and port not in USUAL_PORTS
        return f"{self._plain_name(request)}_{port}" if has_port else self._plain_name(request)

    def _plain_name(self, request: Request) -> str:
        """Return the name without a port. It contains the path prefix, if there is one.

        Two deployments may share a host, and the browser sends cookies to the whole host.
        """
        name = HOST_COOKIE if self.is_secure(request) else COOKIE
        return name + request.root_path.replace("/", ".")

    def is_secure(self, request: Request) -> bool:
        """Return whether cookies are for https only.

        This is so outside the demo, because TLS usually ends in a proxy.
        """
        return request.is_secure or not self.settings.demo

    def refuse_cross_site(self, request: Request) -> None:
        """Raise `BelfryError` `cross_site` if the browser says that a page of a foreign origin sent the request.

        SameSite=Lax does not stop other subdomains of our site, which a browser treats as the same site.
        """
        origin = request.headers.get("Origin")
        if origin in self._origins:
            return
        if not _comes_from_us(request.headers.get("Sec-Fetch-Site"), origin, request.host):
            raise BelfryError("cross_site")

    def _find(self, session: str) -> Claims:
        claims = self.sessions.find(session, self.clock()) if session else None
        if claims is None:
            raise BelfryError("token_invalid", "The session is unknown or was ended", headers=INVALID)
        self.check(claims)
        return claims

    def _redeem(self, ticket: str) -> Claims:
        claims = self.tickets.redeem(ticket)
        if claims is None:
            raise BelfryError("ticket_invalid", headers=INVALID)
        self.check(claims)
        return claims


def bearer_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer`, or None. Other schemes are for proxies and do not count."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def token_missing() -> BelfryError:
    """Return the refusal that asks for a credential."""
    return BelfryError("token_missing", headers={"WWW-Authenticate": REALM})


def require_scope(claims: Claims, *scopes: str) -> None:
    """Raise `BelfryError` `scope_missing` unless the token has one of `scopes`."""
    if claims.scopes.isdisjoint(scopes):
        challenge = f'{REALM}, error="insufficient_scope", scope="{" ".join(scopes)}"'
        needed = " or ".join([repr(scope) for scope in scopes])
        detail = f"This needs the scope {needed}, the token has {' '.join(sorted(claims.scopes)) or 'none'!r}"
        raise BelfryError("scope_missing", detail, headers={"WWW-Authenticate": challenge})


def _of_any_port(cookies: Mapping[str, str], plain: str) -> str:
    ours = (
        value for name, value in cookies.items() if name.startswith(f"{plain}_") and _is_port(name[len(plain) + 1 :])
    )
    return next(ours, "")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= PORT_DIGITS


def _comes_from_us(fetch_site: str | None, origin: str | None, host: str) -> bool:
    if fetch_site in ("same-origin", "none"):
        # No page can forge this header. If a proxy rewrites Host, Origin would be misleading.
        return True
    if fetch_site == "same-site" or fetch_site is None:
        # Browsers omit Sec-Fetch-Site over plain http, and programs omit both headers.
        return fetch_site is None if origin is None else origin.lower().partition("://")[2] == host.lower()
    return False
