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
    """Return the slot of a key or of a sharded channel."""
    return key_slot(key.encode())


@dataclass(frozen=True, slots=True)
class View:
    """One node's view of the whole cluster: the owner of each slot, the epoch, and whether the cluster works.

    A node that was cut off from the others has an outdated view. `epoch` grows with every failover and migration, so
    the view with the higher epoch is the newer one.
    """

    owners: dict[int, Address]
    epoch: int
    is_ok: bool

    @property
    def primaries(self) -> list[Address]:
        """The owners of slots, in the order of their first slot."""
        return list(dict.fromkeys(self.owners[slot] for slot in sorted(self.owners)))


def view_of(slots: Sequence[Any], info: bytes, asked: Address) -> View:
    """Read the replies of the node at the address `asked` to CLUSTER SLOTS and CLUSTER INFO.

    An empty host stands for the node that was asked. `?` stands for a node whose hostname is not known, although the
    cluster prefers hostnames. Its IP address may follow.
    """
    owners: dict[int, Address] = {}
    for first, last, (host, port, *more), *_ in slots:
        name = _ip(more) if host == b"?" else host or b""
        if name is not None:
            owners.update(dict.fromkeys(range(first, last + 1), (name.decode() or asked[0], port)))
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return View(owners, int(fields.get("cluster_current_epoch", 0)), fields.get("cluster_state") == "ok")


def _ip(more: Sequence[Any]) -> bytes | None:
    """Return the IP address from what follows a node's port: its id, then names and values. None if there is none."""
    told = more[1] if len(more) > 1 else ()
    return dict(zip(told[::2], told[1::2], strict=False)).get(b"ip")


class SlotMap:
    """The owner of each slot, as far as this process knows."""

    def __init__(self) -> None:
        self._owners: dict[int, Address] = {}
        self._epoch = -1

    def owner(self, slot: int) -> Address | None:
        """Return the owner of a slot, or None if no node has reported it yet."""
        return self._owners.get(slot)

    @property
    def primaries(self) -> list[Address]:
        """Every owner once, in the order of its first slot."""
        return list(dict.fromkeys(self._owners[slot] for slot in sorted(self._owners)))

    def is_news(self, view: View) -> bool:
        """Return whether to trust a view at once: its node reports a working cluster, and the view is not outdated."""
        return view.is_ok and view.epoch >= self._epoch

    def learn(self, view: View) -> bool:
        """Take over a node's view. Return whether an owner changed.

        If a slot has no owner in the view, it keeps the former one: its primary failed, and no replica took over yet.
        """
        self._epoch = view.epoch
        owners = {**self._owners, **view.owners}
        changed = owners != self._owners
        self._owners = owners
        return changed

    def moved(self, slot: int, address: Address) -> None:
        """Note that a node reported this owner of the slot."""
        self._owners[slot] = address


def best(views: Iterable[View]) -> View | None:
    """Return the view to trust: the newest one of the nodes that say that the cluster works.

    Otherwise the newest of all.
    """
    return max(views, key=lambda view: (view.is_ok, view.epoch), default=None)
