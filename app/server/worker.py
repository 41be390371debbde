"""The life of a gunicorn worker: it starts the parts of the application, accepts connections, and stops without delay.

`ConnectionWorker` serves the connections. Both are imported in gunicorn's master, before anything is patched. So this
file imports nothing of Belfry that touches sockets.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.sock import ssl_context

from .connection_worker import ConnectionWorker
from .gates.listener import REQUEST_BYTES, ConnectionListener, ListenerAddress, has_callers, is_shared, pause
from .sockets import prepare, reserve_table

POLL_SECONDS = 0.05
NOTIFY_SECONDS = 1.0
# While the worker stops, a publisher with an open connection has this time for one more request. Its answer says
# `Connection: close`. To close at once would break requests that are already on their way (RFC 9112, 9.6).
LINGER_SECONDS = 1.0
STORE_SECONDS = 3.0  # how long a start waits for a store that does not answer
LAST_SECONDS = 1.0  # this long before the arbiter kills the worker, it reports its counts
BOOT_SECONDS = 30.0  # how long to wait for a successor, which may never start
# The worker accepts this many connections beyond `worker_connections`, for health checks. Each has `SPARE_SECONDS` to
# send its request; other requests on them are refused.
SPARE_PLACES = 64
ACCEPTS_PER_TURN = 100  # of a worker that stops: no other worker takes these connections

# With default settings the garbage collector stops the worker for 30 ms every few seconds at a thousand messages per
# second, because it visits every imported object. So objects that exist at the start are frozen, young objects are
# collected in small portions, and old ones seldom: a stream that ends leaves no reference cycle. A portion is about as
# large as what concurrent requests hold during a storm of connects. With smaller portions the collector visits those
# objects repeatedly and finds nothing.
COLLECT_AFTER = (10_000, 0, 50)


class BelfryWorker(ConnectionWorker):
    """A worker with a main loop of its own.

    gunicorn's loop checks once a second whether it should stop, and then waits until all connections are closed, idle
    ones included. This one stops at once and waits only for requests.
    """

    booting: Path | None = None  # a file that exists until this worker serves, see `configuration.py`

    def load_wsgi(self) -> None:
        """Load the application, and keep the parts of it that the worker starts and stops."""
        super().load_wsgi()
        parts = self.extensions
        self._hub = parts["belfry.hub"]
        self._streams = parts["belfry.streams"]
        self._relay = parts["belfry.relay"]
        self._models = parts["belfry.models"]
        self._reporter = parts["belfry.reporter"]
        self._deliverer = parts["belfry.deliverer"]
        self._pusher = parts["belfry.pusher"]  # None: Web Push is not set up
        self._concurrency_limit = parts["belfry.concurrency_limit"]

    def run(self) -> None:
        """Serve until told to stop. Then say goodbye to every stream and finish the requests that have begun."""
        self.begin_serving()
        tune_garbage_collector()
        freeze_settings(self.cfg)
        reserve_table()
        self._hub.start()  # a worker without a stream also notices that the store moved
        self._refuse_store()  # before anything writes to it
        self._relay.start()
        self._models.start()
        self._reporter.start()
        self._deliverer.start()
        if self._pusher is not None:
            self._pusher.start()
        servers = [self._listen(listener) for listener in self.sockets]
        self._concurrency_limit.crowded = partial(pause, servers)
        if self.booting is not None:
            self.booting.unlink(missing_ok=True)
        self._wait_for_stop()
        self._announce_stop()
        # On a reload this worker goes on until its successors have loaded. Otherwise callers would wait for them.
        self._wait(
            lambda: not (self._has_successor and any(is_shared(server.socket) for server in servers)), BOOT_SECONDS
        )
        self._drain_and_close(servers)

    def _refuse_store(self) -> None:
        """End the whole server if its first workers find a store that can never be used. The canary has logged why.

        The first worker ends the server, and the others wait for the signal: if a second worker exits with this code
        while gunicorn's arbiter stops, the arbiter fails with a traceback.
        """
        if self.age > self.cfg.workers or not self._hub.canaries.unusable(STORE_SECONDS):
            return
        if self.age == 1:
            sys.exit(Arbiter.APP_LOAD_ERROR)
        self._wait(lambda: not self.alive, 2 * STORE_SECONDS)
        if not self.alive:
            sys.exit()

    def _announce_stop(self) -> None:
        """Serve for a while longer, so that balancers see 503 at `/health/ready` before connections are refused.

        On a reload this is not needed: other workers accept from the same listeners.
        """
        if not any(is_shared(listener) for listener in self.sockets):
            self._streams.leaving = True
            self._wait(lambda: False, self._streams.lame_duck_seconds)

    @property
    def _has_successor(self) -> bool:
        """Whether a successor is starting."""
        return self.booting is not None and any(self.booting.parent.glob("booting-*"))

    def _drain_and_close(self, servers: Sequence[StreamServer]) -> None:
        """Answer all open requests, and those of waiting connections unless another worker will accept them."""
        started = time.monotonic()
        own = [server for server in servers if not is_shared(server.socket)]
        for server in servers:
            if server in own:
                server.max_accept = ACCEPTS_PER_TURN
            else:
                server.close()
        parts = [self._streams.drain, self._relay.drain, self._deliverer.stop]
        parts += [] if self._pusher is None else [self._pusher.stop]
        drains = [gevent.spawn(drain) for drain in parts]
        pools = [server.pool for server in servers]  # including connections accepted a moment ago
        self._wait(lambda: not any(pools) and not any(map(has_callers, own)), LINGER_SECONDS)
        for server in own:
            server.close()
        self.hang_up()
        until = started + self.cfg.graceful_timeout - self._streams.lame_duck_seconds - LAST_SECONDS
        self._wait(lambda: not any(pools) and all(drain.ready() for drain in drains), until - time.monotonic())
        gevent.joinall([gevent.spawn(self._reporter.stop), gevent.spawn(self._hub.canaries.leave)])

    def _listen(self, listener: Any) -> StreamServer:
        listener.setblocking(True)
        prepare(listener)
        server = ConnectionListener(
            listener,
            handle=partial(self.handle, ListenerAddress(listener)),
            spawn=Pool(self.worker_connections + SPARE_PLACES),
            **self._tls(),
        )
        server.no_room = self._refusals.no_room.answer
        server.handshake_seconds = self.cfg.keepalive
        if self.cfg.workers > 1:
            server.max_accept = 1  # otherwise one worker takes connections that idle workers could serve
        server.start()
        return server

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}

    def _wait_for_stop(self) -> None:
        """Return as soon as the worker is told to stop. It does not poll, so an idle worker sleeps.

        When a signal comes, Python writes into gunicorn's pipe. That wakes the loop, which then runs the handler.
        """
        signalled = Event()
        watcher = gevent.get_hub().loop.io(self.PIPE[0], 1)  # libev's EV_READ
        watcher.start(partial(_drain, self.PIPE[0], signalled))
        while self.alive:
            self._tell_alive()
            signalled.wait(NOTIFY_SECONDS)
            signalled.clear()
        watcher.stop()
        watcher.close()

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for `done`, and tell the arbiter once a second that this worker lives."""
        started = notified = time.monotonic()
        while not done() and time.monotonic() - started < seconds:
            if time.monotonic() - notified >= NOTIFY_SECONDS:
                self._tell_alive()
                notified = time.monotonic()
            gevent.sleep(POLL_SECONDS)

    def _tell_alive(self) -> None:
        self.notify()
        self.end_idle()


def tune_garbage_collector() -> None:
    """Keep garbage collection from stopping the worker: freeze the objects that exist now, and set `COLLECT_AFTER`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def freeze_settings(cfg: Config) -> None:
    """Store gunicorn's settings, which no longer change, as plain attributes: it reads twenty of them per request.

    Without this, each read calls `Config.__getattr__`, after Python has searched for an attribute in vain.
    """
    vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})


def _drain(pipe: int, signalled: Event) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(pipe, REQUEST_BYTES)
    signalled.set()
