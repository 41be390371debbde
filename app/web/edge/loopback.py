"""Limits the demo to this machine's own host names.

The demo's sign-in needs no password. A web page elsewhere could make its own name resolve to 127.0.0.1 (DNS rebinding).
The browser then treats its requests as same-origin. Such a page can't change the `Host` that the browser sends, so this
module checks that header.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from ...core.errors import BelfryError
from .answers import Answers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

NAME: Final = "localhost"
NETWORK: Final = IPv4Network("127.0.0.0/8")
ADDRESS: Final = IPv6Address("::1")
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # bound to all addresses, so without a host of its own
_TOLD_MAX: Final = 100


class Loopback:
    """WSGI middleware that refuses requests for other hosts, and passes all others to `application`.

    `bound` is the host that the server listens on. Requests for it are accepted too.
    """

    def __init__(self, application: WSGIApplication, answers: Answers, bound: str) -> None:
        self._application = application
        self._answers = answers
        self._bound = "" if bound in _EVERYWHERE else host_of(bound if ":" not in bound else f"[{bound}]")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, or refuse it with 421 `wrong_host` (RFC 9110, 15.5.20)."""
        sent = environ.get("HTTP_HOST", "")
        host = host_of(sent)
        if is_loopback(host) or (host and host == self._bound):
            return self._application(environ, start_response)
        error = BelfryError(
            "wrong_host",
            f"The demo answers for localhost, 127.0.0.0/8 and [::1] only, got the Host {sent[:_TOLD_MAX]!r}. Open it "
            "by one of those, or set BELFRY_SECRET and leave the demo to serve other hosts.",
        )
        return self._answers.problem(error, environ)(environ, start_response)


def host_of(sent: str) -> str:
    """Return the host of a `Host` header in one spelling, without port and brackets; "" if it is malformed."""
    host, bracket, port = sent.strip().rpartition("]")
    if bracket:
        host = host.removeprefix("[") if host.startswith("[") else ""
        port = port.removeprefix(":") if port.startswith(":") or not port else "-"
    else:
        host, _, port = port.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return ""
    host = host.lower().removesuffix(".")
    try:
        return str(ip_address(host))
    except ValueError:
        return "" if bracket else host


def is_loopback(host: str) -> bool:
    """Return whether `host`, a result of `host_of`, is a name of this machine itself."""
    if host == NAME:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address == ADDRESS if isinstance(address, IPv6Address) else address in NETWORK
