"""What is posted to one lane is done once and in order, whatever happens to the connection.

Where the server is silent, all that waits is refused at once, and what comes after that is tried anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import gevent
import pytest
import redis
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.transport.auto_pipeline import AutoPipeline, Lane, QueuedCall, RoundTrip
from app.transport.connection import Command, Connection, LostError, Reply, Script, SilentError
from tests.servers import RedisServer

UNKNOWN = redis.exceptions.NoScriptError()
DEPTH = 2


class Write:
    """What one write brought to the server, and what the server said to it."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.replies: list[Reply] | None = None


class Server:
    """Does what came over each connection in its order, when it is told to; also what came before its end.

    It does a number once, as the script does a message: `done` holds each when it was done first.
    """

    def __init__(self) -> None:
        self.done: list[int] = []
        self.knows_scripts = True
        self.connections: list[deque[Write]] = []

    def connect(self) -> deque[Write]:
        self.connections.append(deque())
        return self.connections[-1]

    def do(self, commands: Sequence[Command]) -> list[Reply]:
        if not self.knows_scripts:
            return [UNKNOWN for _ in commands]
        numbers = [command[1] for command in commands]
        self.done += [number for number in numbers if number not in self.done]
        return numbers

    def serve(self, which: int) -> None:
        """Do the first thing that waits on one of the connections."""
        waiting = [write for each in self.connections for write in [w for w in each if w.replies is None][:1]]
        if waiting:
            first = waiting[which % len(waiting)]
            first.replies = self.do(first.commands)


