"""What Redis refuses to its user is found by trying, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import redis

from app.core.settings import Settings
from app.core.store_faults import Weight
from app.store import examination as store_examination
from app.store.examination import SCRIPTS, Examination
from app.transport import connection
from app.transport.connection import DENIED_SECONDS, Command, Connection, Denials, Reply
from tests.conftest import absent
from tests.servers import RedisServer

CHANNEL = "belfry:{canary:one}:live"
ALL = ("resetchannels", "~belfry:*", "&belfry:*", "+@all")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        client.flushall()
        client.script_flush()
        yield client


def examination(server: RedisServer, client: redis.Redis, *rules: str) -> Examination:
    client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">p", *ALL, *rules)
    settings = Settings(redis_url=f"unix://app:p@{server.socket_path}")
    return Examination(Connection.open(settings, SCRIPTS), settings)


def refused(server: RedisServer, client: redis.Redis, *rules: str) -> str:
    faults = examination(server, client, *rules).look(CHANNEL)
    return " ".join([fault.text for fault in faults if fault.code == "rights"])


def test_with_all_rights_nothing_is_refused_and_nothing_stays(server: RedisServer, client: redis.Redis) -> None:
    assert refused(server, client) == ""
    assert client.keys() == []


@pytest.mark.parametrize(
    "command",
    [
        "time", "get", "set", "setrange", "incrby", "del", "exists", "expire", "persist", "mget", "getdel", "publish",
        "hset", "hget", "hmget", "hgetall", "hdel", "hincrby", "hscan", "sadd", "srem", "smembers",
        "lpush", "lrange", "ltrim",
        "xadd", "xdel", "xlen", "xrange", "xrevrange", "xtrim",
        "zadd", "zcard", "zmscore", "zrange", "zrangebylex", "zrangebyscore", "zrem", "zremrangebyscore", "zrevrange",
        "zinterstore", "zremrangebyrank", "zscan", "zscore", "zunionstore",
        "evalsha", "script|load", "pubsub|numsub", "pexpire",
    ],
)  # fmt: skip
def test_each_command_that_is_refused_is_named(server: RedisServer, client: redis.Redis, command: str) -> None:
    told = refused(server, client, f"-{command}")
    assert f"lacks rights: +{command};" in told, told


def test_a_channel_and_keys_that_are_refused_are_named(server: RedisServer, client: redis.Redis) -> None:
    assert f"lacks rights: &{CHANNEL};" in refused(server, client, "resetchannels", "&other:*")
    assert "lacks rights: ~belfry:*;" in refused(server, client, "resetkeys", "~other:*")


def test_without_info_a_warning_is_all(server: RedisServer, client: redis.Redis) -> None:
    (fault,) = examination(server, client, "-info").look(CHANNEL)
    assert (fault.code, fault.refuses) == ("replication_id", False)
    assert "+info" in fault.text


def test_rights_that_change_while_belfry_runs_are_noticed(server: RedisServer, client: redis.Redis) -> None:
    looking = examination(server, client)
    for command in ("time", "hset"):
        assert "rights" not in [fault.code for fault in looking.look(CHANNEL)]
        client.execute_command("ACL", "SETUSER", "app", f"-{command}")
        (fault,) = [fault for fault in looking.look(CHANNEL) if fault.code == "rights"]
        assert f"lacks rights: +{command};" in fault.text
        client.execute_command("ACL", "SETUSER", "app", f"+{command}")
    assert "rights" not in [fault.code for fault in looking.look(CHANNEL)]


@pytest.mark.parametrize(
    ("rule", "command"),
    [("ping", "PING"), ("wait", "WAIT 0 0"), ("client|setname", "CLIENT SETNAME x"), ("role", "ROLE")],
)
def test_a_command_that_no_script_can_try_is_named_after_it_was_refused(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, rule: str, command: str
) -> None:
    now = 0.0
    denials = Denials(lambda: now)
    monkeypatch.setattr(connection, "denials", denials)
    monkeypatch.setattr(store_examination, "denials", denials)
    looking = examination(server, client)
    looking.look(CHANNEL)
    assert not looking.is_due()
    client.execute_command("ACL", "SETUSER", "app", f"-{rule}")
    with (
        pytest.raises(redis.exceptions.NoPermissionError) as refused,
        redis.Redis.from_url(f"unix://app:p@{server.socket_path}") as narrow,
    ):
        narrow.execute_command(*command.split())
    connection.unavailable(refused.value)
    assert looking.is_due()
    assert f"lacks rights: +{rule};" in " ".join([fault.text for fault in looking.look(CHANNEL)])
    assert not looking.is_due()
    now += DENIED_SECONDS + 1
    assert "rights" not in [fault.code for fault in looking.look(CHANNEL)]


def test_a_command_that_no_script_can_try_and_the_server_does_not_know_is_named_after_it_was_refused(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    denials = Denials()
    monkeypatch.setattr(connection, "denials", denials)
    monkeypatch.setattr(store_examination, "denials", denials)
    looking = examination(server, client)
    looking.look(CHANNEL)
    refusal = "unknown command 'WAIT', with args beginning with: '1' '1000' "
    assert "command WAIT" in connection.unavailable(redis.exceptions.ResponseError(refusal)).detail
    assert looking.is_due()
    told = " ".join([fault.text for fault in looking.look(CHANNEL)])
    assert "lacks rights: +wait (unknown to the server);" in told, told


def test_the_server_says_how_it_is_configured(server: RedisServer, client: redis.Redis) -> None:
    looking = examination(server, client)
    assert [fault.code for fault in looking.look(CHANNEL)] == ["persistence"]
    client.config_set("maxmemory-policy", "volatile-lru")
    client.config_set("appendonly", "yes")
    assert [fault.code for fault in looking.look(CHANNEL)] == ["eviction"]
    client.config_set("maxmemory-policy", "noeviction")
    assert looking.look(CHANNEL) == ()
    client.config_set("appendonly", "no")


def test_a_store_without_memory_is_examined_too(server: RedisServer, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        assert refused(server, client) == ""
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("command", "named"),
    [("PUBSUB", "+pubsub|numsub (unknown to the server)"), ("XTRIM", "+xtrim (unknown to the server)")],
)
def test_a_command_that_the_server_does_not_know_is_named(command: str, named: str) -> None:
    renamed = RedisServer(options=("--rename-command", command, f"NO{command}"))
    try:
        renamed.start()
        settings = Settings(redis_url=renamed.url)
        faults = Examination(Connection.open(settings, SCRIPTS), settings).look(CHANNEL)
        assert [named in fault.text for fault in faults if fault.code == "rights"] == [True]
    finally:
        renamed.destroy()


@pytest.mark.parametrize(("command", "code"), [("INFO", "replication_id"), ("EVALSHA", "rights")])
def test_a_server_that_does_not_know_the_first_commands_is_examined_too(command: str, code: str) -> None:
    renamed = RedisServer(options=("--rename-command", command, f"NO{command}"))
    try:
        renamed.start()
        settings = Settings(redis_url=renamed.url)
        faults = Examination(Connection.open(settings, SCRIPTS), settings).look(CHANNEL)
        assert code in [fault.code for fault in faults]
    finally:
        renamed.destroy()


class MovingSlot:
    """A server of a cluster that the slot of the canary's channel is leaving."""

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        info = {"maxmemory_policy": "volatile-lru", "cluster_enabled": 1, "master_replid": "a"}
        return [info, *[redis.exceptions.AskError("7 127.0.0.1:7000") for _ in commands[1:]]]


def test_a_slot_on_its_way_to_another_server_hides_no_other_fault() -> None:
    settings = Settings(redis_url="redis+cluster://127.0.0.1:7000")
    assert [fault.code for fault in Examination(MovingSlot(), settings).look(CHANNEL)] == ["eviction"]


def test_a_number_of_a_database_that_the_server_does_not_have_is_told(server: RedisServer) -> None:
    settings = Settings(redis_url=f"{server.url}?db=16")
    (fault,) = Examination(Connection.open(settings, SCRIPTS), settings).look(CHANNEL)
    assert (fault.code, fault.weight) == ("database", Weight.ENDS)
    assert "no database 16" in fault.text
