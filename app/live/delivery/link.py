"""The subscriber connection to one shard. It reconnects, keeps the channels subscribed, and notices silence.

`Links` says which logs it wants. The link reports when Redis has acknowledged the subscription to a log: from then on
every append to the log arrives here. It hands over what Redis publishes. After a lost connection it subscribes to all
wanted logs again and reports each acknowledgement. Then the hub compares the log's tail, because messages may have been
missed in between.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from ... import metrics
from ...core.errors import BelfryError
from ...transport.log_throttle import LogThrottle
from ...transport.subscription import PING_SECONDS, Push, PushKind
from ..streams.subscriber import OpenLog

CHANNELS_PER_COMMAND = 500
RECONNECT_SECONDS = (0.05, 1.0)  # first and longest pause between two attempts

logger = logging.getLogger("belfry.link")


class Subscription(Protocol):
    """See `transport/subscription.py`."""

    def subscribe(self, channels: Iterable[str]) -> None: ...

    def unsubscribe(self, channels: Iterable[str]) -> None: ...

    def ping(self) -> None: ...

    def receive(self) -> Push: ...

    def close(self) -> None: ...


class LinkObserver(Protocol):
    """Receives the events of the link."""

    def wanted(self) -> Iterable[OpenLog]:
        """All open logs, to subscribe to on a new connection."""

    def acknowledged(self, open_log: OpenLog) -> None:
        """From now on every append to the log arrives."""

    def received(self, channel: bytes, payload: bytes) -> None:
        """Redis published something. This may switch greenlets; the next publication waits for it."""

    def lost(self) -> None:
        """The connection was lost, so appends no longer arrive."""

    def left(self, channel: bytes) -> None:
        """Redis ended a subscription by itself: the channel's slot left this shard."""


class Link:
    """Runs the connection in three greenlets: one reads and reconnects, one writes, one pings."""

    def __init__(
        self, connect: Callable[[], Subscription], channel: Callable[[str], str], listener: LinkObserver
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._listener = listener
        self._subscription: Subscription | None = None
        # Commands that wait to be written, and the logs whose SUBSCRIBE was written and not yet acknowledged. Redis
        # answers in order, so each acknowledgement belongs to the oldest of them, also where a channel was left and
        # asked for again in between: the first answer must not be taken for the second.
        self._outgoing: deque[tuple[bool, OpenLog]] = deque()
        self._unacknowledged: deque[OpenLog] = deque()
        self._leaving: dict[bytes, int] = {}  # channels to leave → how often Redis has to acknowledge that
        self._writable = Event()
        # Two greenlets write, and gevent raises where one begins while the other waits for room in the socket.
        self._sending = BoundedSemaphore()
        self._greenlets: list[gevent.Greenlet[[], None]] = []
        self._log_throttle = LogThrottle(logger)
        self._pause = RECONNECT_SECONDS[0]
        self._was_connected = False
        self.trouble = ""  # why there is no connection, or none that hears anything

    @property
    def connected(self) -> bool:
        return self._subscription is not None

    def start(self) -> None:
        """Connect, and keep connected."""
        self._greenlets = [gevent.spawn(run) for run in (self._read, self._write, self._ping)]

    def stop(self) -> None:
        """Close the connection for good."""
        gevent.killall(self._greenlets)
        if self._subscription is not None:
            self._subscription.close()

    def reconnect(self) -> None:
        """Replace a connection that is open but does not work."""
        if self._subscription is not None:
            self._subscription.close()  # the reader notices, and begins anew

    def subscribe(self, open_log: OpenLog) -> None:
        """Subscribe to a log. Calls before the next greenlet switch share one command."""
        self._send(True, open_log)

    def unsubscribe(self, open_log: OpenLog) -> None:
        """Unsubscribe from a log."""
        self._send(False, open_log)

    def _send(self, subscribe: bool, open_log: OpenLog) -> None:
        if self._subscription is not None:
            self._outgoing.append((subscribe, open_log))
            self._writable.set()

    def _read(self) -> None:
        while True:
            try:
                subscription = self._connect()
                self._begin(subscription)
                while True:
                    self._handle(subscription.receive())
            except BelfryError as error:
                self.trouble = self._told(error)
                self._log_throttle.note(f"no connection to the store: {self.trouble}")
            except Exception:
                logger.exception("the subscriber connection failed")
            self._end()
            gevent.sleep(self._pause)
            self._pause = min(self._pause * 2, RECONNECT_SECONDS[1])

    def _told(self, error: BelfryError) -> str:
        told = str(error.__cause__ or error.detail)
        if "permission" in told.lower() and self._unacknowledged:
            return f"{told} (SUBSCRIBE {self._channel(self._unacknowledged[0].name)})"
        return told

    def _begin(self, subscription: Subscription) -> None:
        if self._was_connected:
            metrics.RECONNECTS.labels("subscriber").inc()
        self._was_connected = True
        self._subscription = subscription
        self._outgoing = deque((True, open_log) for open_log in self._listener.wanted())
        self._unacknowledged.clear()
        self._leaving.clear()
        self._writable.set()

    def _end(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
            self._listener.lost()

    def _handle(self, push: Push) -> None:
        if push.kind is PushKind.MESSAGE:
            self._listener.received(push.channel, push.payload)
        elif push.kind is PushKind.SUBSCRIBED:
            # Not sooner: Redis may take every connection, and refuse every subscription.
            self._pause, self.trouble = RECONNECT_SECONDS[0], ""
            self._listener.acknowledged(self._unacknowledged.popleft())
        elif push.kind is PushKind.UNSUBSCRIBED and not self._was_asked(push.channel):
            self._listener.left(push.channel)

    def _was_asked(self, channel: bytes) -> bool:
        times = self._leaving.pop(channel, 0)
        if times > 1:
            self._leaving[channel] = times - 1
        return times > 0

    def _write(self) -> None:
        while True:
            self._writable.wait()
            self._writable.clear()
            while self._outgoing and self._subscription is not None:
                subscribe, open_logs = self._next_command()
                self._order(subscribe, open_logs, self._subscription)

    def _next_command(self) -> tuple[bool, list[OpenLog]]:
        subscribe, first = self._outgoing.popleft()
        open_logs = [first]
        while self._outgoing and self._outgoing[0][0] is subscribe and len(open_logs) < CHANNELS_PER_COMMAND:
            open_logs.append(self._outgoing.popleft()[1])
        return subscribe, open_logs

    def _order(self, subscribe: bool, open_logs: list[OpenLog], subscription: Subscription) -> None:
        channels = [self._channel(open_log.name) for open_log in open_logs]
        if subscribe:
            self._unacknowledged.extend(open_logs)  # before the write, which may switch to the reader
            self._guarded(subscription, lambda: subscription.subscribe(channels))
        else:
            for channel in map(str.encode, channels):
                self._leaving[channel] = self._leaving.get(channel, 0) + 1
            self._guarded(subscription, lambda: subscription.unsubscribe(channels))

    def _ping(self) -> None:
        while True:
            gevent.sleep(PING_SECONDS)
            if self._subscription is not None:
                self._guarded(self._subscription, self._subscription.ping)

    def _guarded(self, subscription: Subscription, send: Callable[[], None]) -> None:
        """Send when nobody else does; who writes lives on, whatever happens."""
        try:
            with self._sending:
                send()
        except BelfryError:
            subscription.close()  # the reader notices, and begins anew
        except Exception:
            logger.exception("writing to the store failed")
            subscription.close()
