"""The last descriptors of a worker: kept for its own connections to Redis, and before that for requests.

Without a reserve, clients that wait to be accepted take every descriptor that comes free. A worker whose link to Redis
was cut then never gets it back, and holds streams that it can't serve.

POSIX gives out the lowest free descriptor (open(2)), so the number of a new one tells how many there are at least.
"""

from __future__ import annotations

import resource
from typing import Final

from ..core.errors import BelfryError

# Of Belfry itself: the hub's link, the pool for commands, the poller, connections to upstreams, a file or two.
OWN = 32
# Requests that come and go: what was published must still find its way to the streams that fill the worker.
REQUESTS = 32
REFUSAL: Final = BelfryError(
    "too_many_connections",
    "This worker has no descriptor left.",
    headers={"Retry-After": "5", "Connection": "close"},
)


def spent(descriptor: int) -> bool:
    """Whether a connection with this descriptor takes one of Belfry's own."""
    return descriptor >= _limit() - OWN


def spent_for_streams(descriptor: int) -> bool:
    """Whether a stream on this descriptor would take one that requests need."""
    return descriptor >= _limit() - OWN - REQUESTS


def _limit() -> int:
    """Read each time: an administrator may lift it while the worker runs (prlimit(1))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30
