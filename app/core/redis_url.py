"""The address of the store: parses and checks `BELFRY_REDIS_URL` before anything starts.

    redis://[user:password@]host[:port][/db]               one server; rediss:// with TLS
    unix://[user:password@]/path[?db=0]                    one server on this machine
    redis+sentinel://[user:password@]host:port,host:port/service[?db=0&sentinel_username=&sentinel_password=]
    redis+cluster://[user:password@]host[:port],host[:port]      a Redis Cluster

A Sentinel URL names the Sentinels, which know the address of a service's primary. The user and password before the `@`
are for the primary and its replicas. A cluster's URL names some of its nodes, which know all others. The user and
password are for every node, and a cluster has only database 0. With `rediss+sentinel` and `rediss+cluster` all
connections use TLS. User, password, path and service may be percent-encoded. A password with `/`, `?`, `#` or `%` must
be. `db`, `username` and `password` may also follow a `?` after the address of one server. With `rediss`,
`rediss+sentinel` and `rediss+cluster` these options may follow as well:

    ssl_ca_certs ssl_ca_path     who is trusted: a PEM file, a folder of hashed ones; by default as the system does
    ssl_certfile ssl_keyfile     our own certificate and its key, PEM files; ssl_password where the key has one
    ssl_cert_reqs                required (the default), optional or none
    ssl_check_hostname           true (the default) or false: for Sentinels that name servers by another address
    ssl_min_version              1.2 or 1.3
    ssl_ciphers                  in OpenSSL's notation

The standard library's and redis-py's own parsers are not used. They may read half a password as a host or a port, and
they ignore what they do not understand. No error here quotes a value, because a password may be in any part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from .endpoint import check_characters, decoded, endpoint

PORT = 6_379
SENTINEL_PORT = 26_379
PLAIN = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")
SCHEMES = (*PLAIN, *SENTINEL, *CLUSTER)
DB_MAX = 2_147_483_647  # Redis reads it as a C int
SOCKET_PATH_MAX = 107  # sockaddr_un.sun_path holds 108 bytes with its NUL
_SERVER_OPTIONS = ("db", "username", "password")
_SENTINEL_OPTIONS = ("db", "sentinel_username", "sentinel_password")
_OPTION = re.compile(r"[a-z_]{1,40}")

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


# redis-py's name → the function that converts the text to redis-py's type. redis-py treats the text `false` as true.
_TLS_OPTIONS: Final[Mapping[str, Callable[[str], TlsOption]]] = {
    "ssl_ca_certs": _file,
    "ssl_ca_path": _folder,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": str,
    "ssl_cert_reqs": _one_of({name: name for name in ("required", "optional", "none")}),
    "ssl_check_hostname": _one_of({"true": True, "false": False, "1": True, "0": False}),
    "ssl_min_version": _one_of({"1.2": 0x0303, "1.3": 0x0304}),  # values of `ssl.TLSVersion` (RFC 8446, 4.1.2)
    "ssl_ciphers": str,
}


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """One server, by host and port or by the `path` of its unix socket. `tls_options` are redis-py's own."""

    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    tls_options: tuple[tuple[str, TlsOption], ...] = ()


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """A service and the Sentinels that monitor it. `tls_options` are redis-py's own."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str = ""
    password: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""
    tls: bool = False
    tls_options: tuple[tuple[str, TlsOption], ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """A Redis Cluster, and the nodes to ask first for all others. `tls_options` are redis-py's own."""

    seeds: tuple[tuple[str, int], ...]
    username: str = ""
    password: str = ""
    tls: bool = False
    tls_options: tuple[tuple[str, TlsOption], ...] = ()

    @property
    def db(self) -> int:
        """The only database of a cluster."""
        return 0


class _Parts(NamedTuple):
    """A URL in pieces. Only the user and the password are percent-decoded."""

    scheme: str
    username: str
    password: str
    hosts: str
    path: str
    query: str


def check(url: str) -> str:
    """Return the same URL. Raises `ValueError`, which quotes nothing, for a URL that cannot be understood."""
    if url:
        parse(url)
    return url


def parse(url: str) -> ServerUrl | SentinelUrl | ClusterUrl:
    """Read the URL of a server, a Sentinel service or a cluster. Raises `ValueError`."""
    parts = _split(url)
    if parts.scheme in SENTINEL:
        return _sentinel(parts)
    if parts.scheme in CLUSTER:
        return _cluster(parts)
    return _unix(parts) if parts.scheme == "unix" else _server(parts)


def is_sentinel(url: str) -> bool:
    """Return whether the URL names Sentinels."""
    return url.partition("://")[0].lower() in SENTINEL


def is_cluster(url: str) -> bool:
    """Return whether the URL names a Redis Cluster."""
    return url.partition("://")[0].lower() in CLUSTER


def parse_cluster(url: str) -> ClusterUrl:
    """Read the URL of a cluster. Raises `ValueError`, also for any other kind of URL."""
    parts = _split(url)
    if parts.scheme not in CLUSTER:
        raise ValueError(f"expected one of {', '.join(CLUSTER)}")
    return _cluster(parts)


def parse_sentinel(url: str) -> SentinelUrl:
    """Read the URL of a Sentinel service. Raises `ValueError`, also for any other kind of URL."""
    parts = _split(url)
    if parts.scheme not in SENTINEL:
        raise ValueError(f"expected one of {', '.join(SENTINEL)}")
    return _sentinel(parts)


def database_of(url: str) -> int:
    """Return the number of the database that a URL names."""
    return parse(url).db


