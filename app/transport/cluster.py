"""A Redis Cluster: its shards, the owner of each slot, and one refresh of that map at a time.

    redis+cluster://one:6379,two:6379      two of its nodes (seeds), which know all others

If no known primary answers, the seeds are asked. So Belfry finds the cluster again even if all its nodes changed their
addresses.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence

import gevent
from redis.exceptions import ClusterDownError

from ..core.errors import BelfryError
from ..core.redis_url import parse_cluster
from ..core.settings import Settings
from .auto_pipeline import CONNECTIONS, AutoPipeline
from .connection import Command, Posts, Script, has_no_cluster, unavailable
from .dialect import ClusterDialect
from .log_throttle import LogThrottle
from .routing import Routing
from .shard import Shard
from .slots import Address, SlotMap, View, best, slot_of, view_of

# Between two regular refreshes. The time varies by up to a fifth.
REFRESH_SECONDS = 10.0

_QUESTION: Sequence[Command] = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"))

logger = logging.getLogger("belfry.cluster")
complaints = LogThrottle(logger)


class Cluster:
    """All shards of a cluster. It connects with the first command, not before."""

    def __init__(self, settings: Settings, scripts: Sequence[Script]) -> None:
        self._settings = settings
        self._scripts = scripts
        self._seeds = parse_cluster(settings.redis_url).seeds
        self._map = SlotMap()
        # Every address that ever was a primary's, because it may be one again.
        self._shards: dict[Address, Shard] = {}
        self._followers: list[Callable[[], None]] = []
        self._has_moved = False  # whether a slot moved since the followers were notified
        self._why_unknown = _no_answer()
        self._under_way: gevent.Greenlet[[], None] | None = None
        self._regular: gevent.Greenlet[[], None] | None = None

    def pipeline(self, *, lanes: int = CONNECTIONS, depth: int = 1) -> Posts:
        """See `Shards`."""
        pipelines: dict[str, AutoPipeline] = {}

        def of(shard: Shard) -> AutoPipeline:
            if shard.name not in pipelines:
                pipelines[shard.name] = shard.pipeline(lanes, depth)
            return pipelines[shard.name]

        return Routing(self, of, ClusterDialect(self._scripts), self._settings.redis_timeout_seconds)

    def slot_of(self, key: str) -> int:
        """See `Shards`."""
        return slot_of(key)

    def current(self) -> Sequence[Shard]:
        """See `Shards`."""
        return [self.at(address) for address in self._map.primaries]

    def holder(self, key: str) -> Shard | None:
        """See `Shards`."""
        return self.owner(slot_of(key))

    def owner(self, slot: int) -> Shard | None:
        """Return the shard that holds a slot, or None if the owner is not known yet."""
        address = self._map.owner(slot)
        return None if address is None else self.at(address)

    def at(self, address: Address) -> Shard:
        """Return the shard whose primary has this address."""
        shard = self._shards.get(address)
        if shard is None:
            shard = self._shards[address] = Shard(self._settings, self._scripts, address, self.refresh_soon)
        return shard

    def moved(self, slot: int, address: Address) -> None:
        """Note that a node reported another owner of a slot. Use it at once, and refresh the whole map."""
        self._map.moved(slot, address)
        self._has_moved = True
        self.refresh_soon()

    def refresh(self) -> None:
        """See `Shards`. A call during a refresh waits for that refresh."""
        self.refresh_soon().join()
        if not self._map.primaries:
            raise self._why_unknown

    def refresh_soon(self) -> gevent.Greenlet[[], None]:
        """Begin a refresh, unless one is under way. Return its greenlet."""
        if self._under_way is None or self._under_way.dead:
            self._under_way = gevent.spawn(self._refresh)
        if self._regular is None:
            self._regular = gevent.spawn(self._refresh_regularly)
        return self._under_way

    def follow(self, changed: Callable[[], None]) -> None:
        """See `Shards`."""
        self._followers.append(changed)

    def ping(self) -> None:
        """See `Shards`."""
        self.refresh()
        for shard in self.current():
            shard.connection.ping()

    def _refresh_regularly(self) -> None:
        while True:
            gevent.sleep(REFRESH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - so that workers do not ask together
            self.refresh_soon().join()

    def _refresh(self) -> None:
        view = self._asked()
        if view is None:
            complaints.note("no node of the cluster answers with its slots")
            return
        before = self._map.primaries
        if not (self._map.learn(view) or self._has_moved):
            return
        self._has_moved = False
        if self._map.primaries != before:
            logger.warning(
                "the primaries of the cluster: %s", ", ".join([f"{host}:{port}" for host, port in self._map.primaries])
            )
        for changed in self._followers:
            changed()

    def _asked(self) -> View | None:
        """Ask the nodes for their views. Return the first one that can be trusted at once, otherwise the best one."""
        views = []
        self._why_unknown = _no_answer()
        for address in self._nodes():
            try:
                slots, info = self.at(address).connection.run(_QUESTION)
            except BelfryError as error:
                logger.info("%s:%d does not answer CLUSTER commands: %s", *address, error.__cause__ or error.detail)
                if not has_no_cluster(self._why_unknown):
                    self._why_unknown = error
                continue
            view = view_of(slots, info, address)
            if self._map.is_news(view):
                return view
            views.append(view)
        if views:
            self._why_unknown = unavailable(ClusterDownError("no primary holds a slot"))
        return best(views)

    def _nodes(self) -> Iterator[Address]:
        """Yield the nodes to ask, one after the other: every known primary, then the seeds."""
        primaries = self._map.primaries
        yield from random.sample(primaries, len(primaries))
        yield from [seed for seed in self._seeds if seed not in primaries]


def _no_answer() -> BelfryError:
    return unavailable(ConnectionError("no node of the cluster answers"))
