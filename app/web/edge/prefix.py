"""The path prefix below which a proxy serves Belfry, such as `/push`. URLs that Belfry writes begin with it.

The setting `BELFRY_PATH_PREFIX` names it, and the proxy may pass it on or remove it. Without the setting, the header
`X-Forwarded-Prefix` of a trusted proxy names the prefix that the proxy removed. It becomes the `SCRIPT_NAME` of WSGI
(PEP 3333).

The header never changes which path is served. A proxy that does not know the header passes it on as the client sent it.
Otherwise, `/x/metrics` with the prefix `/x` would get past a proxy that refuses only `/metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ...core.settings import Settings, is_path_prefix
from .client_address import is_trusted_peer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER: Final = "HTTP_X_FORWARDED_PREFIX"
# Belfry's own paths that begin like the usual prefix `/push`. Without their first part they are no paths of Belfry.
OWN_PATHS: Final = frozenset({"/push/key", "/push/subscriptions", "/push/read"})


class Prefix:
    """WSGI middleware that sets the prefix for `application`. It removes the setting's prefix if the proxy did not."""

    def __init__(self, application: WSGIApplication, settings: Settings) -> None:
        self._application = application
        self._fixed = settings.path_prefix
        self._trusted = settings.proxies
        self._trusts_all = settings.demo  # the demo accepts only this machine's own names

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request. Without the setting and the header, this costs one lookup in `environ`."""
        if self._fixed:
            environ["SCRIPT_NAME"] = self._fixed
            environ["PATH_INFO"] = _below(self._fixed, environ["PATH_INFO"])
        elif HEADER in environ:
            environ["SCRIPT_NAME"] = self._forwarded(environ)
        return self._application(environ, start_response)

    def _forwarded(self, environ: WSGIEnvironment) -> str:
        """Return the prefix of the header. Return "" if the peer is not trusted, or if the value is not a path."""
        if not (self._trusts_all or is_trusted_peer(environ.get("REMOTE_ADDR", ""), self._trusted)):
            return ""
        prefix = str(environ[HEADER]).strip().rstrip("/")
        return prefix if is_path_prefix(prefix) else ""


def _below(prefix: str, path: str) -> str:
    """Return `path` without `prefix`. A path of Belfry's own stays: the proxy has removed the prefix."""
    if path in OWN_PATHS:
        return path
    rest = path.removeprefix(prefix)
    return rest or "/" if rest.startswith("/") or not rest else path
