"""The runs of this worker: each reads its upstream and appends to its log, whoever watches.

It also looks after the runs of workers that died. A producer follows its own log through the hub: whoever ends the
run, on whatever worker, is heard there at once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import gevent
from gevent import Greenlet
from gevent.event import Event

from app.core.completion import CompletionRequest
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream, Upstreams
from app.live.delivery.hub import Hub
from app.live.runs.run_writer import RunWriter
from app.live.runs.upstream import Exchange, WholeAnswer, open_session
from app.live.streams.streams import RETRY_AFTER_SECONDS
from app.store.runs.runs import ACTIVE_SECONDS, LOOK_SECONDS, LOST, STOPPED, Append, Ending, RunName, Runs, Written

STORE_RETRY_SECONDS = 0.2
LEAST_WAIT_SECONDS = 0.05  # for an overdue token that came and was not taken yet
LOOKS_BEFORE_LOST = 3  # at an expired lease: after an outage of the store, living producers renew theirs first
ACTIVE_RENEWAL_SECONDS = ACTIVE_SECONDS / 3
RETRIED = {"store_unavailable", "store_full", "overloaded"}
DRAIN_LOOK_SECONDS = 0.05
FINAL_SECONDS = 1.0  # for the endings of what a stopping worker can't finish

log = logging.getLogger("belfry.relay")


class Relay:
    """One per worker. `announce` tells a user of a run that ended while nobody watched it."""

    def __init__(
        self,
        runs: Runs,
        hub: Hub,
        upstreams: Upstreams,
        announce: Callable[[RunName, Ending], None],
        settings: Settings,
    ) -> None:
        self._runs = runs
        self._hub = hub
        self._upstreams = upstreams
        self._announce = announce
        self._settings = settings
        self.session = open_session()
        self.writer = RunWriter(runs)
        self._producers: dict[RunName, Producer] = {}
        self._direct: dict[RunName, Exchange | WholeAnswer | None] = {}  # None: the upstream was not asked yet
        self._starting = 0  # asked of the store, and no producers yet
        self._draining = False
        self._closing = False  # the time to come to an end is over
        self._looks: Counter[RunName] = Counter()
        self._greenlet: Greenlet[[], None] | None = None

    def __len__(self) -> int:
        return len(self._producers)

    def start(self) -> None:
        """Renew leases and look after those of others; again has no effect."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._beat)

    def begin(self, name: RunName, request: CompletionRequest) -> bool:
        """Start a run; False when the same request started it before.

        Raises as `Runs.start`, and also `model_unknown` and `shutting_down`.
        """
        self._require_lasting()
        upstream = self._upstreams.choose(request.model)
        self._starting += 1
        try:
            if not self._runs.start(name, request):
                return False
        finally:  # no switch lies between this and the producer: `drain` sees the one or the other
            self._starting -= 1
        producer = Producer(self, self._runs, self._hub, name, self._settings)
        self._producers[name] = producer
        producer.begin(self.exchange(upstream, request, producer.filled))
        return True

    def stop_run(self, name: RunName) -> Written:
        """End a run, wherever it is produced; one that has ended stays as it is. Raises `store_unavailable`."""
        return self._runs.end(name, STOPPED)

    # Completions that are answered to who asked, and kept nowhere

    def admit(self, name: RunName) -> None:
        """Count one against its user's limits. Raises like `Runs.admit`, and `shutting_down`."""
        self._require_lasting()
        self._direct[name] = None  # from here on `drain` waits for it, though the store may refuse it
        try:
            self._runs.admit(name.user, name.id)
        except BaseException:
            del self._direct[name]
            raise
        if self._closing:  # while the store was asked: `drain` found nothing to abandon
            self.release(name, 0)
            raise shutting_down()

    def stream(self, name: RunName, upstream: Upstream, request: CompletionRequest) -> Exchange:
        """Ask for the streamed answer to what was admitted."""
        exchange = self._direct[name] = self.exchange(upstream, request)
        return exchange

    def ask(self, name: RunName, upstream: Upstream, request: CompletionRequest) -> WholeAnswer:
        """Ask for the answer in one piece to what was admitted."""
        answer = self._direct[name] = WholeAnswer(self.session, upstream, request, self._settings)
        return answer

    def release(self, name: RunName, tokens: int) -> None:
        """It is over; again has no effect."""
        if name not in self._direct:
            return
        del self._direct[name]
        try:
            self._runs.release(name.user, name.id, tokens)
        except BelfryError as error:
            log.warning("%d tokens of %r are not counted: %s", tokens, name.user, error.detail)

    def choose(self, model: str) -> Upstream:
        """Raises `BelfryError` `model_unknown`."""
        return self._upstreams.choose(model)

    def exchange(
        self, upstream: Upstream, request: CompletionRequest, notify: Callable[[], None] | None = None
    ) -> Exchange:
        """Ask an upstream for a streamed answer; `notify` as the exchange has it."""
        return Exchange(self.session, upstream, request, self._settings, notify)

    # Ending

    def drain(self) -> None:
        """This worker stops: give its completions the time that streams get, and tell their readers how they ended."""
        self._draining = True
        deadline = time.monotonic() + self._settings.drain_seconds
        while (self._producers or self._starting or self._direct) and time.monotonic() < deadline:
            gevent.sleep(DRAIN_LOOK_SECONDS)
        self._closing = True
        left = list(self._producers.values())
        for producer in left:
            producer.abandon()
        gevent.joinall([*[producer.greenlet for producer in left], *self._abandon_direct()], FINAL_SECONDS)
        self.stop()

    def _abandon_direct(self) -> list[Greenlet[..., None]]:
        """End all that passes through; answers who releases it, since its client may take no answer any more."""
        left = [(name, answer) for name, answer in self._direct.items() if answer is not None]
        for _, answer in left:
            answer.abandon(shutting_down())
        return [gevent.spawn(self.release, name, answer.tokens) for name, answer in left]

    def _require_lasting(self) -> None:
        """Take nothing on that nobody would look after any more."""
        if self._draining:
            raise shutting_down()
        self.start()

    def stop(self) -> None:
        """End everything, without a word to anyone."""
        gevent.killall([producer.greenlet for producer in self._producers.values()])
        if self._greenlet is not None:
            gevent.kill(self._greenlet)
        self.writer.stop()

    def ended(self, name: RunName, ending: Ending, written: Written, *, watched: bool) -> None:
        """A run was ended here. Tells the user, unless somebody watched, or somebody else ended it otherwise."""
        if written.status == ending.status and not watched:
            try:
                self._announce(name, ending)
            except BelfryError as error:
                log.warning("%r was not told that run %s ended: %s", name.user, name.id, error.detail)

    def forget(self, name: RunName) -> None:
        """A producer is done."""
        del self._producers[name]

    # Leases

    def _beat(self) -> None:
        active_at = time.monotonic()
        while True:
            gevent.sleep(LOOK_SECONDS)
            try:
                self._look()
                if time.monotonic() - active_at > ACTIVE_RENEWAL_SECONDS:
                    active_at = time.monotonic()
                    self._runs.keep_active([*self._producers, *self._direct])
            except BelfryError as error:
                log.info("leases can't be renewed: %s", error.detail)
            except Exception:
                log.exception("a look at the leases failed")

    def _look(self) -> None:
        ended, expired = self._runs.renew(self._producers)
        for name in ended:
            if name in self._producers:
                self._producers[name].interrupt()
        self._looks = Counter({name: self._looks[name] + 1 for name in expired})
        for name in [name for name, looks in self._looks.items() if looks >= LOOKS_BEFORE_LOST]:
            written = self._runs.end(name, LOST)
            if written.taken:
                log.warning("the producer of run %s is gone", name)
            # Also where nothing was taken: it may have been an end of ours whose reply was lost. The bell rings once.
            self.ended(name, LOST, written, watched=written.receivers > 0)


