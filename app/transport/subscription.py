"""One Redis connection that receives the live entries of many logs.

redis-py's `PubSub` is not used: it opens a connection for each greenlet that subscribes at the same moment, subscribes
again behind one's back after a loss, and its health check never looks at the answer. This is its `Connection` (URL,
TLS, authentication, hiredis) and the four pub/sub commands. One greenlet may send while another one reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

import redis
from redis.connection import ConnectionInterface

from ..core.settings import Settings
from .connection import unavailable
from .primary import open_pool

# Redis answers the PING sent every third of this time; hearing nothing for so long means that the link is dead, even
# when the kernel believes in it (a frozen server, a cut without FIN).
SILENCE_SECONDS = 6.0
PING_SECONDS = SILENCE_SECONDS / 3


class Kind(Enum):
    """What Redis sends on a connection that has subscriptions."""

    MESSAGE = b"message"
    SUBSCRIBED = b"subscribe"
    UNSUBSCRIBED = b"unsubscribe"
    PONG = b"pong"


class Push(NamedTuple):
    """One thing received. `channel` is empty for a PONG, `payload` for all but a MESSAGE."""

    kind: Kind
    channel: bytes
    payload: bytes


class Subscription:
    """An open subscriber connection. Every method raises `BelfryError` `store_unavailable` once the link is lost."""

    def __init__(self, connection: ConnectionInterface) -> None:
        self._connection = connection
        self._closed = False

    @classmethod
    def open(cls, settings: Settings) -> Subscription:
        """Connect. The pool only lends its URL parsing."""
        pool = open_pool(redis.ConnectionPool, settings, socket_timeout=SILENCE_SECONDS, client_name="belfry-hub")
        try:
            return cls(pool.get_connection())
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error

    def subscribe(self, channels: Iterable[str]) -> None:
        """Ask for channels; Redis acknowledges each, in order, with a SUBSCRIBED."""
        self._send("SUBSCRIBE", *channels)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Leave channels; Redis acknowledges each, in order, with an UNSUBSCRIBED."""
        self._send("UNSUBSCRIBE", *channels)

    def ping(self) -> None:
        """Ask for a PONG, so that a live link is never silent."""
        self._send("PING")

    def receive(self) -> Push:
        """The next thing that Redis sends; waits for it, at most `SILENCE_SECONDS`."""
        try:
            reply: Any = self._connection.read_response()
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
        if not isinstance(reply, list):  # a PING before the first subscription is answered as an ordinary command
            return Push(Kind.PONG, b"", b"")
        kind = Kind(reply[0])
        payload = reply[2] if kind is Kind.MESSAGE else b""
        return Push(kind, reply[1] or b"", payload)

    def close(self) -> None:
        """Close the link for good; whoever waits in `receive` is told."""
        self._closed = True
        self._connection.disconnect()

    def _send(self, *command: str) -> None:
        if self._closed:  # redis-py would connect again, to a link without subscriptions
            raise unavailable(redis.exceptions.ConnectionError())
        try:
            self._connection.send_command(*command)
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
