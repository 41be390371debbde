"""The connections to push services. Each service has its own places, so a slow one delays no other.

The address of a service is a stranger's. Belfry resolves the name itself, connects only to an address that it may
reach, and never follows a redirect. Nobody gets to see what a service answers.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import gevent
from gevent.lock import BoundedSemaphore
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ...core.addresses import Network, parse_address
from ...core.completion.advice import seconds_until
from ...core.push.endpoint import PushEndpoint, is_reachable
from ...core.settings import Settings

IDLE_SECONDS: Final = 30.0  # push services close a connection sooner or later; one that is older is not used again
IDLE_CONNECTIONS: Final = 20  # kept open to one service
SERVICES_KEPT: Final = 200
# Answers of a resolver that say so of the name. Others, such as EAI_AGAIN, say that the resolver can't be asked now.
UNKNOWN_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
ANSWER_BYTES: Final = 16_384  # of a body; the connection of a longer one is closed


class PushFailedError(Exception):
    """The push service did not answer: it can't be reached, broke off, or took too long."""


class NoAddressError(Exception):
    """The name of the push service leads to no address that Belfry may connect to. Trying again does not help."""


class NoPlaceError(Exception):
    """As many requests to this push service as allowed are under way."""


class PushAnswer(NamedTuple):
    """The answer of a push service. `retry_after` is in seconds, or None if the service gave no advice."""

    status: int
    retry_after: float | None = None


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked after the name was resolved."""

    def __init__(self, to: PushEndpoint, networks: tuple[Network, ...], seconds: float, tls: ssl.SSLContext) -> None:
        super().__init__(to.host, to.port, timeout=seconds)
        self._to = to
        self._networks = networks
        self._tls = tls
        self.used_at = 0.0

    def connect(self) -> None:
        self.sock = self._connected()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._to.scheme == "https":
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._to.host)

    def _connected(self) -> socket.socket:
        """Connect to the first address that answers. Raises `OSError` and `NoAddressError`."""
        failure: Exception = NoAddressError("the name leads to no address that Belfry may connect to")
        for family, kind, protocol, _, place in self._resolved():
            address = parse_address(str(place[0]))
            if address is None or not is_reachable(address, self._networks) or not self._may_be_plain(address):
                continue
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(self.timeout)
            try:
                sock.connect(place)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure

    def _resolved(self) -> list[Any]:
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in UNKNOWN_NAME:
                raise NoAddressError("the name has no address") from None
            raise

    def _may_be_plain(self, address: object) -> bool:
        return self._to.scheme == "https" or any(address in network for network in self._networks)


class _Service:
    """One push service: its places, and the connections that stay open."""

    def __init__(self, places: int) -> None:
        self.places = BoundedSemaphore(places)
        self.idle: deque[_Connection] = deque()

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()


class PushServices:
    """Sends to all push services. One per worker."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._networks = settings.own_push_networks
        self._seconds = settings.push_timeout_seconds
        self._places = settings.push_concurrency
        self._now = now
        self._services: dict[str, _Service] = {}
        self._tls: ssl.SSLContext | None = None
        self._swept = now()

    def has_place(self, to: PushEndpoint) -> bool:
        """Return whether this push service has a free place now."""
        service = self._services.get(to.origin)
        return service is None or not service.places.locked()

    def send(self, to: PushEndpoint, headers: Mapping[str, str], body: bytes) -> PushAnswer:
        """Send one push. Raises `PushFailedError`, `NoAddressError`, and `NoPlaceError` without a free place."""
        self._close_idle()
        service = self._services.get(to.origin)
        if service is None:
            self._drop_idle()
            service = self._services[to.origin] = _Service(self._places)
        if not service.places.acquire(blocking=False):
            raise NoPlaceError
        try:
            with gevent.Timeout(self._seconds, PushFailedError(f"no answer within {self._seconds:g} s")):
                return self._sent(service, to, headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PushFailedError(str(error) or type(error).__name__) from None
        finally:
            service.places.release()

    def _sent(self, service: _Service, to: PushEndpoint, headers: Mapping[str, str], body: bytes) -> PushAnswer:
        connection = self._open(service)
        if connection is not None:
            try:
                return self._exchanged(service, connection, to, headers, body)
            except (OSError, http.client.HTTPException, ValueError):
                pass  # the service may have closed it while nobody used it; a new connection decides
        connection = _Connection(to, self._networks, self._seconds, self._context())
        return self._exchanged(service, connection, to, headers, body)

    def _exchanged(
        self, service: _Service, connection: _Connection, to: PushEndpoint, headers: Mapping[str, str], body: bytes
    ) -> PushAnswer:
        is_reusable = False
        try:
            connection.request("POST", to.target, body, {"Host": to.authority, **headers})
            answer = connection.getresponse()
            # A chunked body may name a length that makes `http.client` read without end, so it is left unread.
            is_reusable = not (answer.chunked or answer.will_close) and len(answer.read(ANSWER_BYTES)) < ANSWER_BYTES
        finally:
            if is_reusable and len(service.idle) < IDLE_CONNECTIONS:
                connection.used_at = self._now()
                service.idle.append(connection)
            else:
                connection.close()
        advice = {"retry-after": answer.headers.get("Retry-After", "")}
        return PushAnswer(answer.status, seconds_until(advice, time.time()))

    def _open(self, service: _Service) -> _Connection | None:
        """Return a connection that is open, most recently used first. Older ones are closed."""
        while service.idle:
            connection = service.idle.pop()
            if self._now() - connection.used_at < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def _close_idle(self) -> None:
        """Close the connections of all services that nobody has used for `IDLE_SECONDS`, as often as that."""
        now = self._now()
        if now - self._swept < IDLE_SECONDS:
            return
        self._swept = now
        for service in self._services.values():
            while service.idle and now - service.idle[0].used_at >= IDLE_SECONDS:  # the first one is the oldest
                service.idle.popleft().close()

    def _drop_idle(self) -> None:
        """Forget services that nobody uses now, if there are many."""
        if len(self._services) < SERVICES_KEPT:
            return
        for origin, service in list(self._services.items()):
            if service.places.counter == self._places:
                service.close()
                del self._services[origin]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            with contextlib.suppress(OSError):  # the system's certificates count as well
                self._tls.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        return self._tls

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for service in self._services.values():
            service.close()
