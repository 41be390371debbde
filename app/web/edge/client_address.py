"""The address that a request comes from, also behind proxies.

A client can write anything into `X-Forwarded-For`, and each proxy appends the address that it saw. So the list is read
from its end, and only as long as proxies wrote it that the settings trust. The peer of a unix socket has no address.
Only local processes that may open the socket reach it, so it counts as a trusted proxy.

`Forwarded` (RFC 7239) is not read. A proxy that writes one of the two headers often passes the other one on unchanged,
and then the two disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Network

from flask import Request

from ...core.addresses import Network, parse_address, plain_peer

HOPS_MAX = 16
UNIX_PEER = ""


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """Return the nearest address that does not belong to a trusted proxy.

    Returns "" if no address is known (a unix socket without the header).
    """
    address = plain_peer(request.remote_addr or UNIX_PEER)
    if address and not trusted:
        return address
    named = [hop for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    for hop in reversed(named[-HOPS_MAX:]):
        if not _is_trusted(address, trusted):
            break
        parsed = parse_address(hop)
        if parsed is None:
            break
        address = str(parsed)
    return address


def throttled_address(address: str) -> str:
    """Return the address that a limit counts.

    An IPv6 subscriber has a whole /64 and could change the address with each request, so the /64 is counted.
    """
    parsed = parse_address(address)
    if parsed is None:
        return address
    return str(parsed) if parsed.version == 4 else str(IPv6Network((int(parsed), 64), strict=False))


def is_trusted_peer(remote: str, trusted: Sequence[Network]) -> bool:
    """Return whether the connection from the address `remote` belongs to a trusted proxy."""
    return _is_trusted(plain_peer(remote or UNIX_PEER), trusted)


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if address == UNIX_PEER:
        return True
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in trusted)
