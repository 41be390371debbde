"""The address that a request comes from, also behind proxies.

A client writes whatever it likes into `X-Forwarded-For`; each proxy appends the address that it saw. So the list is
read from its end, and only as long as it was written by proxies that the settings trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from flask import Request

Network: TypeAlias = IPv4Network | IPv6Network

HOPS_MAX = 16


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy's; "" where the server doesn't know one (a unix socket)."""
    address = request.remote_addr or ""
    if not trusted:
        return address
    named = request.headers.get("X-Forwarded-For", "").split(",")
    for hop in reversed(named[-HOPS_MAX:]):
        if not _is_trusted(address, trusted):
            break
        if not _is_address(hop.strip()):
            break
        address = hop.strip()
    return address


def throttled_address(address: str) -> str:
    """What a limit counts: an IPv6 subscriber has a whole /64, and could change the address with each request."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Network((parsed, 64), strict=False))


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not _is_address(address):
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
