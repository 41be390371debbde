"""Many subscribers in one thread, each of which comes back by itself as a good client does, and writes down what came.

    crowd = Crowd()
    reader = Reader("alice 1", belfry.port, "/stream", {"Authorization": f"Bearer {token}"}, logs=("user:alice",))
    crowd.add([reader])
    crowd.wait(lambda: reader.is_live, what="the first `ready`")
    crowd.call(reader.reset)          # any method of a reader, in the crowd's thread
    crowd.stop()

A reader resumes with its last id after any end, waits for the `retry` or `Retry-After` that it was told (scaled down by
`time_scale`), stops for good after `goodbye` `replaced` or `revoked`, and hangs up when it heard nothing, not even a
heartbeat, for `silence_seconds`. What it does on purpose: `hang_up` (FIN), `reset` (RST), `pause` and `go_on` (reading
stops), `rate` (bytes a second), `connect` (now, instead of when its time has come).
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from app.core.wire.sse import Decoder, Event
from tests.faults.records import Delivery, Hearing, Reset
from tests.stream_client import HOST, OWN_EVENTS
from tests.waiting import patient, wait_until

TIME_SCALE = 0.1  # of the delays that a server tells
RETRY_SECONDS = 2.0  # before scaling, where none was told
CONNECT_SECONDS = 15.0  # for a connection and the head of its answer
READ_BYTES = 65_536
LOOK_SECONDS = 0.05  # how often readers without traffic are looked at
COME_AGAIN = (429, 502, 503, 504)  # answers that mean: later
FOR_GOOD = ("replaced", "revoked")


class Reader:
    """One subscriber. Its methods run in the crowd's thread, see `Crowd.call`; its plain fields may be read anywhere.

    It knows no chunks: Belfry sends none, and nginx none in an answer to HTTP `version` 1.0.

    `events` is the record. `connections` counts answers with status 200, `ends` why they ended, `answers` the others.
    """

    def __init__(
        self,
        name: str,
        port: int,
        path: str,
        headers: Mapping[str, str],
        *,
        logs: Sequence[str],
        host: str = HOST,
        make_socket: Callable[[], socket.socket] = socket.socket,
        version: str = "1.1",
        receive_buffer: int = 0,
        silence_seconds: float = 0.0,
        time_scale: float = TIME_SCALE,
    ) -> None:
        self.name = name
        self.logs = tuple(logs)
        self.address = (host, port)
        self.since = 0.0
        self.until = math.inf
        self.events: list[Delivery | Reset] = []
        self.marks: set[str] = set()
        self.cursor = ""
        self.connections = 0
        self.ends: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.turned_away: list[str] = []
        self.is_live = False  # `ready` came on the connection that is open now
        self.stopped = False
        self.rate = 0  # bytes a second that it reads, 0: as much as comes
        self.paused = False
        self.silence_seconds = silence_seconds
        self._request = "".join([f"GET {path} HTTP/{version}\r\n", *(f"{k}: {v}\r\n" for k, v in headers.items())])
        self._make_socket = make_socket
        self._receive_buffer = receive_buffer
        self._time_scale = time_scale
        self._crowd: Crowd | None = None
        self._socket: socket.socket | None = None
        self._head: bytes | None = None
        self._decoder = Decoder()
        self._retry_ms = RETRY_SECONDS * 1_000
        self.due = 0.0  # when to connect, or, once connected, when to read again
        self._deadline = 0.0

    def __str__(self) -> str:
        """How it fares."""
        due = f"due in {self.due - time.monotonic():.1f} s"
        state = "live" if self.is_live else "connected" if self._socket else due
        return f"{self.name}: {state}, ends {dict(self.ends)}, answers {dict(self.answers)}"

    @property
    def port(self) -> int:
        """Of this end of its connection."""
        assert self._socket is not None
        port: int = self._socket.getsockname()[1]
        return port

    def hearing(self, feed: Iterable[str] = ()) -> Hearing:
        """What it heard so far, for the checker."""
        events, away = tuple(self.events), tuple(self.turned_away)
        return Hearing(self.name, self.logs, self.since or math.inf, events, tuple(feed), self.until, away)

    def lost_since(self, began: float) -> bool:
        """Whether it was told of a loss since then."""
        latest = takewhile(lambda event: event.at >= began, reversed(self.events))
        return any(isinstance(event, Reset) for event in latest)

    # On purpose

    def hang_up(self) -> None:
        """Close (FIN) and come back."""
        self._end("hung up")

    def reset(self) -> None:
        """Close rudely (RST) and come back."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end("reset")

    def forsake(self) -> socket.socket | None:
        """Leave the connection open without ever looking at it again, as a client does that lost its network.

        The caller owns the socket, which nobody reads any more; the reader comes back by another one.
        """
        left = self._socket
        if left is not None and self._crowd is not None:
            self._crowd.unwatch(left)
        self._socket = None
        self._end("forsaken")
        return left

    def pause(self) -> None:
        """Stop reading; the connection stays."""
        self.paused = True
        if self._socket is not None and self._crowd is not None:
            self._crowd.watch(self._socket, 0, self)

    def go_on(self) -> None:
        """Read again."""
        self.paused = False
        self._deadline = time.monotonic() + self.silence_seconds
        if self._socket is not None and self._crowd is not None:
            self._crowd.watch(self._socket, selectors.EVENT_READ, self)

    def stop(self) -> None:
        """Hang up for good."""
        self.stopped = True
        self._end("stopped")

    def connect(self) -> None:
        """Connect now, if there is no connection."""
        if self._socket is None and not self.stopped:
            self._begin()

    # In the crowd's thread

    def join(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def look(self, now: float) -> None:
        """Do what its time has come for."""
        if self.stopped:
            return
        if self._socket is None:
            if now >= self.due:
                self._begin()
        elif self._head is not None and now >= self._deadline:
            self._end("no answer")
        elif self._head is None and self.silence_seconds and not self.paused and now >= self._deadline:
            self._end("silence")
        elif self._head is None and self.rate and not self.paused and now >= self.due:
            self._read(max(1, int(self.rate * LOOK_SECONDS)))
            self.due = now + LOOK_SECONDS

    def ready(self, mask: int) -> None:
        """Its socket can be written or read."""
        if mask & selectors.EVENT_WRITE:
            self._send()
        elif not self.rate or self._head is not None:
            self._read(READ_BYTES)
        elif self._socket is not None and self._crowd is not None:
            self._crowd.watch(self._socket, 0, self)  # `look` reads it, at its own pace

    def _begin(self) -> None:
        assert self._crowd is not None
        self._head, self._decoder = b"", Decoder()
        # Thousands without patience would be served one try too late: each try costs the server what a stream costs.
        self._deadline = time.monotonic() + patient(CONNECT_SECONDS)
        self._socket = self._make_socket()
        self._socket.setblocking(False)
        if self._receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        code = self._socket.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            self._end(errno.errorcode[code])
        else:
            self._crowd.watch(self._socket, selectors.EVENT_WRITE, self)

    def _send(self) -> None:
        assert self._socket is not None
        assert self._crowd is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(errno.errorcode[code])
            return
        cursor = f"Last-Event-ID: {self.cursor}\r\n" if self.cursor else ""
        try:
            self._socket.send(f"{self._request}Host: belfry.test\r\n{cursor}\r\n".encode())
        except OSError as error:
            self._end(errno.errorcode[error.errno or 0])
        else:
            self._crowd.watch(self._socket, selectors.EVENT_READ, self)

    def _read(self, size: int) -> None:
        assert self._socket is not None
        try:
            received = self._socket.recv(size)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(errno.errorcode[error.errno or 0])
            return
        if not received:
            self._end("closed")
        elif self._head is None:
            self._take(received)
        else:
            self._take_head(received)

    def _take_head(self, received: bytes) -> None:
        assert self._head is not None
        head, found, body = (self._head + received).partition(b"\r\n\r\n")
        if not found:
            self._head = head
            return
        status = int(head.split(b" ", 2)[1])
        if status != 200:
            if len(body) < (_field(head, b"content-length") or 0):
                self._head += received  # a server may send head and body apart, and the code stands in the body
            else:
                self._refused(status, head, body)
            return
        self._head = None
        self.connections += 1
        self._take(body)

    def _refused(self, status: int, head: bytes, body: bytes) -> None:
        code = _code(body)
        self.answers[f"{status} {code}".strip()] += 1
        if status not in COME_AGAIN:
            self.turned_away.append(f"{status} {code}".strip())
        seconds = _field(head, b"retry-after")
        self._end(str(status), seconds * self._time_scale if seconds else None)

    def _take(self, received: bytes) -> None:
        self._deadline = time.monotonic() + self.silence_seconds
        for event in self._decoder.feed(received):
            self._hear(event)
        self.cursor = self._decoder.last_event_id or self.cursor
        if self._decoder.reconnection_ms is not None:
            self._retry_ms = self._decoder.reconnection_ms

    def _hear(self, event: Event) -> None:
        if event.event == "ready":
            self.is_live = True
            self.since = self.since or time.monotonic()
        elif event.event == "reset":
            self.events.append(Reset(time.monotonic()))
        elif event.event == "goodbye":
            reason = json.loads(event.data)["reason"]
            self.ends[f"goodbye {reason}"] += 1
            self.stopped = self.stopped or reason in FOR_GOOD
        elif event.event not in OWN_EVENTS:
            mark = str(json.loads(event.data)["data"])
            self.events.append(Delivery(mark, time.monotonic()))
            self.marks.add(mark)

    def _end(self, why: str, seconds: float | None = None) -> None:
        self.ends[why] += 1
        self.is_live = False
        self._head = None
        if self._socket is not None:
            if self._crowd is not None:
                self._crowd.unwatch(self._socket)
            self._socket.close()
            self._socket = None
        self.due = time.monotonic() + (self._retry_ms / 1_000 * self._time_scale if seconds is None else seconds)


class Crowd:
    """The readers' thread."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[[], Any], threading.Event]] = deque()
        self._bell, self._hear_bell = socket.socketpair()
        self._hear_bell.setblocking(False)
        self._selector.register(self._hear_bell, selectors.EVENT_READ, None)
        self._look_at = 0.0
        self._running = True
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._thread.start()

    def add(self, readers: Iterable[Reader]) -> None:
        """Let them connect."""
        new = list(readers)

        def join() -> None:
            for reader in new:
                reader.join(self)
                self.readers.append(reader)

        self.call(join)

    def call(self, *actions: Callable[[], Any]) -> None:
        """Run them in the crowd's thread, one after the other without a pause; returns when all are done.

        The readers have read before what had come when this was called.
        """
        done = threading.Event()

        def run() -> None:
            for action in actions:
                action()

        self._calls.append((run, done))
        self._bell.send(b"!")
        self.wait(done.is_set, 60, what="the crowd to do as it was told")

    def wait(
        self, condition: Callable[[], object], seconds: float = 30.0, *, what: str | Callable[[], str] = ""
    ) -> None:
        """Wait for what the readers bring about. A bug in this thread is raised here."""

        def holds() -> bool:
            if self._failure is not None:
                raise AssertionError("the crowd's thread failed") from self._failure
            return bool(condition())

        wait_until(holds, seconds, what=what)

    def stop(self) -> None:
        """Hang up all, for good."""
        self._running = False
        self._bell.send(b"!")
        self._thread.join(60)
        for reader in self.readers:
            reader.stop()
        self._selector.close()
        self._bell.close()
        self._hear_bell.close()
        if self._failure is not None:
            raise AssertionError("the crowd's thread failed") from self._failure

    def watch(self, watched: socket.socket, events: int, reader: Reader) -> None:
        """Tell `reader` of these events; of none with 0."""
        known = self._selector.get_map().get(watched.fileno())
        if not events:
            self.unwatch(watched)
        elif known is None:
            self._selector.register(watched, events, reader)
        else:
            self._selector.modify(watched, events, reader)

    def unwatch(self, watched: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(watched)

    def _run(self) -> None:
        try:
            while self._running:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for this thread
            self._failure = error

    def _turn(self) -> None:
        asked = len(self._calls)  # later ones wait for the next turn, which looks again at what has come
        for key, mask in self._selector.select(0 if asked else LOOK_SECONDS):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._hear_bell.recv(1_024)
            elif key.fileobj.fileno() >= 0:  # type: ignore[union-attr]  # closed by what a reader before it did
                key.data.ready(mask)
        for _ in range(asked):
            action, done = self._calls.popleft()
            action()
            done.set()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            for reader in self.readers:
                reader.look(now)


def _code(body: bytes) -> str:
    """The problem's `code`; a proxy's own answer has none."""
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _field(head: bytes, wanted: bytes) -> float | None:
    """The number in a field of a head."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == wanted:
            return float(value)
    return None
