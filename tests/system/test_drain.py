"""A worker that stops or is replaced: everyone is told, comes back spread out, and nobody who was let in is cut."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from app.core.wire.sse import Event
from tests.faults.crowd import Crowd, Reader
from tests.servers import HOST, START_SECONDS, Belfry, RedisServer, frozen
from tests.stream_client import StreamClient, StreamEndedError
from tests.system.conftest import LINGERING, StartBelfry
from tests.waiting import patient, wait_until

STREAMS = 1_000
STOP_SECONDS = 3.0
SOON_SECONDS = 25.0  # less than a worker may wait in these tests; it needs about one second
MAY_WAIT_SECONDS = "60"
RETRY_MS = 2_000  # the default
BINS = 10
TRIES = 4
CROWD = 200  # few enough for a slow machine to serve as they come
UNEVEN = 0.15  # a window of half the width is 0.5, a quarter of the crowd at one moment 0.25
LAME_DUCKS_SECONDS = (4, 16, 64)  # the first is many times what the few requests take that are made meanwhile
QUEUED = 200  # of each kind: more than a worker takes before it knows that it shall stop


class Obedient(Reader):
    """A client that waits for exactly as long as it is told. `told_ms` has the delay of each goodbye."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.told_ms: list[int] = []

    def _hear(self, event: Event) -> None:
        super()._hear(event)
        if event.event == "goodbye":
            assert event.retry is not None
            self.told_ms.append(event.retry)


def goodbye(stream: StreamClient) -> Event:
    """Its last word, after which it ended. On a reload it comes when the successor has started."""
    (told,) = [event for event in stream.read_to_end() if event.event == "goodbye"]
    assert told is stream.events[-1]
    assert told.data == '{"reason":"shutdown"}'
    return told


def seconds_to_stop(belfry: Belfry) -> float:
    """From SIGTERM to the end of the master, and so of its worker."""
    started = time.monotonic()
    assert belfry.terminate() == 0
    return time.monotonic() - started


def seconds_to_reload(belfry: Belfry) -> float:
    """From SIGHUP to the end of the old worker."""
    old = belfry.worker()
    started = time.monotonic()
    belfry.signal(signal.SIGHUP)
    wait_until(lambda: old not in belfry.workers(), 10 * STOP_SECONDS, what="the worker to leave")
    return time.monotonic() - started


