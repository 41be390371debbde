"""Where the store is: `BELFRY_REDIS_URL` taken apart, as far as redis-py doesn't do it.

    redis://[user:password@]host:port[/db]                 one server; rediss:// with TLS; unix:///path
    redis+sentinel://[user:password@]host:port,host:port/service[?db=0&sentinel_username=&sentinel_password=]

The second names the Sentinels, which know where the primary of a service is; the user and password before the `@` are
for the primary and its replicas. With `rediss+sentinel` both are reached by TLS, and `ssl_…` options may follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SENTINEL_PORT = 26_379
PLAIN = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
_OWN_OPTIONS = ("db", "sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """A service and the Sentinels that watch over it; `tls_options` are redis-py's own."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str = ""
    password: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()


def check(url: str) -> str:
    """The same address. Raises `ValueError`, without the password, for one that can't be understood."""
    if url and urlsplit(url).scheme not in PLAIN:
        parse_sentinel(url)
    return url


def is_sentinel(url: str) -> bool:
    """Whether Sentinels are to be asked."""
    return urlsplit(url).scheme in SENTINEL


def parse_sentinel(url: str) -> SentinelUrl:
    """Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in SENTINEL:
        raise ValueError(f"expected one of {', '.join((*PLAIN, *SENTINEL))}")
    service = unquote(parts.path.removeprefix("/"))
    if not service or "/" in service:
        raise ValueError("expected redis+sentinel://host:port,host:port/service")
    user, _, addresses = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    options = _options(parts)
    return SentinelUrl(
        sentinels=tuple([_address(text) for text in addresses.split(",")]),
        service=service,
        db=int(options.get("db", "0")),
        username=unquote(username),
        password=unquote(password),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        tls=parts.scheme == SENTINEL[1],
        tls_options=tuple([(name, value) for name, value in options.items() if name not in _OWN_OPTIONS]),
    )


def _options(parts: SplitResult) -> Mapping[str, str]:
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    unknown = [name for name in options if name not in _OWN_OPTIONS and not name.startswith("ssl_")]
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("db: expected a number")
    return options


def _address(text: str) -> tuple[str, int]:
    found = urlsplit(f"//{text}")
    try:
        port = found.port or SENTINEL_PORT
    except ValueError:  # its text may hold what was meant to be a password
        port = 0
    if not found.hostname or not port:
        raise ValueError("expected a Sentinel as host:port")
    return found.hostname, port
