"""Hosts and ports of the URLs in the settings, and the check of `http` URLs.

No error here quotes the URL, because a password that was not escaped may be in any part of it.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import unquote

PORT_MAX: Final = 65_535
HOST_MAX: Final = 253  # RFC 1035, 2.3.4, written with dots
LABEL_MAX: Final = 63
HTTP_PORTS: Final = {"http": 80, "https": 443}
LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"[^\s/?#@:\[\]%\\\"'<>`{}|^$&;,=+*!()~]+")
_NUMERIC = re.compile(r"[0-9.]+")


class ServerAddress(NamedTuple):
    """A host and a port to connect to."""

    host: str
    port: int


def check_characters(text: str) -> None:
    """Raise `ValueError` for characters that no URL may contain in any part."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected UTF-8") from None
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("it holds a space, a line break or a control character: write %20 for a space")


def decoded(text: str) -> str:
    """Return `text` without its percent escapes. Raises `ValueError` for escapes that are not UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("its percent escapes are not UTF-8: write a '%' that stands for itself as %25") from None


def endpoint(text: str, default_port: int) -> ServerAddress:
    """Return the host and port of `host`, `host:port`, `[v6]` or `[v6]:port`. Raises `ValueError`."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("expected an IPv6 address as [address]:port")
        return ServerAddress(_v6(host), _port(rest[1:]) if rest else default_port)
    if text.count(":") > 1:
        raise ValueError("expected one host:port, and brackets around an IPv6 address, as in [::1]:6379")
    host, colon, port = text.partition(":")
    return ServerAddress(_named(host), _port(port) if colon else default_port)


def _v6(text: str) -> str:
    host = text.replace("%25", "%", 1)  # RFC 6874: the percent sign before a zone is escaped
    try:
        IPv6Address(host)
    except AddressValueError:
        raise ValueError("expected an IPv6 address between the brackets") from None
    return host


def _named(text: str) -> str:
    if not text:
        raise ValueError("it names no host")
    if not _HOST.fullmatch(text):
        raise ValueError("the host holds a character that no host has")
    if _NUMERIC.fullmatch(text):
        try:
            IPv4Address(text)
        except AddressValueError:
            raise ValueError("the host is no IPv4 address") from None
    labels = text.removesuffix(".").split(".")
    try:
        text.encode("idna")  # the resolver does the same, but its error would not be an OSError
    except UnicodeError:
        raise ValueError(f"the host is no name: expected labels of 1 to {LABEL_MAX} characters between dots") from None
    if len(text) > HOST_MAX or not all(0 < len(label) <= LABEL_MAX for label in labels):
        raise ValueError(f"the host is no name: expected labels of 1 to {LABEL_MAX} characters between dots")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= PORT_MAX):
        raise ValueError(
            f"expected a port from 1 to {PORT_MAX} after the host, and %2F, %3F, %23 and %40 in a password"
        )
    return int(text)


def check_http(url: str) -> ServerAddress:
    """Return the host and port of an `http` or `https` URL. Raises `ValueError` unless a request to it is possible."""
    check_characters(url)
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in HTTP_PORTS:
        raise ValueError("expected an http:// or https:// address")
    for char, escape in (("#", "%23"), ("\\", "%5C")):
        if char in rest:
            raise ValueError(f"expected no {char!r}: write {escape} for one in a password, a path or a query")
    authority, *after = re.split("[/?]", rest, maxsplit=1)
    if "@" in "".join(after):
        raise ValueError("expected no '@' after the host: write %2F and %3F in a password, %40 in a path or a query")
    return endpoint(authority.rpartition("@")[2], HTTP_PORTS[scheme.lower()])
