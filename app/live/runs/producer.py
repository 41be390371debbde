"""A run's producer: reads one upstream answer into one run's log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import gevent
from gevent import Greenlet
from gevent.event import Event

from ...core.completion import kept_usage
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...store.runs.runs import STOPPED, Append, Ending, RunName, Runs, Written
from ..delivery.hub import Hub
from .completion_stream import CompletionStream
from .run_writer import RunWriter

STORE_RETRY_SECONDS = 0.2
RETRIED = {"store_unavailable", "store_full", "overloaded"}

logger = logging.getLogger("belfry.relay")


class RunOwner(Protocol):
    """The object that started the producer."""

    writer: RunWriter

    def ended(self, name: RunName, ending: Ending, written: Written, *, watched: bool) -> None:
        """A run ended on this worker."""

    def forget(self, name: RunName) -> None:
        """A producer has ended."""


class Producer:
    """One run under way.

    The writer takes its chunks and appends them with those of others. Its greenlet sleeps until the answer ends, or
    until an append failed, which it then repeats by itself: one run's trouble is no other's.
    """

    _stream: CompletionStream

    def __init__(self, relay: RunOwner, runs: Runs, hub: Hub, name: RunName, settings: Settings) -> None:
        self._relay = relay
        self._runs = runs
        self._hub = hub
        self._name = name
        self._left_bytes = settings.max_answer_bytes
        self._top = 0
        self._records: list[bytes] = []  # taken, and not known to be in the store
        self._troubled = False
        self._lost = False  # the store lacks what was appended before
        self._over = False
        self._turn = Event()
        (self._log,) = hub.join([name.log])
        self._log.watch(self)
        self.greenlet: Greenlet[[], None] = Greenlet(self._run)
        self.greenlet.rawlink(self._leave)

    def begin(self, stream: CompletionStream) -> None:
        """Read this one."""
        self._stream = stream
        self.greenlet.start()

    def filled(self) -> None:
        """The stream has something to take, or has ended: then what is left goes with the ending."""
        if self._stream.ended:
            self._turn.set()
        else:
            self._relay.writer.add(self)

    def set(self) -> None:
        """The hub tells that something was appended to the run's log."""
        if self._log.ended:
            self.interrupt()

    def interrupt(self) -> None:
        """Another worker or user ended the run: close the upstream at once."""
        self._over = True
        self._stream.close()
        self._turn.set()

    def abandon(self) -> None:
        """This worker stops."""
        self.greenlet.kill(BelfryError("producer_lost"), block=False)

    # For the writer

    def take(self) -> Append | None:
        if self._records or self._stream.ended or self._lost or self._over:
            return None
        self._take()
        return Append(self._name, self._top + 1, self._records) if self._records else None

    def written(self, written: Written) -> None:
        # Unless the ending, which has the same records, was faster.
        self._records = []
        self._top = written.top
        if written.lost:
            self._lost = True
            self._turn.set()
        elif not written.taken:
            self.interrupt()

    def unwritten(self) -> None:
        self._troubled = True
        self._turn.set()

    def _run(self) -> None:
        try:
            ending = self._produce()
            if not self._over:
                self._finish(ending)
        except Exception:
            logger.exception("run %s failed", self._name)  # its lease runs out, and it is ended then

    def _leave(self, _greenlet: object) -> None:
        self._stream.close()
        self._relay.forget(self._name)
        self._log.unwatch(self)
        self._hub.leave([self._log])

    def _produce(self) -> Ending:
        """Wait until the answer ends; answers how it did."""
        try:
            while not (self._over or self._stream.ended):
                self._turn.wait()
                self._turn.clear()
                self._look()
            self._take()
            self._look()
            self._stream.take(0)  # raises what went wrong
        except BelfryError as error:
            return self._ending(error)
        return self._ending()

    def _look(self) -> None:
        """Raises `BelfryError` if this can't go on."""
        if self._left_bytes < 0:
            raise BelfryError("answer_too_large")
        self._require_whole()
        if self._troubled:
            self._repeat()
            self._require_whole()

    def _require_whole(self) -> None:
        if self._lost:
            raise BelfryError("answer_lost")

    def _take(self) -> None:
        """Take the stream's chunks, unless the store lost those before them. Too many wake the greenlet."""
        if self._lost:
            return
        records = [b"message " + chunk.encode() for chunk in self._stream.take_now()]
        self._left_bytes -= sum(map(len, records))
        if self._left_bytes < 0:
            self._turn.set()
        else:
            self._records = [*self._records, *records]

    def _ending(self, error: BelfryError | None = None) -> Ending:
        return self._counted(Ending.failed(error) if error else Ending("done"))

    def stopped(self) -> Ending:
        """The ending of the run if its user stops it now."""
        return self._counted(STOPPED)

    def _counted(self, ending: Ending) -> Ending:
        tokens = self._stream.tokens
        return replace(ending, usage=kept_usage(self._stream.answer.usage) if tokens else None, tokens=tokens)

    def _repeat(self) -> None:
        """Append the chunks that the writer could not append."""
        append = Append(self._name, self._top + 1, self._records)
        written = self._persist(lambda: self._runs.append_all([append])[0])
        self._troubled = False
        self.written(written)
        self._relay.writer.add(self)

    def _finish(self, ending: Ending) -> None:
        watched_here = bool(self._log.members)  # before: the last record sends them away
        # What the writer may be appending at this moment goes along: it is added once, whichever comes first.
        # No switch lies between taking the last chunks and this line, so nothing of them was dropped as written.
        first, records = self._top + 1, self._records
        written = self._persist(lambda: self._runs.end(self._name, ending, first, records))
        if written.lost:
            lost = ending = self._ending(BelfryError("answer_lost"))
            written = self._persist(lambda: self._runs.end(self._name, lost))
        # The producer's own worker always hears its log.
        self._relay.ended(self._name, ending, written, watched=watched_here or written.receivers > 1)

    def _persist(self, write: Callable[[], Written]) -> Written:
        """Write until the store has it. Repeating adds nothing twice. Meanwhile the stream's buffer fills."""
        while True:
            try:
                return write()
            except BelfryError as error:
                if error.code not in RETRIED:
                    raise
                logger.info("run %s waits for the store: %s", self._name, error.detail)
            gevent.sleep(STORE_RETRY_SECONDS)
