"""Runs each command on the shard of a cluster that holds its key, and follows redirects to other nodes.

- Commands of one caller for one slot are sent in their order, in one write.
- A node that answers MOVED, ASK, TRYAGAIN or CLUSTERDOWN has not executed the command. So the command is sent again,
  until the caller's time limit. After MOVED and ASK it goes to the named node at once, after the others with a pause.
  Commands that were not refused are not repeated.
- One call sends all its appends to a slot as one command (see `LogStore`). A caller that appends a sequence waits for
  each call before the next one. So the order of a log's appends holds.
- After a lost connection nothing is sent again, because the command may have been executed. The error says so.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Protocol

import gevent
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from ..core.errors import BelfryError
from .auto_pipeline import AutoPipeline, QueuedCall
from .connection import Command, Pending, Reply, checked, unavailable
from .dialect import ClusterDialect
from .shard import Shard
from .slots import Address, slot_of

NO_NAME = "?"  # a cluster that prefers hostnames names a node without one like this
PAUSE_SECONDS = (0.005, 0.1)  # first and longest pause before a refused command is sent again
KEYLESS: Final = ("PING", "WAIT")
ANYWHERE: Final = -1  # the slot of such commands

# `MovedError` is an `AskError`. After any of these errors, the command was not executed.
REFERRALS: Final = (AskError, ClusterDownError, TryAgainError)


class SlotOwners(Protocol):
    """Knows which shards hold the slots, see `Cluster`."""

    def owner(self, slot: int) -> Shard | None: ...
    def at(self, address: Address) -> Shard: ...
    def moved(self, slot: int, address: Address) -> None: ...
    def current(self) -> Sequence[Shard]: ...
    def refresh(self) -> None: ...
    def refresh_soon(self) -> Any: ...


class Step:
    """One command for one shard. `asked` is the shard that an ASK named, for the next try only."""

    __slots__ = ("asked", "command", "reply", "slot")

    def __init__(self, command: Command, slot: int) -> None:
        self.command = command
        self.slot = slot
        self.asked: Shard | None = None
        self.reply: Reply = None


class Done:
    """The replies of commands that were already done when they were posted."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies

    def get(self) -> list[Reply]:
        return self._replies


