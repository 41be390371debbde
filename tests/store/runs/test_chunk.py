"""Messages that one call of the script appends together fare as if each had been appended alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.log.cursor import Position
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.logs.log import CHUNK_BYTES, CHUNK_MESSAGES, SCRIPTS, Appended, LogStore, Status
from app.transport.connection import Connection
from app.transport.dialect import ClusterDialect
from app.transport.slots import slot_of
from tests.examples import examples
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until

USERS = ("alice", "bob", "carol")
HISTORY = 4
EPOCH = re.compile(rb"\b[0-9A-Za-z]{6}\.(?=\d+ )")
STARTS = re.compile(rb"(?<=^0 belfry.born ).*")  # they depend on the way's name
SCRIPT_FIELDS = {b"epoch", b"history", b"aged", b"until", b"born", b"losses"}  # random, or the time of the call

Append = tuple[str, Message]


class Deed(NamedTuple):
    """What may happen to a log: a message comes, or is retracted. `age` are seconds since it was published."""

    user: str
    number: int
    retracts: bool
    age: int
    fields: tuple[tuple[str, Any], ...]

    @property
    def id(self) -> str:
        return f"m{self.number}"

    def append(self, now: float) -> Append:
        fields = dict(self.fields)
        own_id = fields.pop("own_id", False)
        body = {"to": self.user, **fields, **({} if own_id else {"id": self.id})}
        message = parse(json.dumps(body).encode(), now=now - self.age, new_id=self.id, max_recipients=1)
        return f"user:{self.user}", message


FIELDS = {
    "title": st.sampled_from("ab"),
    "key": st.sampled_from(("k1", "k2")),
    "ttl": st.sampled_from((10, 1_000)),  # an age of 100 has outlived the first
    "transient": st.just(True),
    "own_id": st.just(True),
}
DEEDS = st.builds(
    Deed,
    user=st.sampled_from(USERS),
    number=st.integers(1, 12),
    retracts=st.sampled_from((False, False, False, True)),
    age=st.sampled_from((0, 0, 100)),
    fields=st.fixed_dictionaries({}, optional=FIELDS).map(lambda fields: tuple(fields.items())),
)


class Way:
    """A store of its own under the name of the way in which it is written, and what it announced."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        options = Settings(redis_url=url, redis_prefix=name, history_length=HISTORY, history_seconds=3_600)
        self.client: Any = redis.Redis.from_url(url, protocol=2)
        self.store = LogStore(Connection(self.client, SCRIPTS), options)
        self._heard = self.client.pubsub()
        self._heard.psubscribe(f"{name}:*")
        self._heard.get_message(timeout=60)

    def close(self) -> None:
        self._heard.close()
        self.client.close()

    def announced(self) -> list[tuple[bytes, bytes]]:
        """Everything that was published since, in its order, without the epochs."""
        self.client.publish(f"{self.name}:end", b"")
        found = []
        while (push := self._heard.get_message(timeout=60)) and push["data"]:
            found.append((push["channel"].partition(b":")[2], STARTS.sub(b"", EPOCH.sub(b"", push["data"]))))
        return found

    def state(self) -> dict[bytes, Any]:
        """All keys of the way's logs and what they hold, without what is random or the time."""
        return {key.partition(b":")[2]: self._value(key) for key in sorted(self.client.keys(f"{self.name}:{{user:*"))}

    def _value(self, key: bytes) -> Any:
        assert self.client.ttl(key) > 0, f"{key!r} stays for ever"
        kind = self.client.type(key)
        if kind == b"stream":
            return [(at, {**fields, b"t": b""}) for at, fields in self.client.xrange(key)]
        if kind == b"zset":
            return self.client.zrange(key, 0, -1, withscores=True)
        if kind == b"hash":
            return {name: value for name, value in self.client.hgetall(key).items() if name not in SCRIPT_FIELDS}
        remembered = EPOCH.sub(b"", self.client.get(key) or b"")
        return remembered.rpartition(b" ")[0] if b":id:" in key else remembered  # without what is made for each call


@pytest.fixture
def ways(redis_server: RedisServer) -> Iterator[tuple[Way, Way]]:
    alone, together = Way("alone", redis_server.url), Way("together", redis_server.url)
    yield alone, together
    alone.close()
    together.close()


def told(outcomes: Sequence[Appended]) -> list[tuple[Status, int, bool]]:
    return [(outcome.status, outcome.position.offset, outcome.online) for outcome in outcomes]


@hypothesis_settings(
    max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(DEEDS, max_size=25), max_size=4))
def test_a_chunk_does_what_its_messages_do_one_by_one(ways: tuple[Way, Way], groups: list[list[Deed]]) -> None:
    """Between the groups whatever was to be retracted is."""
    alone, together = ways
    alone.client.flushall()
    now = time.time()
    for group in groups:
        appends = [deed.append(now) for deed in group if not deed.retracts]
        one_by_one = [outcome for each in appends for outcome in alone.store.append([each])]
        assert told(together.store.append(appends)) == told(one_by_one)
        for deed in group:
            if deed.retracts:
                names = [f"user:{deed.user}"]
                assert together.store.retract(names, deed.id) == alone.store.retract(names, deed.id)
    assert together.announced() == alone.announced()
    assert together.state() == alone.state()


def sent(user: str, **fields: Any) -> Append:
    return Deed(user, 1, False, 0, tuple(fields.items())).append(time.time())


def tops(store: LogStore, *users: str) -> list[int]:
    return [tail.position.offset if tail else 0 for tail in store.tails([f"user:{user}" for user in users])]


