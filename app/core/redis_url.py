"""Where the store is: `BELFRY_REDIS_URL` taken apart, as far as redis-py doesn't do it.

    redis://[user:password@]host:port[/db]                 one server; rediss:// with TLS; unix:///path
    redis+sentinel://[user:password@]host:port,host:port/service[?db=0&sentinel_username=&sentinel_password=]

The second names the Sentinels, which know where the primary of a service is; the user and password before the `@` are
for the primary and its replicas. With `rediss+sentinel` both are reached by TLS, and these options may follow:

    ssl_ca_certs ssl_ca_path     who is trusted: a PEM file, a folder of hashed ones; by default as the system does
    ssl_certfile ssl_keyfile     our own certificate and its key, PEM files; ssl_password where the key has one
    ssl_cert_reqs                required (the default), optional or none
    ssl_check_hostname           true (the default) or false: for Sentinels that name servers by another address
    ssl_min_version              1.2 or 1.3
    ssl_ciphers                  in OpenSSL's notation
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SENTINEL_PORT = 26_379
PLAIN = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
_OWN_OPTIONS = ("db", "sentinel_username", "sentinel_password")

TlsOption = str | int | bool


def _one_of(values: Mapping[str, TlsOption]) -> Callable[[str], TlsOption]:
    def read(text: str) -> TlsOption:
        if text.lower() not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return values[text.lower()]

    return read


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return text


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise ValueError("there is no such folder")
    return text


# redis-py's name → what it makes of the text, in redis-py's type: as a string, `false` would be true there.
_TLS_OPTIONS: Final[Mapping[str, Callable[[str], TlsOption]]] = {
    "ssl_ca_certs": _file,
    "ssl_ca_path": _folder,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": str,
    "ssl_cert_reqs": _one_of({name: name for name in ("required", "optional", "none")}),
    "ssl_check_hostname": _one_of({"true": True, "false": False, "1": True, "0": False}),
    "ssl_min_version": _one_of({"1.2": 0x0303, "1.3": 0x0304}),  # on the wire (RFC 8446, 4.1.2), as `ssl.TLSVersion`
    "ssl_ciphers": str,
}


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
    tls_options: tuple[tuple[str, TlsOption], ...] = ()


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
    tls = parts.scheme == SENTINEL[1]
    options = _options(parts, (*_OWN_OPTIONS, *(_TLS_OPTIONS if tls else ())))
    return SentinelUrl(
        sentinels=tuple([_address(text) for text in addresses.split(",")]),
        service=service,
        db=int(options.get("db", "0")),
        username=unquote(username),
        password=unquote(password),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        tls=tls,
        tls_options=tuple([(name, _tls_option(name, text)) for name, text in options.items() if name in _TLS_OPTIONS]),
    )


def _options(parts: SplitResult, known: tuple[str, ...]) -> Mapping[str, str]:
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}, expected one of {', '.join(known)}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("db: expected a number")
    return options


def _tls_option(name: str, text: str) -> TlsOption:
    try:
        return _TLS_OPTIONS[name](text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _address(text: str) -> tuple[str, int]:
    found = urlsplit(f"//{text}")
    try:
        port = found.port or SENTINEL_PORT
    except ValueError:  # its text may hold what was meant to be a password
        port = 0
    if not found.hostname or not port:
        raise ValueError("expected a Sentinel as host:port")
    return found.hostname, port
