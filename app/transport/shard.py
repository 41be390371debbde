"""A shard: one primary, and the connections to it.

A single Redis and a Sentinel service are one shard, and a cluster has many. Modules that need Redis take `Shards`. A
command goes to the shard that holds its key. Some objects exist once for each shard (subscriber link, canary). They are
made for each shard of `current`. No other module depends on the number of shards.
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
    """Runs commands, and can also return errors in the places of replies."""

    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class Shard:
    """One primary. `name` is its address in a cluster, and empty if there is only one shard.

    `commands` runs commands whose keys this shard holds.
    """

    def __init__(
        self,
        settings: Settings,
        scripts: Sequence[Script],
        node: Address | None = None,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a shard. `moved` is called if the primary at `node` refuses a command whose keys another one holds."""
        self.connection = Connection.open(settings, scripts, node)
        self.commands: Sends = Translated(self.connection, ClusterDialect(scripts), moved) if node else self.connection
        self.name = f"{node[0]}:{node[1]}" if node else ""
        self._settings = settings
        self._node = node

    def subscribe(self) -> Subscription:
        """Open a new subscriber connection. Raises `BelfryError` `store_unavailable`."""
        return Subscription.open(self._settings, self._node)

    def pipeline(self, lanes: int, depth: int) -> AutoPipeline:
        """Return a pipeline with connections of its own, which many callers share."""
        settings = self._settings
        return AutoPipeline(
            self.connection.dedicated, settings.redis_timeout_seconds, settings.redis_queue, lanes=lanes, depth=depth
        )


class Shards(Protocol):
    """All shards of the store."""

    def pipeline(self, *, lanes: int = CONNECTIONS, depth: int = 1) -> Posts:
        """Return an object that runs commands on the shards that hold their keys. It has connections of its own."""

    def slot_of(self, key: str) -> int:
        """Return a number for a key. One script may use keys with the same number."""

    def current(self) -> Sequence[Shard]:
        """Return the shards that are known now. There are none before the first `refresh` of a cluster."""

    def holder(self, key: str) -> Shard | None:
        """Return the shard that holds a key, or None if it is not known yet."""

    def refresh(self) -> None:
        """Find the addresses of the shards. Raises `BelfryError` `store_unavailable`."""

    def follow(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever keys have moved to other shards."""

    def ping(self) -> None:
        """Check that all shards answer. Raises `BelfryError` `store_unavailable` if one does not."""


def one_slot(key: str) -> int:  # noqa: ARG001 - as every `slot_of`
    """Return 0 for every key: one script may use all keys. See `Shards`."""
    return 0


class OneShard:
    """A store that is a single Redis, or the primary of a Sentinel service."""

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
        """Do nothing: there is only one shard, and `Connection.follow` asks the Sentinels. See `Shards`."""

    def follow(self, changed: Callable[[], None]) -> None:
        """Do nothing: keys never move to another shard. See `Shards`."""

    def ping(self) -> None:
        """See `Shards`."""
        self._shard.connection.ping()
