"""The subscriber links of a worker: one link and one canary for each shard of the store.

Each open log is subscribed to through the link of the shard that holds it. A single Redis is one shard. In a cluster,
shards come and go and slots move between them. A log whose shard has changed is subscribed to at its new shard. After
the acknowledgement its tail is compared, as after a lost connection.

When a slot moves, this happens in order:

1. The former primary ends the subscription by itself.
2. The worker looks the shards up, once for all channels of the slot.
3. The new primary acknowledges the subscription.
4. The log catches up.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from typing import Protocol

import gevent

from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.store_faults import no_cluster
from ...store.examination import Examination
from ...store.logs.log import LogStore
from ...transport.connection import has_no_cluster
from ...transport.shard import Shard, Shards
from ..streams.subscriber import OpenLog
from .canary import Canaries, Canary
from .link import Link

RETRY_SECONDS = 1.0

logger = logging.getLogger("belfry.links")


class LinksObserver(Protocol):
    """Receives the events of all links: the `Hub`."""

    def open_logs(self) -> Iterable[OpenLog]: ...
    def find(self, channel: bytes) -> OpenLog | None: ...
    def acknowledged(self, open_log: OpenLog) -> None: ...
    def received(self, channel: bytes, payload: bytes) -> None: ...
    def lost(self, logs: Iterable[OpenLog]) -> None: ...
    def changed(self, logs: Iterable[OpenLog]) -> None: ...


class ShardLink:
    """The link to one shard, and its canary. It is the `home` of the logs that the shard holds."""

    def __init__(
        self, links: Links, shard: Shard, store: LogStore, settings: Settings, listener: LinksObserver
    ) -> None:
        self.shard = shard
        self._links = links
        self._listener = listener
        self._slot_of = links.slot_of
        self.received = listener.received  # called directly, because it is called for each message
        self.acknowledged = listener.acknowledged
        self.link = Link(shard.subscribe, store.keys.live, self)
        open_log, channel = links.canary_log(shard)
        self.canary = Canary(
            open_log,
            channel,
            store.lineage.of(shard.name, shard.commands),
            self.link,
            shard.connection.follow,
            self._changed,
            settings.canary_seconds,
            Examination(shard.commands, settings, self._holds) if links.examines else None,
            settings.store_check_seconds,
            shard.name,
            links.canaries.troubles,
        )

    def _holds(self, key: str) -> bool:
        return self._links.holds(self.shard, key)

    def start(self) -> None:
        """Connect, and reconnect after a failure."""
        self.link.start()
        self.canary.start()
        self._links.canaries.add(self.canary)

    def stop(self) -> None:
        """End."""
        self._links.canaries.remove(self.canary)
        self.canary.stop()
        self.link.stop()

    def keep_canary(self) -> None:
        """Give the canary a channel in a slot of this shard, if the slot of the former channel has moved."""
        if self._links.holder_of(self.canary.log) is self.shard:
            return
        self._links.canaries.remove(self.canary)
        self.canary.move(*self._links.canary_log(self.shard))
        self._links.canaries.add(self.canary)
        self.link.subscribe(self.canary.log)

    def own(self) -> list[OpenLog]:
        """The open logs whose home this is."""
        return [open_log for open_log in self._listener.open_logs() if open_log.home is self]

    # Events of the link

    def wanted(self) -> Iterable[OpenLog]:
        """The logs to subscribe to, sorted by slot, because one command takes only channels of one slot."""
        return [self.canary.log, *sorted(self.own(), key=self._slot_of)]

    def lost(self) -> None:
        self._listener.lost(self.own())
        self._links.look_again()

    def left(self, channel: bytes) -> None:
        self._links.left(self, channel)

    def _changed(self) -> None:
        self._listener.changed(self.own())


class Links:
    """One per worker."""

    def __init__(
        self, shards: Shards, store: LogStore, settings: Settings, listener: LinksObserver, *, examines: bool = True
    ) -> None:
        self.canaries = Canaries()
        self.examines = examines
        self._shards = shards
        self._store = store
        self._settings = settings
        self._listener = listener
        self._links: dict[str, ShardLink] = {}
        self._looking: gevent.Greenlet[[], None] | None = None
        self._is_look_due = False

    def start(self) -> None:
        """Connect to every shard, and keep connected."""
        self._shards.follow(self.settle)
        self.settle()
        self.look_again()

    def stop(self) -> None:
        """Close all connections for good."""
        if self._looking is not None:
            gevent.kill(self._looking)
        for link in self._links.values():
            link.stop()

    def subscribe(self, open_log: OpenLog) -> None:
        """Subscribe to a log at the shard that holds it. If the shard is not known yet, `settle` does it later."""
        home = self._home_of(open_log)
        open_log.home = home
        if home is not None:
            home.link.subscribe(open_log)

    def unsubscribe(self, open_log: OpenLog) -> None:
        """Unsubscribe from a log."""
        if isinstance(open_log.home, ShardLink):
            open_log.home.link.unsubscribe(open_log)

    def look_again(self) -> None:
        """Look the shards up again. Concurrent calls share one lookup."""
        self._is_look_due = True
        if self._looking is None or self._looking.dead:
            self._looking = gevent.spawn(self._look)

    def left(self, link: ShardLink, channel: bytes) -> None:
        """A shard ended the subscription to a channel, because its slot moved."""
        open_log = self._listener.find(channel)
        if open_log is not None and open_log.home is link:
            self._listener.lost([open_log])
            open_log.home = None  # so that `settle` subscribes to it again, even at the same shard
        self.look_again()

    def settle(self) -> None:
        """Open and close links so that each shard has one, and subscribe to each log at its shard."""
        current = {shard.name: shard for shard in self._shards.current()}
        for name in self._links.keys() - current.keys():
            link = self._links.pop(name)
            self._listener.lost(link.own())
            link.stop()
            self._store.lineage.leave(name)
        for name in current.keys() - self._links.keys():
            self._links[name] = ShardLink(self, current[name], self._store, self._settings, self._listener)
            self._links[name].start()
        for link in self._links.values():
            link.keep_canary()
        self._rehome()

    def _rehome(self) -> None:
        moved = [open_log for open_log in self._listener.open_logs() if self._home_of(open_log) is not open_log.home]
        self._listener.lost(moved)
        for open_log in sorted(moved, key=self.slot_of):
            self.subscribe(open_log)

    # Questions of a link

    def slot_of(self, open_log: OpenLog) -> int:
        return self._shards.slot_of(self._store.keys.live(open_log.name))

    def holds(self, shard: Shard, key: str) -> bool:
        return self._shards.holder(key) is shard

    def holder_of(self, open_log: OpenLog) -> Shard | None:
        return self._shards.holder(self._store.keys.live(open_log.name))

    def canary_log(self, shard: Shard) -> tuple[OpenLog, str]:
        """A new log for a canary, in a slot of the shard, and the log's channel."""
        while True:
            open_log = OpenLog(f"canary:{secrets.token_hex(8)}")
            if self.holder_of(open_log) is shard:
                return open_log, self._store.keys.live(open_log.name)

    def _home_of(self, open_log: OpenLog) -> ShardLink | None:
        holder = self.holder_of(open_log)
        return self._links.get(holder.name) if holder else None

    def _look(self) -> None:
        while self._is_look_due:
            self._is_look_due = False
            try:
                self._shards.refresh()
            except BelfryError as error:
                logger.info("the shards can't be looked up: %s", error.__cause__ or error.detail)
                self.canaries.refuse(no_cluster() if has_no_cluster(error) else None, error.detail)
                self._is_look_due = True
                gevent.sleep(RETRY_SECONDS)
            else:
                self.canaries.refuse(None)
            self.settle()
