"""One Redis connection that receives the live entries of many logs.

redis-py's `PubSub` is not used: it opens a connection for each greenlet that subscribes at the same moment, subscribes
again behind one's back after a loss, and its health check never looks at the answer. This is its `Connection` (URL,
TLS, authentication, hiredis) and the four pub/sub commands. One greenlet may send while another one reads.

On a cluster channels are sharded: each command names channels of one slot, and a node that does not hold the slot
refuses it. The node says by itself that a channel is left when its slot goes to another node.
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

# Redis answers the PING sent every third of this time; hearing nothing for so long means that the link is dead, even
# when the kernel believes in it (a frozen server, a cut without FIN).
SILENCE_SECONDS = 6.0
PING_SECONDS = SILENCE_SECONDS / 3


class PushKind(Enum):
    """What Redis sends on a connection that has subscriptions."""

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
    """One thing received. `channel` is empty for a PONG, `payload` for all but a MESSAGE."""

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
        """Connect, to this `node` of a cluster where one is given. The pool only lends its URL parsing."""
        pool = open_pool(redis.ConnectionPool, settings, node, socket_timeout=SILENCE_SECONDS, client_name="belfry-hub")
        try:
            return cls(pool.get_connection(), sharded=node is not None)
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error

    def subscribe(self, channels: Iterable[str]) -> None:
        """Ask for channels; Redis acknowledges each, in order, with a SUBSCRIBED."""
        self._send(self._commands("SUBSCRIBE", channels))

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Leave channels; Redis acknowledges each, in order, with an UNSUBSCRIBED."""
        self._send(self._commands("UNSUBSCRIBE", channels))

    def ping(self) -> None:
        """Ask for a PONG, so that a live link is never silent."""
        self._send([("PING",)])

    def _commands(self, name: str, channels: Iterable[str]) -> list[tuple[str, ...]]:
        """One command, or one for each run of channels that share a slot."""
        if self._sharded:
            return [(f"S{name}", *own) for _, own in groupby(channels, key=slot_of)]
        return [(name, *channels)]

    def receive(self) -> Push:
        """The next thing that Redis sends; waits for it, at most `SILENCE_SECONDS`."""
        try:
            reply: Any = self._connection.read_response()
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
        if not isinstance(reply, list):  # a PING before the first subscription is answered as an ordinary command
            return Push(PushKind.PONG, b"", b"")
        kind = _KINDS[reply[0]]
        payload = reply[2] if kind is PushKind.MESSAGE else b""
        return Push(kind, reply[1] or b"", payload)

    def close(self) -> None:
        """Close the connection for good. A waiting `receive` raises."""
        self._closed = True
        self._connection.disconnect()

    def _send(self, commands: Sequence[tuple[str, ...]]) -> None:
        if self._closed:  # redis-py would connect again, to a link without subscriptions
            raise unavailable(redis.exceptions.ConnectionError())
        try:
            self._connection.send_packed_command([pack(commands)])
        except (redis.exceptions.RedisError, OSError) as error:
            raise unavailable(error) from error