class ModelConnection:
    """As `transport.connection.DedicatedConnection`, to a `Server`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connection: deque[Write] | None = None
        self.unread: deque[Write] = deque()
        self.happened = Event()
        self.is_late = False

    @property
    def is_open(self) -> bool:
        return self.connection is not None

    def packed(self, commands: Sequence[Command]) -> bytes:
        self.next = commands
        return b""

    def write(self, packed: bytes) -> None:
        if self.connection is None:
            raise LostError(packed)
        self.connection.append(Write(self.next))
        self.unread.append(self.connection[-1])

    def read(self, commands: Sequence[Command]) -> list[Reply]:
        write = self.unread[0]
        assert list(write.commands) == list(commands)
        while write.replies is None and self.unread:
            self.wait()
            self.time_out()
        if write.replies is None or not self.unread:
            raise LostError
        self.unread.popleft()
        return list(write.replies)

    def send(self, commands: Sequence[Command], *, again: bool = False) -> list[Reply]:  # noqa: ARG002 - a `DedicatedConnection`'s
        assert not self.unread, "else its replies would be taken for another's"
        if self.connection is None:
            self.connection = self.server.connect()
        connection = self.connection
        self.wait()
        if self.is_late:
            connection.append(Write(commands))  # may be done, as late as it likes
        self.time_out()
        self.server.knows_scripts = True
        return self.server.do(commands)

    def lacks_scripts(self, replies: Sequence[Reply]) -> bool:
        return UNKNOWN in replies

    def completed(self, commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
        return self.send(commands) if UNKNOWN in replies else replies

    def close(self) -> None:
        self.connection = None
        self.unread.clear()
        self.happened.set()

    def time_out(self) -> None:
        if self.is_late:
            self.is_late = False
            self.close()
            raise SilentError("store_unavailable")

    def wait(self) -> None:
        self.happened.clear()
        self.happened.wait()


def settle() -> None:
    for _ in range(8):
        gevent.sleep(0)


STEPS = st.lists(
    st.sampled_from(("post", "post", "post", "serve", "serve", "serve", "end", "flush", "silence")),
    min_size=8,
    max_size=60,
)


@given(steps=STEPS, which=st.integers(0, 5))
def test_under_every_interleaving(steps: Sequence[str], which: int) -> None:
    server = Server()
    line = ModelConnection(server)
    pipeline = AutoPipeline(lambda: line, 60.0, 1_000, lanes=1, depth=DEPTH)
    posted = [pipeline.post([("NOTE", 0)])]
    settle()
    line.happened.set()  # connects
    refused = 0
    for step in steps:
        settle()
        if step == "post":
            posted.append(pipeline.post([("NOTE", len(posted))]))
        elif step == "serve":
            server.serve(which)
        elif step == "end":
            line.close()
        elif step == "silence":
            refused += fall_silent(line, posted)
        else:
            server.knows_scripts = False
        line.happened.set()
    while not all(each.replies.ready() for each in posted):
        server.serve(0)
        line.happened.set()
        settle()
    while any(write.replies is None for each in server.connections for write in each):
        server.serve(which)  # what came over connections that are gone
    accepted = [number for number, each in enumerate(posted) if each.replies.successful()]
    assert [posted[number].get() for number in accepted] == [[number] for number in accepted]
    assert [number for number in server.done if number in accepted] == accepted
    assert len(accepted) + refused == len(posted), "what was posted after a silence is taken"
    pipeline.stop()


def fall_silent(line: ModelConnection, posted: Sequence[QueuedCall]) -> int:
    """Let whoever waits for the server wait in vain: all that waits is refused with it. Answers how many were."""
    before = [each for each in posted if not each.replies.ready()]
    line.is_late = True
    line.happened.set()
    settle()
    if line.is_late:  # nobody waited for it
        line.is_late = False
        return 0
    assert all(isinstance(each.replies.exception, SilentError) for each in before)
    return len(before)


@pytest.fixture
def line() -> ModelConnection:
    """Connected."""
    line = ModelConnection(Server())
    line.connection = line.server.connect()
    return line


def test_a_second_write_goes_out_while_the_first_one_is_worked_on(line: ModelConnection) -> None:
    pipeline = AutoPipeline(lambda: line, 5.0, 1_000, lanes=1, depth=DEPTH)
    for number in range(3):
        pipeline.post([("NOTE", number)])
        settle()
    assert [write.commands for write in line.unread] == [[("NOTE", 0)], [("NOTE", 1)]]
    pipeline.stop()


def test_an_answer_that_is_none_fails_its_own_trip_and_the_next_one_is_sent_again(line: ModelConnection) -> None:
    lane, first, second = two_trips(line, BelfryError("store_unavailable"))
    with pytest.raises(BelfryError):
        lane.end(first)
    later = gevent.spawn(lane.end, second)
    settle()
    line.happened.set()
    assert later.get(timeout=60) == [1]


def test_a_timeout_fails_all_trips_under_way_and_the_next_one_begins_anew(line: ModelConnection) -> None:
    lane, *trips = two_trips(line, SilentError("store_unavailable"))
    for trip in trips:
        with pytest.raises(SilentError):
            lane.end(trip)
    with lane.writing:
        later = gevent.spawn(lane.end, lane.begin([("NOTE", 2)]))
    settle()
    line.happened.set()
    assert later.get(timeout=60) == [2]


def two_trips(line: ModelConnection, failure: BelfryError) -> tuple[Lane, RoundTrip, RoundTrip]:
    """A lane that has begun both, and hears of the failure instead of the first answer."""
    lane = Lane(line)
    with lane.writing:
        trips = lane.begin([("NOTE", 0)]), lane.begin([("NOTE", 1)])

    def fail(_commands: Sequence[Command]) -> list[Reply]:
        line.close()
        raise failure

    line.read = fail  # type: ignore[assignment,method-assign]  # as a server that froze
    return lane, *trips


def test_who_is_killed_leaves_no_replies_for_others(line: ModelConnection) -> None:
    lane = Lane(line)

    def trip(number: int) -> list[Reply]:
        with lane.writing:
            begun = lane.begin([("NOTE", number)])
        return lane.end(begun)

    trips = [gevent.spawn(trip, number) for number in range(3)]
    settle()
    trips[1].kill()
    for _ in range(3):
        line.happened.set()
        settle()
    assert [trips[0].value, trips[2].value] == [[0], [2]]


COUNT = Script("open")
COUNT.text = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


class Real:
    """One lane to a real server."""

    def __init__(self, server: RedisServer) -> None:
        settings = Settings(redis_url=server.url)
        self.client = server.client()
        COUNT.sha = self.client.script_load(COUNT.text)
        self.connection = Connection.open(settings, [COUNT])
        self.pipeline = AutoPipeline(self.connection.dedicated, 5.0, 10_000, lanes=1, depth=DEPTH)
        self.pipeline.run([("DEL", "noted")])

    def note(self, numbers: Iterator[int], meanwhile: Sequence[str]) -> list[int]:
        """Have numbers noted, two writes under way, while something goes on; answers what was noted, each once."""
        under_way: deque[gevent.Greenlet[[], list[Reply]]] = deque()
        for number in numbers:
            posted = self.pipeline.post([COUNT.call(["noted"], number)])
            under_way.append(gevent.spawn(posted.get))
            if number % 25 == 24:
                self.client.execute_command(*meanwhile)
            if len(under_way) == DEPTH + 1:
                under_way.popleft().get(timeout=60)
        for each in under_way:
            each.get(timeout=60)
        return [int(number) for number in dict.fromkeys(self.client.lrange("noted", 0, -1))]


@pytest.mark.parametrize("meanwhile", [("PING",), ("CLIENT", "KILL", "TYPE", "normal"), ("SCRIPT", "FLUSH")])
def test_on_a_real_server(redis_server: RedisServer, meanwhile: Sequence[str]) -> None:
    real = Real(redis_server)
    with real.client:
        assert real.note(iter(range(500)), meanwhile) == list(range(500))
    real.pipeline.stop()


def ids_of_clients(client: redis.Redis) -> set[str]:
    """Of all connections. Those of earlier tests may end at any time, so a difference of sets counts, not of sizes."""
    return {each["id"] for each in client.client_list()}


def test_many_writes_share_one_connection(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        before = ids_of_clients(client)
        real = Real(redis_server)
        with real.client:
            real.note(iter(range(100)), ("PING",))
            assert len(ids_of_clients(client) - before) == 2, "the lane's, and the test's own"
        real.pipeline.stop()


def test_a_command_that_cant_be_sent_costs_the_order_nothing(redis_server: RedisServer) -> None:
    real = Real(redis_server)
    with real.client:
        posted = [real.pipeline.post([("RPUSH", "noted", text)]) for text in ("0", "half \ud800", "1", "2")]
        assert [len(each.get()) for each in (posted[0], *posted[2:])] == [1, 1, 1]
        assert real.client.lrange("noted", 0, -1) == ["0", "1", "2"]
        with pytest.raises(BelfryError, match="internal_error"):
            posted[1].get()
    real.pipeline.stop()


def test_connections_that_died_while_nobody_used_them_are_nobodys_error(redis_server: RedisServer) -> None:
    pipeline = AutoPipeline(Connection.open(Settings(redis_url=redis_server.url), []).dedicated, 5.0, 100)
    with redis_server.client() as client:
        for _ in range(20):
            callers = [gevent.spawn(pipeline.run, [("ECHO", f"{number}")]) for number in range(4)]
            gevent.joinall(callers, timeout=60, raise_error=True)
            client.client_kill_filter(_type="normal", skipme=True)
        assert [caller.value for caller in callers] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    pipeline.stop()
