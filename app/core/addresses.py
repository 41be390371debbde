"""Addresses of clients and networks of proxies, in every form that sockets and proxies use. Pure.

An IPv6 socket writes the IPv4 address 192.0.2.1 as `::ffff:192.0.2.1`. This module treats both as the same address.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

TEXT_MAX: Final = 64  # characters of the longest address with brackets, a zone and a port
_MAPPED: Final = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2
_MAPPED_BITS: Final = 96
# RFC 3986 puts an IPv6 address in brackets before a port. Azure's gateways add a port to IPv4 addresses.
_BRACKETS = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?")
# A network in brackets, with its prefix inside or behind them.
_BRACKETED_NETWORK = re.compile(r"\[([^\[\]/]*)(/[0-9]{1,3})?\](/[0-9]{1,3})?")
_ZONE = re.compile(r"%[^/]*")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}")


def parse_address(text: str) -> Address | None:
    """Return the address in `text`, with or without brackets, port, zone and spaces. Return None if there is none."""
    given = text.strip().strip('"')
    if len(given) > TEXT_MAX:
        return None
    framed = _BRACKETS.fullmatch(given) or _WITH_PORT.fullmatch(given)
    bare, _, _zone = (framed[1] if framed else given).partition("%")  # a zone is valid only on its own host
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address


def parse_network(text: str) -> Network:
    """Return the network that `text` names, with or without brackets and zone. A single address is a network of one.

    Raises `ValueError` with what was expected.
    """
    framed = _BRACKETED_NETWORK.fullmatch(text)
    bare = f"{framed[1]}{framed[2] or framed[3] or ''}" if framed else text
    try:
        network = ip_network(_ZONE.sub("", bare))
    except ValueError as error:
        reason = "its host bits are set" if "host bits" in str(error) else "this is none"
        raise ValueError(f"expected an address or a network such as 10.0.0.0/8 or 2001:db8::/32; {reason}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return IPv4Network((int(mapped or 0), network.prefixlen - _MAPPED_BITS))
    return network


def as_in_urls(address: IPv6Address) -> str:
    """Return an IPv6 address as browsers write it between the brackets of a URL (URL standard, IPv6 serializer)."""
    mapped = address.ipv4_mapped
    if mapped is None:
        return address.compressed
    high, low = divmod(int(mapped), 1 << 16)  # Python 3.13 writes dots here, and browsers write none
    return f"::ffff:{high:x}:{low:x}"


def plain_peer(text: str) -> str:
    """Return the address of a socket's peer in its usual form. Return `text` itself if it needs no change."""
    if ":" not in text:
        return text
    address = parse_address(text)
    return text if address is None else str(address)
