"""Watches all parked sockets of a worker through one epoll, itself watched by one libev watcher.

A watcher per socket would cost more memory than everything else about an idle connection.
"""

from __future__ import annotations

import logging
import select
from typing import TYPE_CHECKING, Protocol

import gevent
from gevent import monkey

if TYPE_CHECKING:
    from collections.abc import Callable

# gevent hides select.epoll because polling it would block the loop. Here the loop itself watches the epoll's
# descriptor, and it is only ever asked for what is ready. A system without epoll has no original either.
try:
    _epoll = monkey.get_original("select", "epoll") if monkey.is_module_patched("select") else select.epoll
except AttributeError:
    _epoll = None

AVAILABLE = _epoll is not None  # Linux; elsewhere streams are generators

_IN, _OUT, _ERR, _HUP, _RDHUP = 0x001, 0x004, 0x008, 0x010, 0x2000  # EPOLL* of <sys/epoll.h>
_READ = 1  # libev's EV_READ
# If many clients hang up at once, these are a millisecond of work. The loop comes back for the rest.
_EVENTS_PER_POLL = 16

logger = logging.getLogger("belfry.poller")


class Polled(Protocol):
    """A descriptor's owner. None of its methods may switch greenlets: they run in the loop."""

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def hung_up(self) -> None: ...


class Poller:
    """The parked sockets by descriptor."""

    def __init__(self) -> None:
        assert _epoll is not None, "look at AVAILABLE first"  # noqa: S101 - for the type checker
        self._epoll = _epoll()
        # By descriptor. The kernel gives out the lowest that is free, so nearly every place is taken.
        self._polled: list[Polled | None] = []
        self._count = 0
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), _READ)
        self._watcher.start(self._dispatch)

    def __len__(self) -> int:
        return self._count

    def add(self, descriptor: int, polled: Polled) -> None:
        """Watch for a hang-up and for bytes, which a stream's client has no reason to send.

        Raises `OSError` where the kernel watches no more; nothing was changed then.
        """
        self._epoll.register(descriptor, _IN | _RDHUP)
        self._polled.extend([None] * (descriptor + 1 - len(self._polled)))
        self._polled[descriptor] = polled
        self._count += 1

    def want_write(self, descriptor: int, wanted: bool) -> None:
        """Watch, or no longer watch, for room to write."""
        self._epoll.modify(descriptor, _IN | _RDHUP | (_OUT if wanted else 0))

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor; before it is closed, since its number is used again at once."""
        self._polled[descriptor] = None
        self._count -= 1
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching."""
        self._watcher.stop()
        self._watcher.close()
        self._epoll.close()

    def _dispatch(self) -> None:
        for descriptor, events in self._epoll.poll(0, _EVENTS_PER_POLL):
            for wanted, call in _CALLS:
                # An earlier call, or an earlier event of this round, may have closed it.
                polled = self._polled[descriptor]
                if polled is not None and events & wanted:
                    _guarded(call, polled)


def _guarded(call: Callable[[Polled], None], polled: Polled) -> None:
    """gevent stops an I/O watcher whose callback raised: trouble with one client would leave all others unwatched."""
    try:
        call(polled)
    except Exception:
        logger.exception("a parked socket failed")


_CALLS: tuple[tuple[int, Callable[[Polled], None]], ...] = (
    (_HUP | _ERR | _RDHUP, lambda polled: polled.hung_up()),
    (_OUT, lambda polled: polled.writable()),
    (_IN, lambda polled: polled.readable()),
)
