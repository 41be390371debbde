"""Auto-pipelining: the commands of concurrent requests share round trips.

A caller's commands go out at once when a connection is free; whatever comes in while all are busy goes out together
in the next write (as rueidis and ioredis do it). So a lone request waits for nobody, and a thousand at the same moment
cost a few round trips instead of a thousand turns at a pool.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import gevent
from gevent.event import AsyncResult, Event

from app.core.errors import BelfryError
from app.store.connection import RETRY_AFTER_SECONDS, Command, Reply, UnpackableError, checked, pack, unavailable

CONNECTIONS = 2  # one is filled while the other waits for its replies
COMMANDS_PER_WRITE = 400
GRACE_SECONDS = 0.5  # for a caller whose commands had to wait for a round trip that failed

_WAIT = "WAIT"

log = logging.getLogger("belfry.auto_pipeline")


class Sender(Protocol):
    """See `app.store.connection.Connection`."""

    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class _Waiting:
    """The commands of one caller, and where it waits for the replies."""

    __slots__ = ("commands", "given_up", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.replies: AsyncResult[list[Reply]] = AsyncResult()
        self.given_up = False


class AutoPipeline:
    """Runs batches of commands like a `Connection`, at most `limit` commands waiting at a time."""

    def __init__(self, sender: Sender, timeout_seconds: float, limit: int) -> None:
        self._sender = sender
        self._timeout_seconds = timeout_seconds + GRACE_SECONDS
        self._limit = limit
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._filled = Event()
        self._greenlets: list[gevent.Greenlet[[], None]] = []

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of `commands`.

        Raises `BelfryError` `store_unavailable`, `overloaded` when too many commands wait already, or
        `internal_error` for commands that can't be sent.
        """
        if self._queued >= self._limit:
            raise BelfryError("overloaded", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        self._start()
        waiting = _Waiting(commands)
        self._queue.append(waiting)
        self._queued += len(commands)
        self._filled.set()
        try:
            waiting.replies.wait(timeout=self._timeout_seconds)
        finally:  # killed as well: what its caller does next must not be overtaken
            waiting.given_up = not waiting.replies.ready()
        if waiting.given_up:
            raise unavailable(TimeoutError())
        return checked(waiting.replies.get() or [])

    def stop(self) -> None:
        """End the round trips; whoever waits gets a timeout."""
        gevent.killall(self._greenlets)

    def _start(self) -> None:
        if not self._greenlets:
            self._greenlets = [gevent.spawn(self._work) for _ in range(CONNECTIONS)]

    def _work(self) -> None:
        while True:
            self._filled.wait()
            batch = self._take()
            if batch:
                self._round_trip(batch)

    def _take(self) -> list[_Waiting]:
        """What fits into one write, without those who have given up: their commands must not be done any more."""
        batch: list[_Waiting] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].commands) <= COMMANDS_PER_WRITE):
            waiting = self._queue.popleft()
            self._queued -= len(waiting.commands)
            if not waiting.given_up:
                batch.append(waiting)
                size += len(waiting.commands)
        if not self._queue:
            self._filled.clear()
        return batch

    def _round_trip(self, batch: Sequence[_Waiting]) -> None:
        commands = [command for waiting in batch for command in waiting.commands]
        try:
            replies = iter(self._answers(commands))
            for waiting in batch:
                waiting.replies.set([next(replies) for _ in waiting.commands])
        except UnpackableError:
            self._round_trip_of_packable(batch)
        except BelfryError as error:
            _refuse(batch, error)
        except Exception as error:
            # Else this greenlet would end, and after the last of them every caller would wait in vain.
            log.exception("a round trip failed")
            _refuse(batch, unavailable(error))

    def _round_trip_of_packable(self, batch: Sequence[_Waiting]) -> None:
        """Refuse only those whose own commands can't be sent: not to be repeated, for they never can."""
        refused = [waiting for waiting in batch if not _packable(waiting.commands)]
        log.error("%d of %d callers have commands that can't be sent", len(refused), len(batch))
        _refuse(refused or batch, BelfryError("internal_error"))
        rest = [waiting for waiting in batch if waiting not in refused] if refused else []
        if rest:
            self._round_trip(rest)

    def _answers(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of one write. What asks for replicas (`WAIT`) is asked once, last: each would wait in turn.

        It counts the replicas that have all that this connection wrote before, hence also what each caller wrote.
        """
        waits = [at for at, command in enumerate(commands) if command[0] == _WAIT]
        if len(waits) < 2:
            return self._sender.send(commands)
        *replies, reached = self._sender.send([*[each for each in commands if each[0] != _WAIT], commands[waits[-1]]])
        for at in waits:
            replies.insert(at, reached)
        return replies


def _packable(commands: Sequence[Command]) -> bool:
    try:
        pack(commands)
    except UnpackableError:
        return False
    return True


def _refuse(batch: Sequence[_Waiting], error: BelfryError) -> None:
    """Tell each caller; in an error of its own, for what one adds to it is not for the others' clients."""
    for waiting in batch:
        waiting.replies.set_exception(BelfryError(error.code, error.detail, headers=error.headers))
