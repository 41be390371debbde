"""Which primary of a Redis Cluster holds which slot: pure decisions, without a socket.

A cluster spreads 16,384 slots over its primaries. A key's slot follows from its hash tag, the part in braces, so that
all keys of one log share a slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS

Address = tuple[str, int]


def slot_of(key: str) -> int:
    """The slot of a key or of a sharded channel."""
    return key_slot(key.encode())


@dataclass(frozen=True, slots=True)
class View:
    """What one node says of the whole cluster: the owner of each slot, the time of its knowledge, and its judgement.

    A node that was cut off from the others tells an old story. `epoch` grows with every failover and migration, so the
    higher one is the newer one.
    """

    owners: dict[int, Address]
    epoch: int
    is_ok: bool

    @property
    def primaries(self) -> list[Address]:
        """The owners of slots, in the order of their first slot."""
        return list(dict.fromkeys(self.owners[slot] for slot in sorted(self.owners)))


def view_of(slots: Sequence[Any], info: bytes, asked: Address) -> View:
    """Read the replies to CLUSTER SLOTS and CLUSTER INFO of the node at the address `asked`.

    An empty host stands for the one that was asked; `?` for one that nobody knows.
    """
    owners: dict[int, Address] = {}
    for first, last, (host, port, *_), *_ in slots:
        name = host.decode() if host else asked[0]
        if name != "?":
            owners.update(dict.fromkeys(range(first, last + 1), (name, port)))
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return View(owners, int(fields.get("cluster_current_epoch", 0)), fields.get("cluster_state") == "ok")


class SlotMap:
    """The owner of each slot, as far as it is known here."""

    def __init__(self) -> None:
        self._owners: dict[int, Address] = {}
        self._epoch = -1

    def owner(self, slot: int) -> Address | None:
        """None: nobody told yet."""
        return self._owners.get(slot)

    @property
    def primaries(self) -> list[Address]:
        """Every owner once, in the order of its first slot."""
        return list(dict.fromkeys(self._owners[slot] for slot in sorted(self._owners)))

    def is_news(self, view: View) -> bool:
        """Whether a view is to be believed at once: its node works, and it is not older than what is known."""
        return view.is_ok and view.epoch >= self._epoch

    def learn(self, view: View) -> bool:
        """Take a node's view over; answers whether an owner changed.

        A slot that has no owner in it keeps the former one: its primary failed, and no replica took over yet.
        """
        self._epoch = view.epoch
        owners = {**self._owners, **view.owners}
        changed = owners != self._owners
        self._owners = owners
        return changed

    def moved(self, slot: int, address: Address) -> None:
        """A node said that the slot lies there."""
        self._owners[slot] = address


def best(views: Iterable[View]) -> View | None:
    """The one to believe: of nodes that consider the cluster to work the one with the newest knowledge."""
    return max(views, key=lambda view: (view.is_ok, view.epoch), default=None)
