"""Commands and the subscriber link go to the primary that the Sentinels name, and to no server that is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.transport.connection import Connection
from app.transport.subscription import PushKind, Subscription
from tests.conftest import absent
from tests.replication import PRIMARY_OPTIONS, SERVICE, Replicated, Sentinel, promote
from tests.servers import HOST, RedisServer, free_port


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store(servers: ExitStack) -> Replicated:
    return Replicated(servers)


def connect(url: str) -> Connection:
    return Connection.open(Settings(redis_url=url, redis_timeout_seconds=10), ())


def port_of(connection: Connection) -> int:
    """The server that it talks to."""
    (reply,) = connection.run([("CONFIG", "GET", "port")])
    found = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    return int(found[b"port"])


def test_commands_and_the_link_follow_where_the_sentinel_points(store: Replicated) -> None:
    connection = connect(store.url)
    assert port_of(connection) == store.primary.port
    assert not connection.follow()
    store.replace_behind_its_back()
    assert port_of(connection) == store.primary.port  # it is alive, and does not know
    assert connection.follow()
    assert not connection.follow()
    assert port_of(connection) == store.replicas[0].port
    link = Subscription.open(Settings(redis_url=store.url))
    link.subscribe(["one"])
    assert link.receive().kind is PushKind.SUBSCRIBED
    assert "one" in store.replicas[0].open_channels()  # beside the Sentinel's own
    link.close()


def test_a_primary_that_became_a_replica_is_left_with_the_first_refusal(store: Replicated) -> None:
    connection = connect(store.url)
    connection.run([("SET", "a", "1")])
    store.sentinel.forget()  # it would demote the promoted replica again
    promote(store.replicas[0])
    with store.primary.client() as client:
        client.replicaof(HOST, store.replicas[0].port)
    store.sentinel.watch(store.replicas[0])
    with pytest.raises(BelfryError) as refusal:
        connection.run([("SET", "a", "2")])
    assert refusal.value.code == "store_unavailable"
    connection.run([("SET", "a", "2")])
    assert port_of(connection) == store.replicas[0].port


def test_a_server_that_is_no_primary_is_not_taken_for_one(store: Replicated) -> None:
    """As where the Sentinel has not heard yet of another's decision."""
    store.sentinel.name(store.replicas[0])
    with pytest.raises(BelfryError) as refusal:
        connect(store.url).ping()
    assert refusal.value.code == "store_unavailable"


def test_a_dead_sentinel_is_passed_over_and_none_at_all_is_told(store: Replicated) -> None:
    url = f"redis+sentinel://{HOST}:{free_port()},{HOST}:{store.sentinel.port}/{SERVICE}"
    connection = connect(url)
    connection.ping()
    store.sentinel.kill()
    connection.ping()  # it has what it needs
    with pytest.raises(BelfryError) as refusal:
        connection.follow()
    assert refusal.value.code == "store_unavailable"
    with pytest.raises(BelfryError):
        connect(url).ping()


def test_passwords_are_sent_to_both(servers: ExitStack) -> None:
    options = (*PRIMARY_OPTIONS, "--requirepass", "p@ss")
    primary = RedisServer(port=free_port(), options=options, password="p@ss")
    servers.callback(primary.destroy)
    primary.start()
    sentinel = Sentinel(primary, f"sentinel auth-pass {SERVICE} p@ss", "requirepass watch")
    servers.callback(sentinel.destroy)
    sentinel.start()
    address = f"{HOST}:{sentinel.port}/{SERVICE}"
    connection = connect(f"redis+sentinel://:p%40ss@{address}?sentinel_password=watch")
    connection.run([("SELECT", 0)])
    for wrong in (f":no@{address}?sentinel_password=watch", f":p%40ss@{address}?sentinel_password=no", address):
        with pytest.raises(BelfryError):
            connect(f"redis+sentinel://{wrong}").ping()