@pytest.mark.parametrize("broken", ["log", "meta"])
def test_a_message_that_fails_costs_only_itself(ways: tuple[Way, Way], broken: str) -> None:
    """Its log is no log here. Its id isn't remembered: it is appended when it comes again."""
    _, way = ways
    way.client.flushall()
    key = getattr(way.store.keys, broken)("user:bob")
    way.store.append([Deed("bob", 2, False, 0, ()).append(time.time())])
    way.client.set(key, "not what it should be")
    appends = [sent("alice"), sent("bob"), sent("carol")]
    with pytest.raises(BelfryError, match="store_unavailable"):
        way.store.append(appends)
    assert tops(way.store, "alice", "carol") == [1, 1]
    way.client.delete(key)
    again = [outcome.status for outcome in way.store.append(appends)]
    assert again == [Status.DUPLICATE, Status.APPENDED, Status.DUPLICATE]


def test_a_failure_does_not_forget_the_id_of_what_is_there(ways: tuple[Way, Way]) -> None:
    _, way = ways
    way.client.flushall()
    way.store.append([sent("bob")])
    kept = way.client.dump(way.store.keys.meta("user:bob"))
    way.client.set(way.store.keys.meta("user:bob"), "not what it should be")
    with pytest.raises(BelfryError, match="store_unavailable"):
        way.store.append([sent("alice"), sent("bob")])
    way.client.restore(way.store.keys.meta("user:bob"), 3_600_000, kept, replace=True)
    assert way.store.append([sent("bob")])[0].status is Status.DUPLICATE


def test_a_store_without_memory_keeps_nothing_of_a_chunk(ways: tuple[Way, Way]) -> None:
    _, way = ways
    way.client.flushall()
    way.store.append([sent("alice")])
    appends = [sent(user, title="new") for user in ("bob", "alice", "carol")]
    way.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BelfryError, match="store_full"):
            way.store.append(appends)
        assert tops(way.store, *USERS) == [1, 0, 0]
    finally:
        way.client.config_set("maxmemory", "0")
    assert tops(way.store, *USERS) == [1, 0, 0]


class Counted(Connection):
    """Notes the number of messages of each call of a script."""

    calls: list[int]

    def send(self, commands: Sequence[Any]) -> list[Any]:
        self.calls = [*getattr(self, "calls", []), *[each[2] // 7 for each in commands if each[0] == "EVALSHA"]]
        return super().send(commands)


def test_a_chunk_is_bounded_in_messages_and_in_bytes(client: redis.Redis) -> None:
    """While a script runs, Redis hears nobody else."""
    counted = Counted(client, SCRIPTS)
    store = LogStore(counted, Settings(redis_url="redis://unused.invalid"))
    store.lineage.look()
    counted.calls.clear()
    store.append([sent(f"u{number}") for number in range(CHUNK_MESSAGES + 1)])
    large = "x" * (CHUNK_BYTES // 4)
    store.append([sent(f"v{number}", body=large) for number in range(6)])
    assert counted.calls == [CHUNK_MESSAGES, 1, 4, 2]


def test_a_log_lives_as_long_as_it_must_and_its_ttl_is_seldom_set(client: redis.Redis, connection: Connection) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid", history_seconds=1_600))
    (first,) = store.append([sent("alice", key="k", ttl=500)])
    keys = [key for key in store.keys.of_log("user:alice") if client.exists(key)]
    assert len(keys) == 5
    for passed in (90, 110):  # a sixteenth is 100
        for key in keys:
            client.expire(key, 1_700 - passed)
        client.hset(store.keys.meta("user:alice"), "until", str(int(time.time()) + 1_700 - passed))
        store.read([("user:alice", (Position(first.position.epoch, 0),))])
        assert all(1_600 <= client.ttl(key) <= 1_700 for key in keys), passed
        assert [client.ttl(key) > 1_650 for key in keys] == [passed > 100] * 5


def test_a_log_that_kept_nothing_any_more_gets_its_ttl_with_what_comes_next(
    client: redis.Redis, connection: Connection
) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid"))
    name, message = sent("alice")
    store.append([(name, message)])
    store.retract([name], message.id)
    store.read([(name, ())])
    store.append([Deed("alice", 2, False, 0, ()).append(time.time())])
    keys = [key for key in store.keys.of_log(name) if client.exists(key)]
    assert all(client.ttl(key) > 0 for key in keys)


def test_holding_a_log_never_shortens_its_life(client: redis.Redis, connection: Connection) -> None:
    store = LogStore(connection, Settings(redis_url="redis://unused.invalid", history_seconds=1_600))
    store.append([sent("alice")])
    store.hold(["user:alice"])
    assert client.ttl(store.keys.log("user:alice")) > 1_650


class Translating(Connection):
    """To the only node of a cluster."""

    def send(self, commands: Sequence[Any]) -> list[Any]:
        dialect = ClusterDialect(SCRIPTS)
        return super().send([dialect(command) for command in commands])


def test_on_a_cluster_no_call_touches_two_slots() -> None:
    port = free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server = RedisServer(port=port, options=options)
    try:
        with server.start().client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(
                lambda: "cluster_state:ok" in str(admin.execute_command("CLUSTER", "INFO")), 10, what="the cluster"
            )
        with redis.Redis.from_url(server.url, protocol=2) as client:
            sharded = [script.sharded for script in SCRIPTS]
            store = LogStore(Translating(client, sharded), Settings(redis_url=server.url), slot_of=slot_of)
            appends = [sent(user) for _ in range(2) for user in USERS] + [sent(USERS[0], title="another")]
            outcomes = store.append(appends)
            statuses = [Status.APPENDED] * 3 + [Status.DUPLICATE] * 3 + [Status.REUSED]
            assert [each.status for each in outcomes] == statuses, "in the order of the messages"
            assert tops(store, *USERS) == [1, 1, 1]
    finally:
        server.destroy()