def without_credentials(url: str) -> str:
    """Return the parts of a URL that may be logged: scheme, hosts and path. Raises `ValueError`."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.hosts}{parts.path}"


def _split(url: str) -> _Parts:
    check_characters(url)
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in SCHEMES:
        raise ValueError(f"expected one of {', '.join(SCHEMES)} and '://' at its beginning")
    if "#" in rest:
        raise ValueError("expected no '#': write %23 for one in a password")
    before_query, _, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    if "@" not in authority and "@" in query and not path:
        raise ValueError("expected no '?' before the '@': write %3F for one in a password")
    if "@" in path and scheme.lower() != "unix":
        raise ValueError("expected no '/' before the '@': write %2F for one in a password")
    user, _, hosts = authority.rpartition("@")
    if "@" in user and "," in user:
        raise ValueError(
            "expected one user and password, before the first host: write %2C for ',' and %40 for '@' in a password"
        )
    username, _, password = user.partition(":")
    return _Parts(scheme.lower(), decoded(username), decoded(password), hosts, slash + path, query)


def _server(parts: _Parts) -> ServerUrl:
    if "," in parts.hosts:
        raise ValueError("expected one host; redis+sentinel:// names several Sentinels, redis+cluster:// several nodes")
    tls = parts.scheme == "rediss"
    options, tls_options = _options(parts, _SERVER_OPTIONS, tls=tls)
    host, port = endpoint(parts.hosts, PORT)
    given = parts.path.removeprefix("/")
    if given and options.get("db", given) != given:
        raise ValueError("expected the database's number once, after the host or as db=")
    return ServerUrl(
        host=host,
        port=port,
        db=_database(options.get("db", given) or "0"),
        username=options.get("username", parts.username),
        password=options.get("password", parts.password),
        tls=tls,
        tls_options=tls_options,
    )


def _unix(parts: _Parts) -> ServerUrl:
    if parts.hosts:
        raise ValueError("expected unix:///path, or unix://user:password@/path with %2F for a '/' in the password")
    path = decoded(parts.path)
    if path in ("", "/") or "\0" in path:
        raise ValueError("expected the path of a socket, as in unix:///run/redis.sock")
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise ValueError(f"expected a path of at most {SOCKET_PATH_MAX} bytes, which a socket's address holds")
    options, _ = _options(parts, _SERVER_OPTIONS, tls=False)
    return ServerUrl(
        path=path,
        db=_database(options.get("db", "0")),
        username=options.get("username", parts.username),
        password=options.get("password", parts.password),
    )


def _sentinel(parts: _Parts) -> SentinelUrl:
    service = decoded(parts.path.removeprefix("/"))
    if not service or "/" in service:
        raise ValueError(f"expected {parts.scheme}://host:port,host:port/service")
    tls = parts.scheme == SENTINEL[1]
    options, tls_options = _options(parts, _SENTINEL_OPTIONS, tls=tls)
    return SentinelUrl(
        sentinels=tuple([_sentinel_address(text) for text in parts.hosts.split(",")]),
        service=service,
        db=_database(options.get("db", "0")),
        username=parts.username,
        password=parts.password,
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        tls=tls,
        tls_options=tls_options,
    )


def _cluster(parts: _Parts) -> ClusterUrl:
    if parts.path not in ("", "/", "/0"):
        raise ValueError(f"expected {parts.scheme}://host:port,host:port without a path: a cluster has database 0 only")
    tls = parts.scheme == CLUSTER[1]
    _, tls_options = _options(parts, (), tls=tls)
    return ClusterUrl(
        seeds=tuple([_node_address(text) for text in parts.hosts.split(",")]),
        username=parts.username,
        password=parts.password,
        tls=tls,
        tls_options=tls_options,
    )


def _node_address(text: str) -> tuple[str, int]:
    try:
        return endpoint(text, PORT)
    except ValueError as error:
        raise ValueError(f"expected each node as host:port: {error}") from None


def _sentinel_address(text: str) -> tuple[str, int]:
    try:
        return endpoint(text, SENTINEL_PORT)
    except ValueError as error:
        raise ValueError(f"expected each Sentinel as host:port: {error}") from None


def _options(
    parts: _Parts, own: tuple[str, ...], *, tls: bool
) -> tuple[Mapping[str, str], tuple[tuple[str, TlsOption], ...]]:
    """Return the options after the `?`: Belfry's `own` options, and redis-py's options for TLS."""
    known = (*own, *(_TLS_OPTIONS if tls else ()))
    options: dict[str, str] = {}
    for each in parts.query.split("&") if parts.query else ():
        name, equals, value = each.partition("=")
        if not equals:
            raise ValueError("expected name=value in the query, after the '?'")
        if name not in known:
            raise ValueError(_unknown(name, known, quotable="@" not in parts.query))
        if name in options:
            raise ValueError(f"expected the option {name!r} once")
        options[name] = decoded(value.replace("+", " "))
    typed = tuple([(name, _tls_option(name, text)) for name, text in options.items() if name in _TLS_OPTIONS])
    return options, typed


def _unknown(name: str, known: tuple[str, ...], *, quotable: bool) -> str:
    """Return the error text. It quotes the option's name unless that may be a part of a password."""
    shown = f" {name!r}" if quotable and _OPTION.fullmatch(name) else ""
    hint = "; rediss:// asks for TLS" if name in ("ssl", "tls") or name in _TLS_OPTIONS else ""
    expected = f"one of {', '.join(known)}" if known else "no option"
    return f"unknown option{shown}, expected {expected}{hint}"


def _tls_option(name: str, text: str) -> TlsOption:
    try:
        return _TLS_OPTIONS[name](text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= DB_MAX):
        raise ValueError(f"db: expected a number from 0 to {DB_MAX}")
    return int(text)
