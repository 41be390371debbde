"""What was sent and what was heard, as a fault run leaves it behind: all that the checker may look at.

Pure values. Times are seconds of one clock that never goes back (`time.monotonic` of the process that recorded), so
that "was acknowledged before the other one was sent" can be said of two messages whoever sent them.

A message is told from others by its *mark*, a text of its own in its `data`, and not by its id: two messages under one
id, of which the second must be refused, have two marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What its publisher knows of a message in the end."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # the publisher gave up asking: it may have been appended or not


@dataclass(frozen=True, slots=True)
class Publication:
    """One message, over all attempts to publish it.

    `logs` are the logs it goes to, such as `user:alice`, `topic:news`, `everyone`. `first_sent` is when its first
    attempt left, `known` when its last one was answered or given up. `offsets` are its places, as acknowledged.
    """

    mark: str
    logs: tuple[str, ...]
    first_sent: float
    known: float
    outcome: Outcome
    offsets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message came in."""

    mark: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Reset:
    """The server said that history was lost in this place."""

    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Hearing:
    """Everything that one subscriber heard, over all of its connections, in order.

    It listens to `logs` and came without a cursor; `since` is when its first `ready` came, so what was sent for the
    first time after that must have come (infinite: none ever came); it left on purpose at `until`, and what was known
    before that must have come. `feed` holds the marks in `GET /feed` when all was over, newest first. `turned_away` are
    the answers to a connect that a client with a valid token and cursor must never get, as `status code`.
    """

    subscriber: str
    logs: tuple[str, ...]
    since: float
    events: tuple[Delivery | Reset, ...]
    feed: tuple[str, ...] = ()
    until: float = math.inf
    turned_away: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Erasure:
    """The store's history was thrown away on purpose (FLUSHALL) between these two times."""

    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Records:
    """One run."""

    publications: tuple[Publication, ...]
    hearings: tuple[Hearing, ...]
    erasures: tuple[Erasure, ...] = ()