def shutting_down() -> BelfryError:
    """The refusal of a worker that stops."""
    return BelfryError("shutting_down", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


class Producer:
    """Reads one upstream answer into one run's log.

    The writer takes its chunks and appends them with those of others. Its greenlet sleeps until the answer ends, or
    until an append failed, which it then repeats by itself: one run's trouble is no other's.
    """

    _exchange: Exchange

    def __init__(self, relay: Relay, runs: Runs, hub: Hub, name: RunName, settings: Settings) -> None:
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

    def begin(self, exchange: Exchange) -> None:
        """Read this one."""
        self._exchange = exchange
        self.greenlet.start()

    def filled(self) -> None:
        """The exchange has something to take, or has ended: then what is left goes with the ending."""
        if self._exchange.ended:
            self._turn.set()
        else:
            self._relay.writer.add(self)

    def set(self) -> None:
        """The hub tells that something was appended to the run's log."""
        if self._log.ended:
            self.interrupt()

    def interrupt(self) -> None:
        """Somebody else ended the run: let go of the upstream at once."""
        self._over = True
        self._exchange.close()
        self._turn.set()

    def abandon(self) -> None:
        """This worker stops."""
        self.greenlet.kill(BelfryError("producer_lost"), block=False)

    # For the writer

    def take(self) -> Append | None:
        if self._records or self._exchange.ended or self._lost or self._over:
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
            log.exception("run %s failed", self._name)  # its lease runs out, and it is ended then

    def _leave(self, _greenlet: object) -> None:
        self._exchange.close()
        self._relay.forget(self._name)
        self._log.unwatch(self)
        self._hub.leave([self._log])

    def _produce(self) -> Ending:
        """Wait until the answer ends; answers how it did."""
        try:
            while not (self._over or self._exchange.ended):
                self._turn.wait(max(LEAST_WAIT_SECONDS, self._exchange.seconds_left))
                self._turn.clear()
                self._look()
            self._take()
            self._look()
            self._exchange.take(0)  # raises what went wrong
        except BelfryError as error:
            return self._ending(error)
        return self._ending()

    def _look(self) -> None:
        """Raises `BelfryError` if this can't go on."""
        if self._left_bytes < 0:
            raise BelfryError("answer_too_large")
        self._require_whole()
        self._exchange.check()
        if self._troubled:
            self._repeat()
            self._require_whole()

    def _require_whole(self) -> None:
        if self._lost:
            raise BelfryError("answer_lost")

    def _take(self) -> None:
        """Take what the exchange has, unless it is too much, or would come behind what the store has lost."""
        if self._lost:
            return
        records = [b"message " + chunk.encode() for chunk in self._exchange.take_now()]
        self._left_bytes -= sum(map(len, records))
        if self._left_bytes < 0:
            self._turn.set()
        else:
            self._records = [*self._records, *records]

    def _ending(self, error: BelfryError | None = None) -> Ending:
        answer = self._exchange.answer
        ending = Ending.failed(error) if error else Ending("done")
        return replace(ending, usage=answer.usage, tokens=answer.tokens)

    def _repeat(self) -> None:
        """Append what the writer could not."""
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
        """Write until the store has it; repeated, it adds nothing twice. Meanwhile the exchange's buffer fills."""
        while True:
            try:
                return write()
            except BelfryError as error:
                if error.code not in RETRIED:
                    raise
                log.info("run %s waits for the store: %s", self._name, error.detail)
            gevent.sleep(STORE_RETRY_SECONDS)