class Routing:
    """Runs commands on the shards that hold their keys. `pipeline` returns the pipeline that leads to a shard."""

    def __init__(
        self,
        places: SlotOwners,
        pipeline: Callable[[Shard], AutoPipeline],
        dialect: ClusterDialect,
        timeout_seconds: float,
    ) -> None:
        self._places = places
        self._pipeline = pipeline
        self._dialect = dialect
        self._timeout_seconds = timeout_seconds

    def post(self, commands: Sequence[Command]) -> Pending:
        """Run commands after all that were posted before.

        This waits, because later commands must not overtake a command that a node refuses and that is sent again.
        """
        return Done(self.run(commands))

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Run `commands` and return their replies. Raises `BelfryError` `store_unavailable` or `store_full`."""
        plans = [self._plan(command) for command in commands]
        steps = [step for plan in plans for step in plan]
        waits = [step for step in steps if step.command[0] == "WAIT"]
        self._do([step for step in steps if step.command[0] != "WAIT"], waits)
        checked([step.reply for step in steps])
        return [_joined(command, plan) for command, plan in zip(commands, plans, strict=True)]

    def _plan(self, command: Command) -> list[Step]:
        """Return the steps of a command. It has one, unless it asks about channels of several slots."""
        name = command[0]
        if name == "PUBSUB":
            return [*self._numsub(command[2:])]
        if name in KEYLESS:
            return [Step(command, ANYWHERE)]
        return [Step(self._dialect(command), slot_of(command[3 if name == "EVALSHA" else 1]))]

    def _numsub(self, channels: Sequence[str]) -> Iterator[Step]:
        """Yield one question for each shard.

        No node refuses such a question, even if the slots belong to another node. So the result depends on the map.
        """
        by_shard: dict[Shard, list[str]] = defaultdict(list)
        for channel in channels:
            by_shard[self._owner(slot_of(channel))].append(channel)
        for own in by_shard.values():
            yield Step(self._dialect(("PUBSUB", "NUMSUB", *own)), slot_of(own[0]))

    def _owner(self, slot: int) -> Shard:
        """Return the shard that holds `slot`. Raises `BelfryError` `store_unavailable` if no node knows it."""
        owner = self._places.owner(slot)
        if owner is None:
            self._places.refresh()
            owner = self._places.current()[0] if slot == ANYWHERE else self._places.owner(slot)
        if owner is None:
            raise unavailable(ClusterDownError("no primary holds a slot"))
        return owner

    def _do(self, steps: Sequence[Step], waits: Sequence[Step]) -> None:
        """Run all steps. A step that is refused until the time limit has the refusal as its reply."""
        due = time.monotonic() + self._timeout_seconds
        pause = PAUSE_SECONDS[0]
        left = list(steps)
        while True:
            self._send(left, waits)
            left = [step for step in left if isinstance(step.reply, REFERRALS)]
            if not left or time.monotonic() >= due:
                return
            told_where = [self._refer(step) for step in left]
            # Two nodes may redirect to each other for a while.
            if not all(told_where) or pause > PAUSE_SECONDS[0]:
                gevent.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS[1])

    def _send(self, steps: Sequence[Step], waits: Sequence[Step]) -> None:
        """Send each step once, to all shards at the same time, and store the replies."""
        by_shard: dict[Shard, list[Step]] = defaultdict(list)
        for step in steps:
            by_shard[step.asked or self._owner(step.slot)].append(step)
        asked_for = [wait.command for wait in waits]
        posted = [
            (own, self._pipeline(shard).post([*chain.from_iterable(map(_written, own)), *asked_for]))
            for shard, own in by_shard.items()
        ]
        failures = [failure for own, waiting in posted if (failure := self._take(own, waits, waiting))]
        if failures:
            self._places.refresh_soon()
            raise failures[0]

    def _take(self, own: Sequence[Step], waits: Sequence[Step], waiting: QueuedCall) -> BelfryError | None:
        """Store the replies of one shard. Return the error if there are none."""
        try:
            replies = iter(waiting.answers())
        except BelfryError as failure:
            return failure
        for step in own:
            if step.asked:
                next(replies)  # the reply to ASKING
            step.reply = next(replies)
        for wait in waits:
            wait.reply = _fewest(wait.reply, next(replies))
        return None

    def _refer(self, step: Step) -> bool:
        """Prepare to follow a refusal. Return whether it names another node."""
        refusal, asked, step.asked = step.reply, step.asked, None
        if isinstance(refusal, AskError) and refusal.host == NO_NAME:
            self._places.refresh_soon()
            return False
        if isinstance(refusal, MovedError):  # redis-py derives it from `AskError`
            self._places.moved(refusal.slot_id, self._address(refusal, asked or self._owner(step.slot)))
            return True
        if isinstance(refusal, AskError):
            step.asked = self._places.at(self._address(refusal, self._owner(step.slot)))
            return True
        if isinstance(refusal, ClusterDownError):
            self._places.refresh_soon()
        return False

    @staticmethod
    def _address(refusal: AskError, shard: Shard) -> Address:
        """Return the address in a refusal. An empty host stands for the node that answered."""
        return refusal.host or shard.name.rpartition(":")[0], refusal.port


def _written(step: Step) -> tuple[Command, ...]:
    return (("ASKING",), step.command) if step.asked else (step.command,)


def _fewest(before: Reply, reply: Reply) -> Reply:
    """Return the smaller number of replicas. This many have the data on every shard."""
    return reply if before is None or isinstance(reply, Exception) else min(before, reply)


def _joined(command: Command, plan: Sequence[Step]) -> Reply:
    """Return the reply to a command of several steps: channels and numbers, in the order of the question."""
    if command[0] != "PUBSUB":
        return plan[0].reply
    told = [each for step in plan for each in step.reply]
    numbers = dict(zip(told[::2], told[1::2], strict=True))
    return [part for channel in command[2:] for part in (channel.encode(), numbers[channel.encode()])]
