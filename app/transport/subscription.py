"""One Redis connection that receives the live entries of many logs.

redis-py's `PubSub` is not used, for three reasons. It opens a connection for each greenlet that subscribes at the same
moment. After a loss it subscribes again without notice. Its health check never looks at the answer. This class uses
redis-py's `Connection` (URL, TLS, authentication, hiredis) and the four pub/sub commands. One greenlet may send while
another one reads.

On a cluster, channels are sharded. Each command names channels of one slot, and a node that does not hold the slot
refuses it. If the slot moves to another node, the node announces that the channel is unsubscribed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import Any, Final, NamedTuple

import redis
from redis.connection import ConnectionInterface

from ..core.settings import Settings
from .connection import pack, unavailable
from .primary import open_pool
from .slots import Address, slot_of

# Belfry sends a PING every third of this time, and Redis answers it. If nothing arrives for the whole time, the link is
# dead, even if the kernel believes that it is open (a frozen server, a cut without FIN).
SILENCE_SECONDS = 6.0
PING_SECONDS = SILENCE_SECONDS / 3


class PushKind(Enum):
    """The kinds of replies that Redis sends on a connection with subscriptions."""

    MESSAGE = b"message"
    SUBSCRIBED = b"subscribe"
    UNSUBSCRIBED = b"unsubscribe"
    PONG = b"pong"


_KINDS: Final = {
    **{kind.value: kind for kind in PushKind},
    b"smessage": PushKind.MESSAGE,
    b"ssubscribe": PushKind.SUBSCRIBED,
    b"sunsubscribe": PushKind.UNSUBSCRIBED,
}


class Push(NamedTuple):
    """One reply received. `channel` is empty for a PONG. `payload` is empty for every kind except MESSAGE."""

    kind: PushKind
    channel: bytes
    payload: bytes


class Subscription:
    """An open subscriber connection. Every method raises `BelfryError` `store_unavailable` once the link is lost."""

    def __init__(self, connection: ConnectionInterface, *, sharded: bool = False) -> None:
        self._connection = connection
        self._sharded = sharded
        self._closed = False

    @classmethod
    def open(cls, settings: Settings, node: Address | None = None) -> Subscription:
        """Connect to the store, or to this `node` of a cluster.

        The pool is used only because it parses the URL.
        """
        pool = open_pool(redis.ConnectionPool, settings, node, socket_timeout=SILENCE_SECONDS, client_name="belfry-hub")
        try:
            return cls(pool.get_connection(), sharded=node is not None)
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error

    def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels. Redis acknowledges each one, in order, with a SUBSCRIBED."""
        self._send(self._commands("SUBSCRIBE", channels))

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribe from channels. Redis acknowledges each one, in order, with an UNSUBSCRIBED."""
        self._send(self._commands("UNSUBSCRIBE", channels))

    def ping(self) -> None:
        """Send a PING. Redis answers with a PONG, so a live link is never silent."""
        self._send([("PING",)])

    def _commands(self, name: str, channels: Iterable[str]) -> list[tuple[str, ...]]:
        """Return one command. If channels are sharded, return one for each run of channels that share a slot."""
        if self._sharded:
            return [(f"S{name}", *own) for _, own in groupby(channels, key=slot_of)]
        return [(name, *channels)]

    def receive(self) -> Push:
        """Wait for the next reply and return it. Waits at most `SILENCE_SECONDS`."""
        try:
            reply: Any = self._connection.read_response()
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
        # Redis answers a PING before the first subscription like an ordinary command.
        if not isinstance(reply, list):
            return Push(PushKind.PONG, b"", b"")
        kind = _KINDS[reply[0]]
        payload = reply[2] if kind is PushKind.MESSAGE else b""
        return Push(kind, reply[1] or b"", payload)

    def close(self) -> None:
        """Close the connection for good. A waiting `receive` raises."""
        self._closed = True
        self._connection.disconnect()

    def _send(self, commands: Sequence[tuple[str, ...]]) -> None:
        # redis-py would connect again, and the new link would have no subscriptions.
        if self._closed:
            raise unavailable(redis.exceptions.ConnectionError())
        try:
            self._connection.send_packed_command([pack(commands)])
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
