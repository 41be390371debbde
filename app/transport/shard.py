"""A shard: one primary, and the connections to it.

A single Redis and a Sentinel service are one shard; a cluster has many. Modules that need Redis take `Shards`. A
command goes to the shard that holds its key. Objects of which each shard needs one (subscriber link, canary) are made
for each shard of `current`. No other module asks how many shards there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..core.settings import Settings
from .auto_pipeline import CONNECTIONS, AutoPipeline
from .connection import Command, Commands, Connection, Posts, Reply, Script
from .dialect import ClusterDialect, Translated
from .slots import Address
from .subscription import Subscription


class Sends(Commands, Protocol):
    """What runs commands, and also answers errors in the places of replies."""

    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class Shard:
    """One primary. `name` is its address in a cluster, and empty where there is no other shard.

    `commands` runs commands on it whose keys it holds.
    """

    def __init__(
        self,
        settings: Settings,
        scripts: Sequence[Script],
        node: Address | None = None,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        """`moved` is called where the primary at `node` refuses something that another one holds."""
        self.connection = Connection.open(settings, scripts, node)
        self.commands: Sends = Translated(self.connection, ClusterDialect(scripts), moved) if node else self.connection
        self.name = f"{node[0]}:{node[1]}" if node else ""
        self._settings = settings
        self._node = node

    def subscribe(self) -> Subscription:
        """A new subscriber connection. Raises `BelfryError` `store_unavailable`."""
        return Subscription.open(self._settings, self._node)

    def pipeline(self, lanes: int, depth: int) -> AutoPipeline:
        """Connections of its own that many callers share."""
        settings = self._settings
        return AutoPipeline(
            self.connection.line, settings.redis_timeout_seconds, settings.redis_queue, lanes=lanes, depth=depth
        )


class Shards(Protocol):
    """All shards of the store."""

    def pipeline(self, *, lanes: int = CONNECTIONS, depth: int = 1) -> Posts:
        """What runs commands on the shards that hold their keys, by connections of its own."""

    def slot_of(self, key: str) -> int:
        """Keys with the same number may be used by one script."""

    def current(self) -> Sequence[Shard]:
        """The shards that are known now; none before the first `refresh` of a cluster."""

    def holder(self, key: str) -> Shard | None:
        """The shard that holds a key; None where that is not known yet."""

    def refresh(self) -> None:
        """Find out where the shards are. Raises `BelfryError` `store_unavailable`."""

    def follow(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever keys are held by other shards than before."""

    def ping(self) -> None:
        """Raises `BelfryError` `store_unavailable` when a shard does not answer."""


def one_slot(key: str) -> int:  # noqa: ARG001 - as every `slot_of`
    """See `Shards`: one script may use all keys."""
    return 0


class OneShard:
    """The store is a single Redis, or the primary of a Sentinel service."""

    def __init__(self, settings: Settings, scripts: Sequence[Script]) -> None:
        self._shard = Shard(settings, scripts)

    def pipeline(self, *, lanes: int = CONNECTIONS, depth: int = 1) -> Posts:
        """See `Shards`."""
        return self._shard.pipeline(lanes, depth)

    slot_of = staticmethod(one_slot)

    def current(self) -> Sequence[Shard]:
        """See `Shards`."""
        return (self._shard,)

    def holder(self, key: str) -> Shard | None:  # noqa: ARG002 - see `Shards`
        """See `Shards`."""
        return self._shard

    def refresh(self) -> None:
        """See `Shards`: there is nothing to find out; `Connection.follow` asks the Sentinels."""

    def follow(self, changed: Callable[[], None]) -> None:
        """See `Shards`: that never happens."""

    def ping(self) -> None:
        """See `Shards`."""
        self._shard.connection.ping()
