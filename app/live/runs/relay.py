"""The runs of this worker: each reads its upstream and appends to its log, whether or not anybody watches.

The relay also ends the runs of workers that died. A producer follows its own log through the hub, so it learns at once
when any worker ends the run.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import gevent
from gevent import Greenlet

from ... import metrics
from ...core.completion import CompletionRequest, Forwarded
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.upstreams import Upstream, Upstreams
from ...store.conversations.conversations import Asked
from ...store.runs.runs import ACTIVE_SECONDS, LOOK_SECONDS, LOST, STOPPED, Ending, RunName, Runs, Written
from ..delivery.hub import Hub
from ..loop import Loop
from ..streams.streams import RETRY_AFTER_SECONDS
from .call import Call
from .completion_stream import CompletionStream
from .pass_through import PassThrough
from .producer import Producer
from .run_writer import RunWriter
from .upstream_client import UpstreamClients
from .whole_answer import WholeAnswer

LOOKS_BEFORE_LOST = 3  # at an expired lease: after an outage of the store, living producers renew theirs first
ACTIVE_RENEWAL_SECONDS = ACTIVE_SECONDS / 3
DRAIN_LOOK_SECONDS = 0.05
FINAL_SECONDS = 1.0  # for the endings of what a stopping worker can't finish

logger = logging.getLogger("belfry.relay")


class Relay:
    """One per worker. `announce` tells a user of a run that ended while nobody watched it."""

    def __init__(
        self,
        runs: Runs,
        hub: Hub,
        upstreams: Upstreams,
        announce: Callable[[RunName, Ending, str], None],
        settings: Settings,
    ) -> None:
        self._runs = runs
        self._hub = hub
        self._upstreams = upstreams
        self._announce = announce
        self._settings = settings
        self.clients = UpstreamClients(settings)
        self.writer = RunWriter(runs)
        self._producers: dict[RunName, Producer] = {}
        self._direct: dict[RunName, Call | None] = {}  # None: the upstream was not asked yet
        self._starting = 0  # asked of the store, and no producers yet
        self._draining = False
        self._closing = False  # the time to come to an end is over
        self._looks: Counter[RunName] = Counter()
        self._active_at = 0.0  # when the streams of runs were last noted as active
        self._loop = Loop(self._renew, lambda: gevent.sleep(LOOK_SECONDS), "leases can't be renewed", logger)

    def __len__(self) -> int:
        return len(self._producers)

    def start(self) -> None:
        """Renew leases and watch those of others. A second call has no effect."""
        if not self._loop.running:
            self._active_at = time.monotonic()
            self._loop.start()

    def begin(self, name: RunName, request: CompletionRequest, asked: Asked | None = None) -> bool:
        """Start a run, of the question `asked` in a conversation if it is one; False when it was started before.

        Raises as `Runs.start`, and also `model_unknown` and `shutting_down`.
        """
        self._require_lasting()
        upstream = self._upstreams.choose(request.model)
        self._starting += 1
        try:
            if not self._runs.start(name, request, asked):
                return False
        finally:  # no switch lies between this and the producer: `drain` sees the one or the other
            self._starting -= 1
        if self._closing:  # while the store was asked: `drain` found no producer to abandon
            return self._start_too_late(name, asked)
        producer = Producer(self, self._runs, self._hub, name, self._settings)
        self._producers[name] = producer
        metrics.COMPLETIONS.labels("run").inc()
        producer.begin(self.request_stream(upstream, request, producer.filled))
        return True

    def is_producing(self, name: RunName) -> bool:
        """Whether this worker is producing a run. A run that `begin` started may have failed already."""
        return name in self._producers

    def _start_too_late(self, name: RunName, asked: Asked | None) -> bool:
        """Undo the start of a run, and raise `shutting_down`.

        A question stays in its conversation. A refusal would deny that, so the run counts as started and its end tells
        of the failure.
        """
        if asked is None:
            self._runs.take_back(name)
            raise shutting_down()
        self._runs.end(name, LOST)
        return True

    def stop_run(self, name: RunName) -> Written:
        """End a run, whichever worker produces it. An ended run stays unchanged. Raises `store_unavailable`."""
        producer = self._producers.get(name)
        ending = producer.stopped() if producer is not None else STOPPED
        written = self._runs.end(name, ending)
        if written.taken:
            _count(ending)
        return written

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
        metrics.COMPLETIONS.labels("direct").inc()

    def stream(self, name: RunName, upstream: Upstream, request: CompletionRequest) -> CompletionStream:
        """Ask for a streamed answer to an admitted request."""
        stream = self._direct[name] = self.request_stream(upstream, request)
        return stream

    def ask(self, name: RunName, upstream: Upstream, request: CompletionRequest) -> WholeAnswer:
        """Ask for an answer in one piece to an admitted request."""
        answer = self._direct[name] = WholeAnswer(self.clients.of(upstream), request)
        return answer

    def forward(self, name: RunName, upstream: Upstream, request: Forwarded) -> PassThrough:
        """Forward an admitted request that is not chat."""
        answer = self._direct[name] = PassThrough(self.clients.of(upstream), request)
        return answer

    def release(self, name: RunName, tokens: int) -> None:
        """The request has ended. A second call has no effect."""
        if name not in self._direct:
            return
        del self._direct[name]
        metrics.TOKENS.inc(tokens)
        try:
            self._runs.release(name.user, name.id, tokens)
        except BelfryError as error:
            logger.warning("%d tokens of %r are not counted: %s", tokens, name.user, error.detail)

    def choose(self, model: str) -> Upstream:
        """Raises `BelfryError` `model_unknown`."""
        return self._upstreams.choose(model)

    def request_stream(
        self, upstream: Upstream, request: CompletionRequest, notify: Callable[[], None] | None = None
    ) -> CompletionStream:
        """Ask an upstream for a streamed answer; `notify` as `CompletionStream` has it."""
        return CompletionStream(self.clients.of(upstream), request, notify)

    # Ending

    def drain(self) -> None:
        """This worker stops: give its completions as much time as streams, and tell their readers how they ended."""
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
        """Raise `shutting_down` if this worker stops. Otherwise make sure that leases are renewed."""
        if self._draining:
            raise shutting_down()
        self.start()

    def stop(self) -> None:
        """End everything without telling anyone."""
        gevent.killall([producer.greenlet for producer in self._producers.values()])
        self._loop.stop()
        self.writer.stop()

    def ended(self, name: RunName, ending: Ending, written: Written, *, watched: bool) -> None:
        """A run was ended here. Tells the user, unless somebody watched, or somebody else ended it otherwise."""
        if written.taken:
            _count(ending)
        if written.status == ending.status and not watched:
            try:
                self._announce(name, ending, written.turn.partition(" ")[2])
            except BelfryError as error:
                logger.warning("%r was not told that run %s ended: %s", name.user, name.id, error.detail)

    def forget(self, name: RunName) -> None:
        """A producer is done."""
        del self._producers[name]

    # Leases

    def _renew(self) -> None:
        self._look()
        if time.monotonic() - self._active_at > ACTIVE_RENEWAL_SECONDS:
            self._active_at = time.monotonic()
            self._runs.keep_active([*self._producers, *self._direct])

    def _look(self) -> None:
        ended, expired = self._runs.renew(self._producers)
        for name in ended:
            if name in self._producers:
                self._producers[name].interrupt()
        self._looks = Counter({name: self._looks[name] + 1 for name in expired})
        for name in [name for name, looks in self._looks.items() if looks >= LOOKS_BEFORE_LOST]:
            written = self._runs.end(name, LOST)
            if written.taken:
                logger.warning("the producer of run %s is gone", name)
            # Also where nothing was taken: it may have been an end of ours whose reply was lost. The bell rings once.
            self.ended(name, LOST, written, watched=written.receivers > 0)


def _count(ending: Ending) -> None:
    metrics.RUNS_ENDED.labels(ending.status).inc()
    metrics.TOKENS.inc(ending.tokens or 0)


def shutting_down() -> BelfryError:
    """The refusal of a worker that stops."""
    return BelfryError("shutting_down", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
