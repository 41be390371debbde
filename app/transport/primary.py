"""Connections to Redis: directly to a server, or to the server that the Sentinels name as the primary of a service.

redis-py's own pool for Sentinels does not wait for a free connection. It also trusts the Sentinels about the address of
the primary. A connection here also asks the server itself whether it is the primary.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from ..core.redis_url import ClusterUrl, SentinelUrl, ServerUrl, parse, parse_sentinel
from ..core.settings import Settings

CONNECT_SECONDS = 1.0
SENTINEL_SECONDS = 0.5  # for each Sentinel, because the next one may be alive

Address = tuple[str, int]
Pool = TypeVar("Pool", bound=ConnectionPool)


class Primary:
    """Finds the primary of a service by asking its Sentinels. Raises redis-py's errors."""

    def __init__(self, url: SentinelUrl) -> None:
        options: dict[str, Any] = {"ssl": True, **dict(url.tls_options)} if url.tls else {}
        if url.sentinel_password:
            options |= {"username": url.sentinel_username or None, "password": url.sentinel_password}
        self._service = url.service
        self._sentinel = Sentinel(
            url.sentinels,
            sentinel_kwargs={
                "socket_timeout": SENTINEL_SECONDS,
                "socket_connect_timeout": SENTINEL_SECONDS,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
                **options,
            },
        )

    def find(self) -> Address:
        """Return the current address of the primary.

        This does the same as redis-py, which does not report why it can't reach a Sentinel.
        """
        reasons = []
        for sentinel in self._sentinel.sentinels:
            try:
                services: Any = sentinel.sentinel_masters()
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
                reasons.append(str(error))
                continue
            state = services.get(self._service)
            if state and self._sentinel.check_master_state(state, self._service):
                self._ask_first(sentinel)
                return state["ip"], state["port"]
        raise MasterNotFoundError(": ".join([f"no Sentinel knows the primary of {self._service!r}", *reasons]))

    def _ask_first(self, sentinel: redis.Redis) -> None:
        """Ask this Sentinel first the next time, because it answers."""
        others = [each for each in self._sentinel.sentinels if each is not sentinel]
        self._sentinel.sentinels = [sentinel, *others]


class PrimaryConnection(Connection):
    """A connection to the primary, whose address it asks for at each connect.

    A server that is not a primary, or no longer one, counts as unreachable.
    """

    def __init__(self, primary: Primary, **options: Any) -> None:
        super().__init__(redis_connect_func=_greet_primary, **options)  # type: ignore[no-untyped-call]  # redis-py annotates most, not this
        self._primary = primary

    def _connect(self) -> Any:
        self.host, self.port = self._primary.find()
        return super()._connect()  # type: ignore[no-untyped-call]  # redis-py annotates most, not this


class PrimarySSLConnection(SSLConnection):
    """A connection like `PrimaryConnection`, over TLS."""

    def __init__(self, primary: Primary, **options: Any) -> None:
        super().__init__(redis_connect_func=_greet_primary, **options)
        self._primary = primary

    def _connect(self) -> Any:
        self.host, self.port = self._primary.find()
        return super()._connect()  # type: ignore[no-untyped-call]  # redis-py annotates most, not this


def open_pool(kind: type[Pool], settings: Settings, node: Address | None = None, **options: Any) -> Pool:
    """Return a pool of the class `kind` for `settings.redis_url`. It connects with the first command.

    `node` is the address of a node of a cluster. Without it, this uses the first node of the URL.
    """
    options |= {
        "socket_connect_timeout": min(CONNECT_SECONDS, settings.redis_timeout_seconds),
        "protocol": 2,
        "health_check_interval": 0,
    }
    url = parse(settings.redis_url)
    options |= dict(url.tls_options)
    if isinstance(url, ServerUrl):
        options |= _server_options(url)
    elif isinstance(url, ClusterUrl):
        host, port = node or url.seeds[0]
        options |= {
            "connection_class": SSLConnection if url.tls else Connection,
            "host": host,
            "port": port,
            "socket_keepalive": True,
        }
    else:
        options |= {
            "connection_class": PrimarySSLConnection if url.tls else PrimaryConnection,
            "primary": primary_of(settings.redis_url),
            "socket_keepalive": True,
        }
    return kind(
        db=url.db,
        username=url.username or None,
        password=url.password or None,
        **options,
    )


def _server_options(url: ServerUrl) -> dict[str, Any]:
    if url.path:
        return {"connection_class": UnixDomainSocketConnection, "path": url.path}
    connection = SSLConnection if url.tls else Connection
    return {"connection_class": connection, "host": url.host, "port": url.port, "socket_keepalive": True}


@cache
def primary_of(url: str) -> Primary:
    """Return the one object that all connections of a process share."""
    return Primary(parse_sentinel(url))


def _greet_primary(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("ROLE", check_health=False)
    if connection.read_response()[0] != b"master":
        raise redis.exceptions.ConnectionError("the server is no primary")
