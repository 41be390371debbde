"""The messages that one write gives to the readers of a log: which reader takes which of them, encoded once for many.

Nothing here switches greenlets or writes; `FanOut` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import metrics
from ...core.log import catch_up
from ...core.log.catch_up import LIVE_ONLY, Rest
from ...core.log.cursor import Position, Vector, replace
from ...core.message import published_at
from ...core.wire import frames
from ..streams.subscriber import OpenLog, Subscriber

PLANS_MAX = 64  # readers at one place share a frame; where each has its own, only so many are kept

_UNTYPED = b"message "
_FIGURES = frames.FIGURES + b" "  # a point for the dashboards is not counted

Heard = tuple[Position, bytes]


class Share:
    """What readers at one place take of a batch, and how many of them there were."""

    __slots__ = ("ends", "readers", "rest")

    def __init__(self, rest: Rest, ends: bool) -> None:
        self.rest = rest
        self.ends = ends
        self.readers = 0


Plan = tuple[bytes, Vector, Share]


class Batch:
    """Entries of one log, in the order in which they were heard, on their way to its readers.

    Readers at the same place share one plan, so a frame is encoded once for all tabs of a user.
    """

    __slots__ = ("_blocks", "_heard", "_log", "_plans", "_shares", "_typed", "_unnamed")

    def __init__(self, open_log: OpenLog, heard: Sequence[Heard], shares: dict[Position, Share] | None = None) -> None:
        """`shares` are those of the same entries as other readers get them, in another form."""
        self._log = open_log
        self._heard = heard
        self._blocks: Sequence[bytes] = ()
        self._shares: dict[Position, Share] = {} if shares is None else shares
        self._plans: dict[Vector, Plan] = {}
        # Whether a record has a type of its own. If not, all readers take the same frames.
        self._typed = shares is None and not all(record.startswith(_UNTYPED) for _, record in heard)
        self._unnamed: Batch | None = None

    def plan(self, subscriber: Subscriber) -> Plan:
        """The bytes for a reader, where it stands afterwards, and what it shares with others in its place."""
        if self._typed and subscriber.unnamed:
            return self._for_unnamed().plan(subscriber)
        vector = subscriber.vector
        plan = self._plans.get(vector)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = self._plans[vector] = self._planned(vector, subscriber.logs.index(self._log))
        return plan

    def count(self, now: Callable[[], float]) -> None:
        """Count its messages once their last reader here was written to; the time from their publishing is until then.

        They were published by the clock of the machine that took them, and to the millisecond.
        """
        readers: dict[int, int] = {}
        for share in self._shares.values():
            for index in share.rest.taken:
                readers[index] = readers.get(index, 0) + share.readers
        for index, count in readers.items():
            record = self._heard[index][1]
            published = published_at(record) if count else None
            if published is not None and not record.startswith(_FIGURES):
                metrics.TALLY.delivered(count, now() - published)

    def _for_unnamed(self) -> Batch:
        """Return the same entries for readers that want every message as an event of the type `message`."""
        if self._unnamed is None:
            heard = [(live, frames.unnamed(record)) for live, record in self._heard]
            self._unnamed = Batch(self._log, heard, self._shares)
        return self._unnamed

    def _planned(self, vector: Vector, at: int) -> Plan:
        share = self._shares.get(vector[at])
        if share is None:
            share = self._shares[vector[at]] = self._share(vector[at])
        rest = share.rest
        after = vector if rest.position is vector[at] else replace(vector, rest.position, at)
        if len(self._heard) > 1:
            return self._joined(vector, at, rest), after, share
        if not rest.taken:
            return b"", after, share
        live, record = self._heard[0]
        return frames.live_only(record) if live.offset == LIVE_ONLY else frames.message(after, record), after, share

    def _share(self, position: Position) -> Share:
        rest = catch_up.on_live(position, [live for live, _ in self._heard])
        return Share(rest, self._log.finite and frames.END in [self._heard[index][1] for index in rest.taken])

    def _joined(self, vector: Vector, at: int, rest: Rest) -> bytes:
        if not self._blocks:
            self._blocks = [frames.live_only(record) for _, record in self._heard]
        place = frames.LogFramer(vector, at, rest.position.epoch)
        taken = [(self._heard[index][0].offset, self._blocks[index]) for index in rest.taken]
        return b"".join([block if offset == LIVE_ONLY else place.block(offset, block) for offset, block in taken])