def bins(delays: Iterable[float]) -> list[int]:
    """How many of these milliseconds lie in each tenth of the window, which is as wide as the setting."""
    found = Counter(int(delay * BINS // RETRY_MS) for delay in delays)
    assert min(found) >= 0
    assert max(found) < BINS
    return [found[number] for number in range(BINS)]


@pytest.mark.parametrize("end", [seconds_to_stop, seconds_to_reload], ids=["stop", "reload"])
def test_a_thousand_streams_are_told_and_spread_their_return_evenly(
    start_belfry: StartBelfry, end: Callable[[Belfry], float], alice: str
) -> None:
    """They make a stop at most three seconds longer. One of some tries has to: the machine has other work too."""
    without_streams = end(start_belfry())
    taken: list[float] = []
    while not taken or min(taken) > without_streams + patient(STOP_SECONDS):
        assert len(taken) < TRIES, (without_streams, taken)
        belfry = start_belfry(BELFRY_RETRY_MS=str(RETRY_MS))
        with ExitStack() as stack:
            streams = [stack.enter_context(belfry.stream(f"{alice}-{at}")) for at in range(STREAMS)]
            for stream in streams:
                stream.wait_for("ready")
            taken.append(end(belfry))
            told = [goodbye(stream).retry or 0 for stream in streams]
        assert max(bins(retry - RETRY_MS / 2 for retry in told)) < 1.1 * STREAMS / BINS
        belfry.destroy()


def arrivals(belfry: Belfry, since: float) -> list[float]:
    """When the streams arrived that were opened after a time, by the server's own list; Unix seconds, in order."""
    answer = belfry.api(belfry.token("root", "admin")).get("/presence", params={"limit": "1000"})
    connections = [connection for user in answer.json()["users"].values() for connection in user["list"]]
    times = [datetime.fromisoformat(connection["since"]).timestamp() for connection in connections]
    return sorted(time for time in times if time > since)


def unevenness(times: Sequence[float], begin: float, width: float) -> float:
    """How far the share that has come is at most from the share of the time that is over (Kolmogorov's distance)."""
    shares = [(at - begin) / width for at in times]
    return max(abs(share - number / len(times)) for number, share in enumerate(shares))


@pytest.fixture
def crowd(start_belfry: StartBelfry, alice: str) -> Iterator[tuple[Belfry, Crowd, list[Obedient]]]:
    """Readers of two workers who come back exactly when they are told."""
    belfry = start_belfry(BELFRY_RETRY_MS=str(RETRY_MS), WEB_CONCURRENCY="2", BELFRY_HEARTBEAT_SECONDS="1")
    wait_until(belfry.all_serve, START_SECONDS, what="both workers to serve")
    readers = [obedient(belfry, f"{alice}-{at}") for at in range(CROWD)]
    crowd = Crowd()
    try:
        crowd.add(readers)
        crowd.wait(lambda: are_there(readers, 1), 30, what="all to be there")
        yield belfry, crowd, readers
    finally:
        crowd.stop()


def test_a_crowd_that_does_as_told_comes_back_evenly_to_two_workers(
    crowd: tuple[Belfry, Crowd, list[Obedient]],
) -> None:
    """What the two workers tell is even over all readers, and each reader is let in whenever it comes.

    A reader that comes back to the worker that leaves last is told twice. The times of arrival depend on how busy the
    machine is, so the nightly test measures them.
    """
    belfry, running, readers = crowd
    reload_and_wait(belfry, running)
    assert all(reader.told_ms for reader in readers), [reader.ends for reader in readers]
    assert unevenness(sorted(reader.told_ms[0] for reader in readers), RETRY_MS / 2, RETRY_MS) < UNEVEN
    assert all(RETRY_MS / 2 <= told <= RETRY_MS * 3 / 2 for reader in readers for told in reader.told_ms)
    assert not sum((reader.answers for reader in readers), Counter())


@pytest.mark.nightly  # measures times of arrival, which another test beside it would change
def test_a_crowd_that_does_as_told_arrives_evenly(crowd: tuple[Belfry, Crowd, list[Obedient]]) -> None:
    """The best of some tries: what else the machine does holds arrivals up."""
    belfry, running, _ = crowd
    found: list[float] = []
    while not found or min(found) > UNEVEN:
        assert len(found) < TRIES, found
        times = arrivals_after_a_reload(belfry, running)
        found.append(unevenness(times, times[0], RETRY_MS / 1_000))


def arrivals_after_a_reload(belfry: Belfry, crowd: Crowd) -> list[float]:
    """When each of the crowd came back, with both workers replaced; Unix seconds, in order."""
    began = time.time()
    reload_and_wait(belfry, crowd)

    def all_of_them() -> list[float] | None:  # the list may be a second behind
        came = arrivals(belfry, began)
        return came if len(came) == CROWD else None

    return wait_until(all_of_them, what="all to be listed")


def reload_and_wait(belfry: Belfry, crowd: Crowd) -> None:
    """Replace both workers, and wait until everybody has come back to the new ones."""
    before = set(belfry.workers())
    times = {reader.name: reader.connections + 1 for reader in crowd.readers}
    belfry.signal(signal.SIGHUP)
    wait_until(lambda: not before & set(belfry.workers()), START_SECONDS, what="both workers to leave")
    crowd.wait(lambda: all(are_there([each], times[each.name]) for each in crowd.readers), 30, what="all to come back")


def are_there(readers: Sequence[Reader], times: int) -> bool:
    """Whether each was let in so often, and is connected."""
    return all(reader.is_live and reader.connections >= times for reader in readers)


def obedient(belfry: Belfry, user: str) -> Obedient:
    headers = {"Authorization": f"Bearer {belfry.token(user, 'feed')}"}
    return Obedient(user, belfry.port, "/stream", headers, logs=(f"user:{user}",), time_scale=1.0)


def publish_head(belfry: Belfry, user: str) -> bytes:
    body = json.dumps({"to": user})
    return (
        f"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {belfry.token('shop', 'publish')}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


def stream_head(belfry: Belfry, user: str) -> bytes:
    return f"GET /stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {belfry.token(user, 'feed')}\r\n\r\n".encode()


def was_told_to_stop(pid: int) -> bool:
    """Whether SIGTERM waits for a frozen process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = next(line.split()[1] for line in lines if line.startswith("ShdPnd"))
    return bool(int(pending, 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def callers_in_the_queue(belfry: Belfry, user: str) -> Iterator[list[socket.socket]]:
    """Connections that the kernel has accepted and the worker has not: first publishers, then streams."""
    heads = [publish_head(belfry, user)] * QUEUED + [stream_head(belfry, user)] * QUEUED
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection((HOST, belfry.port), 60)) for _ in heads]
        for caller, head in zip(callers, heads, strict=True):
            caller.sendall(head)
        yield callers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
def test_who_waits_at_the_door_is_answered(start_belfry: StartBelfry, number: signal.Signals, alice: str) -> None:
    """The end of the last listener resets those in its queue, so it must not end before the queue is empty."""
    belfry = start_belfry(**LINGERING)
    worker = belfry.worker()
    with ExitStack() as stack:
        with frozen(worker):
            callers = stack.enter_context(callers_in_the_queue(belfry, alice))
            belfry.signal(number)
            wait_until(lambda: was_told_to_stop(worker))
        for caller in callers[:QUEUED]:
            assert caller.recv(12) == b"HTTP/1.1 201"
        for caller in callers[QUEUED:]:  # the old worker lets some in before it knows
            head = caller.recv(65_536)
            if head.startswith(b"HTTP/1.1 503"):
                assert b"\r\nRetry-After: " in head
                continue
            while b"\n\n" not in head and (more := caller.recv(65_536)):
                head += more
            assert b"retry: " in head
            assert b"event: ready" in head or b"event: goodbye" in head


def test_who_comes_during_a_reload_is_served_by_the_new_worker(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry()
    with belfry.api() as idle, belfry.stream(alice) as stream:
        idle.get("/health/live")  # for a second, the old worker waits for what this connection may still ask
        stream.wait_for("ready")
        belfry.signal(signal.SIGHUP)
        goodbye(stream)
        with belfry.stream(alice) as again:
            again.wait_for("ready")
            assert "goodbye" not in {event.event for event in again.events}


def test_new_streams_are_told_to_come_again_on_the_way_down(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(**LINGERING)
    with belfry.api() as idle, belfry.stream(alice) as stream:
        idle.get("/health/live")  # the worker waits for what this connection may still ask
        stream.wait_for("ready")
        belfry.signal(signal.SIGTERM)
        goodbye(stream)
        # An EventSource takes any other status as final. It came over the connection that a proxy kept, for example.
        with belfry.stream(alice) as late:
            assert (late.status, late.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            event = late.next_event()
            assert (event.event, json.loads(event.data)) == ("goodbye", {"reason": "shutdown"})
            assert event.retry is not None
            with pytest.raises(StreamEndedError):
                late.next_event()
        with belfry.stream(alice, method="HEAD") as late:
            assert (late.status, late.headers["retry-after"]) == (503, "5")
        assert belfry.publish({"to": alice})["deliveries"][0]["duplicate"] is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
@pytest.mark.parametrize("before", [1, 3], ids=["parsed", "known"])
def test_a_connection_that_is_kept_open_gets_one_more_answer_and_then_its_end(
    start_belfry: StartBelfry, number: signal.Signals, before: int, alice: str
) -> None:
    belfry = start_belfry(**LINGERING)
    given = {"Authorization": f"Bearer {belfry.token('shop', 'publish')}", "Content-Type": "application/json"}
    with belfry.stream(alice) as stream, closing(HTTPConnection(HOST, belfry.port, timeout=60)) as kept:
        stream.wait_for("ready")
        for more in [True] * before + [False]:
            if not more:
                belfry.signal(number)
                goodbye(stream)
            kept.request("POST", "/publish", b'{"to":"someone"}', given)
            answer = kept.getresponse()
            answer.read()
            assert (answer.status, answer.will_close) == (201, not more)


def test_a_connection_that_says_nothing_more_is_hung_up_on_soon_and_without_a_reset(
    start_belfry: StartBelfry, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS=MAY_WAIT_SECONDS)
    with belfry.stream(alice) as stream, closing(HTTPConnection(HOST, belfry.port, timeout=60)) as silent:
        stream.wait_for("ready")
        silent.request("GET", "/health/live")
        silent.getresponse().read()
        started = time.monotonic()
        belfry.signal(signal.SIGTERM)
        assert silent.sock.recv(1) == b""
        assert time.monotonic() - started < patient(SOON_SECONDS)


@pytest.mark.parametrize("before", [0, 3], ids=["parsed", "known"])
def test_a_request_that_was_begun_before_holds_the_worker_back_no_longer_than_it_takes(
    start_belfry: StartBelfry, before: int, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS=MAY_WAIT_SECONDS)
    head, _, body = publish_head(belfry, alice).replace(b"Connection: close\r\n", b"").rpartition(b"\r\n")
    with socket.create_connection((HOST, belfry.port), 60) as slow, belfry.stream(alice) as stream:
        for _ in range(before):
            slow.sendall(head + b"\r\n" + body)
            assert slow.recv(65_536).startswith(b"HTTP/1.1 201")
        slow.sendall(head + b"\r\n" + body[:1])
        stream.wait_for("ready")
        with closing(HTTPConnection(HOST, belfry.port, timeout=60)) as silent:
            silent.request("GET", "/health/live")
            silent.getresponse().read()
            belfry.signal(signal.SIGTERM)
            assert silent.sock.recv(1) == b"", "hung up on, as all that are silent"
        slow.sendall(body[1:])
        sent = time.monotonic()
        assert slow.recv(12) == b"HTTP/1.1 201"
        while slow.recv(65_536):
            pass
        assert time.monotonic() - sent < patient(SOON_SECONDS)


def test_what_is_counted_last_is_told_by_the_workers_that_follow(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(**LINGERING, BELFRY_FIGURES_SECONDS="60")
    old = belfry.worker()
    with belfry.api(belfry.token("shop", "publish")) as kept, belfry.stream(alice) as stream:
        assert kept.publish({"to": alice}).status_code == 201
        belfry.signal(signal.SIGHUP)
        goodbye(stream)
        assert kept.publish({"to": alice}).status_code == 201
    wait_until(lambda: old not in belfry.workers())

    def are_counted() -> bool:
        told = belfry.api().get("/metrics").text
        return "belfry_messages_total 2.0" in told and "belfry_deliveries_total 1.0" in told

    wait_until(are_counted, what="the figures of the worker that left")


def test_a_store_that_is_away_holds_no_worker_back(
    start_belfry: StartBelfry, own_redis: RedisServer, alice: str
) -> None:
    belfry = start_belfry(own_redis.url, BELFRY_REDIS_TIMEOUT_SECONDS="30", BELFRY_DRAIN_SECONDS=MAY_WAIT_SECONDS)
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        with frozen(own_redis.pid):
            started = time.monotonic()
            assert belfry.terminate() == 0
            assert time.monotonic() - started < patient(SOON_SECONDS)
            goodbye(stream)


def test_a_stream_is_sent_on_when_it_is_old_enough_and_comes_back_soon(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(BELFRY_STREAM_SECONDS="1", BELFRY_HEARTBEAT_SECONDS="0.5")
    cursor, ages = belfry.reader(alice).feed()["cursor"], []
    for number in range(3):
        belfry.publish({"to": alice, "data": number})  # before the stream: a busy machine may take a second for it
        began = time.monotonic()
        with belfry.stream(alice, cursor=cursor) as stream:
            told = goodbye(stream)
            ages.append(time.monotonic() - began)
            assert [message["data"] for message in stream.messages] == [number]
            assert told.retry is not None
            assert RETRY_MS / 20 <= told.retry <= RETRY_MS * 3 / 20
            cursor = stream.cursor
    assert min(ages) > 0.75
    counted = 'belfry_streams_ended_total{reason="aged"} 3.0'
    wait_until(lambda: counted in belfry.api().get("/metrics").text, what="all three to be counted")


def keeps_connections(belfry: Belfry) -> bool:
    """Whether the worker that answers wants another request on the same connection: one that leaves does not."""
    with closing(HTTPConnection(HOST, belfry.port, timeout=60)) as visitor:
        visitor.request("GET", "/health/live")
        return not visitor.getresponse().will_close


def test_a_worker_serves_until_its_successor_does(start_belfry: StartBelfry, alice: str) -> None:
    """The successor is frozen while it starts. Where it is quicker than this test, the test tries again."""
    belfry = start_belfry()
    was_early = False
    for _ in range(TRIES):
        old = belfry.worker()
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.signal(signal.SIGHUP)
            (successor,) = wait_until(lambda: [pid for pid in belfry.workers() if pid != old])  # noqa: B023 - called at once
            with frozen(successor):
                was_early = not belfry.all_serve()
                if was_early:
                    assert_still_serves(belfry, stream, alice)
            goodbye(stream)
            wait_until(lambda: belfry.workers() == [successor])  # noqa: B023 - called at once
        if was_early:
            return
    pytest.fail(f"each of {TRIES} successors served before it was frozen")


def assert_still_serves(belfry: Belfry, stream: StreamClient, user: str) -> None:
    """The worker that was told to stop takes messages on new connections and delivers them to its stream."""
    wait_until(lambda: not keeps_connections(belfry), what="the old worker to be told")
    for number in range(10):
        with belfry.api(belfry.token("shop", "publish")) as api:  # on a connection of its own
            assert api.publish({"to": user, "data": number}).status_code == 201
    assert [message["data"] for message in stream.wait_for_messages(10)] == list(range(10))


def test_a_server_that_leaves_says_so_before_it_refuses_connections(start_belfry: StartBelfry, alice: str) -> None:
    """A process that stands still may use the time up; then the test tries a longer time."""
    for seconds in LAME_DUCKS_SECONDS:
        belfry = start_belfry(BELFRY_LAME_DUCK_SECONDS=str(seconds), WEB_CONCURRENCY="2")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            began = time.monotonic()
            belfry.signal(signal.SIGTERM)
            try:
                use_a_lame_duck(belfry, stream, alice)
            except (AssertionError, OSError):  # the errors of requests are among them
                if time.monotonic() - began < seconds:
                    raise
            else:
                assert time.monotonic() - began >= seconds
                assert belfry.terminate() == 0
                return
        belfry.destroy()
    pytest.fail(f"this test took longer than {LAME_DUCKS_SECONDS} seconds")


def use_a_lame_duck(belfry: Belfry, stream: StreamClient, user: str) -> None:
    """Make some requests of a server that was told to stop, and wait for the goodbye."""

    def refusal() -> tuple[str, str] | None:
        """What one of the workers answers on a new connection. The other one may hear of the end a little later."""
        answer = belfry.api().get("/health/ready")
        return (answer.json()["code"], answer.headers["Retry-After"]) if answer.status_code == 503 else None

    assert wait_until(refusal) == ("shutting_down", "5")
    assert belfry.api().get("/health/live").status_code == 200
    assert belfry.publish({"to": user, "title": "still served"})["deliveries"][0]["online"]
    with belfry.stream(f"{user}-2") as other:
        other.wait_for("ready")
        assert stream.wait_for_messages(1)[0]["title"] == "still served"
        goodbye(stream)


def test_a_server_without_such_a_time_says_so_on_kept_connections(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(**LINGERING)
    with belfry.api() as kept, belfry.stream(alice) as stream:
        assert kept.get("/health/ready").status_code == 200
        stream.wait_for("ready")
        belfry.signal(signal.SIGTERM)
        goodbye(stream)
        assert kept.get("/health/ready").json()["code"] == "shutting_down"


def test_a_reload_keeps_a_server_ready(start_belfry: StartBelfry, alice: str) -> None:
    belfry = start_belfry(**LINGERING, BELFRY_LAME_DUCK_SECONDS="30")
    with belfry.api() as kept, belfry.stream(alice) as stream:
        kept.get("/health/ready")
        stream.wait_for("ready")
        belfry.signal(signal.SIGHUP)
        goodbye(stream)
        assert kept.get("/health/ready").status_code == 200
