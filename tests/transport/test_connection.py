"""One kind of error for whatever goes wrong with Redis, and nothing sent twice that was done."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

import pytest
import redis
from redis.connection import Connection as RedisConnection

from app.core.errors import BelfryError
from app.core.message import parse
from app.core.settings import Settings
from app.store.logs.log import APPEND, SCRIPTS, LogStore
from app.transport import connection
from app.transport.auto_pipeline import AutoPipeline
from app.transport.connection import (
    Command,
    Connection,
    DedicatedConnection,
    Denials,
    LostError,
    Reply,
    Script,
    UnpackableError,
    checked,
    unavailable,
)
from app.transport.log_throttle import LogThrottle
from tests.servers import HOST, RedisServer, free_port


def test_replies_come_in_the_order_of_the_commands(connection: Connection) -> None:
    assert connection.run([("SET", "a", "1"), ("INCR", "a"), ("GET", "a")])[1:] == [2, b"2"]


def test_an_error_of_one_command_stands_in_its_place_and_the_others_are_done(connection: Connection) -> None:
    replies = connection.send([("SET", "a", "x"), ("INCR", "a"), ("GET", "a")])
    assert isinstance(replies[1], redis.ResponseError)
    assert replies[2] == b"x"
    with pytest.raises(BelfryError) as refusal:
        connection.run([("INCR", "a")])
    assert refusal.value.code == "store_unavailable"


def test_only_scripts_that_the_server_did_not_know_are_sent_again(client: redis.Redis) -> None:
    counting = Script("open")
    counting.text = "return redis.call('INCR', KEYS[1])"
    counting.sha = client.script_load(counting.text)
    client.script_flush()
    connection = Connection(client, [counting])
    assert connection.run([("INCR", "n"), counting.call(["n"]), ("INCR", "n")])[0] == 1
    assert client.get("n") == b"3"


def test_what_waits_for_replicas_waits_for_a_script_that_had_to_be_loaded_first(redis_server: RedisServer) -> None:
    """Else it would have counted the replicas before there was anything to replicate."""
    with redis_server.client() as client:
        client.script_flush()
        sent = Connection.open(Settings(redis_url=redis_server.url), [counting()])
        before = client.info("commandstats")
        assert sent.run([counting().call(["waited"]), ("WAIT", 0, 10)])[1] == 0
        after = client.info("commandstats")
    assert calls(after, "wait") - calls(before, "wait") == 2
    assert calls(after, "incr") - calls(before, "incr") == 1


def counting() -> Script:
    script = Script("open")
    script.text = "return redis.call('INCR', KEYS[1])"
    script.sha = sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    return script


def calls(stats: dict[str, Any], command: str) -> int:
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("url", ["unix:///nonexistent/socket", "redis://127.0.0.1:1/0"])
def test_a_server_that_is_not_there_is_told_by_name_with_a_time_to_retry(url: str) -> None:
    connection = Connection.open(Settings(redis_url=url), SCRIPTS)
    with pytest.raises(BelfryError) as refusal:
        connection.ping()
    assert (refusal.value.code, refusal.value.headers["Retry-After"]) == ("store_unavailable", "2")


def test_a_connection_that_the_server_closed_is_replaced_without_a_word(redis_server: RedisServer) -> None:
    connection = Connection.open(Settings(redis_url=redis_server.url), SCRIPTS)
    connection.ping()
    kill(redis_server)
    connection.ping()


class TestALine:
    """One connection that is kept."""

    @pytest.fixture
    def pool(self, redis_server: RedisServer) -> Connection:
        return Connection.open(Settings(redis_url=redis_server.url), SCRIPTS)

    @pytest.fixture
    def line(self, pool: Connection) -> DedicatedConnection:
        """That was used."""
        line = pool.dedicated()
        assert line.send([("PING",)])
        return line

    def test_answers_what_was_written_in_its_order(self, line: DedicatedConnection) -> None:
        first, second = [("SET", "a", "1"), ("INCR", "a")], [("GET", "a")]
        line.write(line.packed(first))
        line.write(line.packed(second))
        assert line.read(first)[1:] == [2]
        assert line.read(second) == [b"2"]

    def test_that_the_server_closed_is_replaced_without_a_word(
        self, line: DedicatedConnection, redis_server: RedisServer
    ) -> None:
        kill(redis_server)
        assert line.send([("ECHO", "again")]) == [b"again"]

    def test_that_the_server_closed_has_no_replies_to_what_was_written(
        self, line: DedicatedConnection, redis_server: RedisServer
    ) -> None:
        def exchange() -> None:
            """Either of them may be the first to notice."""
            line.write(line.packed([("PING",)]))
            line.read([("PING",)])

        kill(redis_server)
        with pytest.raises(LostError):
            exchange()
        assert not line.is_open

    def test_that_another_one_closed_does_not_wait_for_them_on_a_new_one(self, line: DedicatedConnection) -> None:
        line.write(line.packed([("PING",)]))
        line.close()
        for lost in (lambda: line.read([("PING",)]), lambda: line.write(line.packed([("PING",)]))):
            with pytest.raises(LostError):
                lost()
        assert not line.is_open

    def test_is_closed_by_a_timeout_so_that_late_replies_are_nobodys(self, redis_server: RedisServer) -> None:
        line = Connection.open(Settings(redis_url=redis_server.url, redis_timeout_seconds=1.1), SCRIPTS).dedicated()
        line.send([("PING",)])
        line.write(line.packed([("BLPOP", "nothing-there", 60)]))
        with pytest.raises(BelfryError, match="TimeoutError"):
            line.read([("BLPOP", "nothing-there", 60)])
        assert not line.is_open
        assert line.send([("ECHO", "next")]) == [b"next"]

    def test_that_was_given_back_is_lent_to_the_next(self, pool: Connection, line: DedicatedConnection) -> None:
        (number,) = line.send([("CLIENT", "ID")])
        line.give_back()
        assert pool.run([("CLIENT", "ID")]) == [number]


def kill(server: RedisServer) -> None:
    with server.client() as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal")


class TestAStoreWithoutMemory:
    """As Redis answers a pipeline in which some commands take room and some don't; `-OOM` is its own error code."""

    OOM = redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    @pytest.mark.parametrize("replies", [[OOM], [OOM, 0, OOM], [1, 1, OOM]])
    def test_that_kept_nothing_says_so(self, replies: list[Reply]) -> None:
        with pytest.raises(BelfryError) as refusal:
            checked(replies)
        assert (refusal.value.code, refusal.value.headers["Retry-After"]) == ("store_full", "30")

    @pytest.mark.parametrize("replies", [[OOM, 0, [b"appended", b"e", 1, 0]], [[b"appended", b"e", 1, 0], OOM]])
    def test_that_kept_some_asks_for_a_repetition(self, replies: list[Reply]) -> None:
        with pytest.raises(BelfryError) as refusal:
            checked(replies)
        assert refusal.value.code == "store_unavailable"

    def test_is_not_told_where_something_else_failed_too(self) -> None:
        with pytest.raises(BelfryError) as refusal:
            checked([self.OOM, redis.exceptions.ResponseError("LOADING")])
        assert refusal.value.code == "store_unavailable"


