"""The address of a push service, which a browser chose: a stranger's address. Decides which ones Belfry connects to.

The name is checked when a browser subscribes. The numeric address is checked at each connection, after the name was
resolved, because a name may lead to another address every time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple

from ..addresses import Address, Network, parse_address
from ..endpoint import HTTP_PORTS, check_http

ENDPOINT_MAX: Final = 2_048  # characters
# A host such as `fcm.googleapis.com`, all hosts below a domain (`*.push.apple.com`), or all (`*`); perhaps with a port.
_PATTERN = re.compile(r"(\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
# Networks that `is_global` counts as public, at least in some versions of Python: where Azure and Oracle answer to each
# of their machines, relays of 6to4, and translators of a network's own.
_REFUSED: Final = tuple(
    [ip_network(each) for each in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")]
)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_IPV4_BITS: Final = 0xFFFFFFFF


class PushEndpoint(NamedTuple):
    """A checked address. `target` is the path with the query. `authority` is the host with a port that is not 443."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` unless `pattern` names hosts."""
    if not _PATTERN.fullmatch(pattern.lower()):
        expected = "hosts such as fcm.googleapis.com, *.push.apple.com, push.example.com:8443 or *"
        raise ValueError(f"expected {expected}, without a scheme or a path")


def parse(url: str, hosts: Sequence[str], networks: Sequence[Network]) -> PushEndpoint:
    """Return the address in `url`. Raises `ValueError` with what was expected.

    `hosts` are the patterns that are allowed. Plain http is allowed only for an address in one of `networks`.
    """
    if len(url) > ENDPOINT_MAX:
        raise ValueError(f"expected at most {ENDPOINT_MAX} characters, got {len(url)}")
    if not url.isascii():
        raise ValueError("expected ASCII, as browsers give it")
    host, port = check_http(url)
    scheme, _, rest = url.partition("://")
    scheme, host = scheme.lower(), host.lower().removesuffix(".")
    authority, target = _split(rest)
    if "@" in authority:
        raise ValueError("expected no user and no password")
    address = parse_address(host)
    if scheme != "https" and not (address and _is_in(address, networks)):
        raise ValueError("expected an https address")
    if address is not None and not is_reachable(address, networks):
        raise ValueError("expected a public address")
    if not (address and _is_in(address, networks)) and not _is_listed(host, port, hosts):
        raise ValueError(f"the host {host} is not in BELFRY_PUSH_HOSTS")
    shown = f"[{host}]" if ":" in host else host
    return PushEndpoint(scheme, host, port, shown if port == HTTP_PORTS[scheme] else f"{shown}:{port}", target)


def is_reachable(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether Belfry may connect to `address`: a public one, or one in `networks`."""
    return _is_in(address, networks) or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return _is_public(inner)
        if address.is_site_local:  # fec0::/10, which `is_global` counts as public
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not _is_in(address, _REFUSED)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a tunnel or a translator would connect to."""
    if address in _NAT64:
        return IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _is_listed(host: str, port: int, patterns: Sequence[str]) -> bool:
    return any(_matches(host, port, pattern.lower()) for pattern in patterns)


def _matches(host: str, port: int, pattern: str) -> bool:
    found = _PATTERN.fullmatch(pattern)
    if found is None or port != int(found[2] or HTTP_PORTS["https"]):
        return False
    name = found[1].strip("[]")
    return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))


def _split(rest: str) -> tuple[str, str]:
    at = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
    target = rest[at:]
    return rest[:at], target if target.startswith("/") else f"/{target}"
