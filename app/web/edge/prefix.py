"""The path below which a proxy serves Belfry, such as `/push`: addresses that Belfry writes begin with it.

The setting `BELFRY_PATH_PREFIX` names it, and the proxy may pass it on or take it off. Without the setting the header
`X-Forwarded-Prefix` of a trusted proxy names what that proxy took off. It becomes the `SCRIPT_NAME` of WSGI (PEP 3333).

The header never changes which path is served. A proxy that does not know the header passes it on as the client sent it:
`/x/metrics` with the prefix `/x` would pass a proxy that refuses `/metrics` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ...core.settings import Settings, is_path_prefix
from .client_address import is_trusted_peer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER: Final = "HTTP_X_FORWARDED_PREFIX"


class Prefix:
    """WSGI middleware: tells `application` the prefix, and takes that of the setting off where the proxy did not."""

    def __init__(self, application: WSGIApplication, settings: Settings) -> None:
        self._application = application
        self._fixed = settings.path_prefix
        self._trusted = settings.proxies
        self._trusts_all = settings.demo  # which answers for this machine's own names only

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request. Without a setting and a header this costs one look into `environ`."""
        if self._fixed:
            environ["SCRIPT_NAME"] = self._fixed
            environ["PATH_INFO"] = _below(self._fixed, environ["PATH_INFO"])
        elif HEADER in environ:
            environ["SCRIPT_NAME"] = self._forwarded(environ)
        return self._application(environ, start_response)

    def _forwarded(self, environ: WSGIEnvironment) -> str:
        """What the header says; "" where a stranger sent it, or where it can be no path."""
        if not (self._trusts_all or is_trusted_peer(environ.get("REMOTE_ADDR", ""), self._trusted)):
            return ""
        prefix = str(environ[HEADER]).strip().rstrip("/")
        return prefix if is_path_prefix(prefix) else ""


def _below(prefix: str, path: str) -> str:
    """`path` without `prefix`."""
    rest = path.removeprefix(prefix)
    return rest or "/" if rest.startswith("/") or not rest else path