class LosesAReply(DedicatedConnection):
    """Loses the first reply to an append, whose connection ends, and finds the store full the next time.

    It may be another one, which has not seen the scripts.
    """

    is_lost = False
    is_another = False

    def _replies(self, connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
        replies = super()._replies(connection, commands)
        if self.is_lost or APPEND.sha not in commands[0]:
            return replies
        self.is_lost = True
        connection.send_command("CONFIG", "SET", "maxmemory", "1")
        connection.read_response()
        if self.is_another:
            connection.send_command("SCRIPT", "FLUSH")
            connection.read_response()
        raise redis.exceptions.ConnectionError("cut")


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("is_another", [False, True])
def test_a_full_store_that_is_sent_something_again_does_not_say_that_nothing_was_kept(
    redis_server: RedisServer, is_open: bool, is_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time may have been enough, so this asks for a repetition."""
    monkeypatch.setattr(LosesAReply, "is_another", is_another)
    settings = Settings(redis_url=redis_server.url)
    with redis_server.client() as client:
        client.flushall()
        pool = Connection.open(settings, SCRIPTS)
        lines = AutoPipeline(lambda: LosesAReply(pool._client, SCRIPTS), 5.0, 100, lanes=1, depth=2)
        client.script_load(APPEND.text)
        if is_open:
            lines.run([("PING",)])
        store = LogStore(lines, settings)
        message = parse(b'{"to":"alice","id":"m"}', now=1.0, new_id="", max_recipients=1)
        with contextlib.ExitStack() as stack:
            stack.callback(client.config_set, "maxmemory", "0")
            stack.callback(lines.stop)
            with pytest.raises(BelfryError) as refusal:
                store.append([("user:alice", message)])
        assert refusal.value.code == "store_unavailable"
        assert LogStore(pool, settings).tails(["user:alice"]) != [None]


@pytest.mark.parametrize("argument", ["half \ud800", None])
def test_what_cant_be_sent_is_told_apart_and_the_connection_goes_on(
    redis_server: RedisServer, argument: object
) -> None:
    connection = Connection.open(Settings(redis_url=redis_server.url), SCRIPTS)
    with pytest.raises(UnpackableError):
        connection.run([("PING",), ("ECHO", argument)])
    assert connection.run([("ECHO", "next")]) == [b"next"]


@pytest.mark.parametrize(
    ("credentials", "answer", "line"),
    [
        ("", "asks for a password", "BELFRY_REDIS_URL has none: write redis://:password@host"),
        ("s3cret@", "refuses Belfry's user or password", "a password without a user as redis://:password@host"),
        (":wrong@", "refuses Belfry's user or password", "write a '%' in it as %25"),
    ],
    ids=["none", "as the user", "a wrong one"],
)
def test_a_password_that_is_missing_or_wrong_is_told_with_the_way_to_write_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, credentials: str, answer: str, line: str
) -> None:
    monkeypatch.setattr(connection, "complaints", LogThrottle(logging.getLogger("belfry.store")))
    server = RedisServer(port=free_port(), options=("--requirepass", "s3cret"), password="s3cret")
    try:
        server.start()
        opened = Connection.open(Settings(redis_url=f"redis://{credentials}{HOST}:{server.port}"), [])
        with pytest.raises(BelfryError) as refusal:
            opened.run([("GET", "x")])
        assert answer in str(refusal.value.detail)
        assert line in caplog.text
        assert "s3cret" not in caplog.text
    finally:
        server.destroy()


@pytest.mark.parametrize("command", ["CLIENT", "SELECT", "subscribe"])
def test_a_command_that_the_server_does_not_know_is_named_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(connection, "denials", Denials())  # the process's own would report it to other tests
    refusal = redis.exceptions.ResponseError(f"unknown command '{command}', with args beginning with: 'secret' 'x' ")
    told = unavailable(refusal).detail
    assert f"does not know the command {command.upper()}; its configuration may rename it" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            redis.exceptions.MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
            "lost",
        ),
        (redis.exceptions.ConnectionError("max number of clients reached"), "maxclients"),
        (redis.exceptions.ResponseError("DENIED Redis is running in protected mode because"), "protected mode"),
        (
            redis.exceptions.ConnectionError("Error 1 connecting: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            "trusted",
        ),
        (redis.exceptions.ConnectionError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert"), "ssl_certfile"),
        (redis.exceptions.ConnectionError("Error 1 connecting: [SSL: WRONG_VERSION_NUMBER] wrong"), "redis://"),
        (redis.exceptions.ClusterDownError("Hash slot not served"), "No primary of the cluster"),
        (redis.exceptions.ClusterDownError("The cluster is down"), "is down"),
        (redis.exceptions.NoScriptError("No matching script."), "scripts"),
    ],
)
def test_a_server_that_refuses_for_a_known_cause_is_told_by_it(error: redis.RedisError, told: str) -> None:
    assert told in unavailable(error).detail
