"""A Redis that cannot keep what Belfry promises says so: at the start, in readiness, log, metric and doctor."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis

from tests.conftest import absent
from tests.replication import following
from tests.servers import HOST, REPOSITORY, Belfry, RedisServer, free_port, frozen
from tests.waiting import patient, wait_until

REDIS_SECONDS = 4  # that a request waits for a silent Redis
READY_SECONDS = 1.0  # a fourth of that; it takes milliseconds
FIRST_BEATS = {"BELFRY_CANARY_SECONDS": "0.1", "BELFRY_STORE_CHECK_SECONDS": "1", "WEB_CONCURRENCY": "2"}


@contextmanager
def serving(server: RedisServer, url: str = "", **environment: str) -> Iterator[Belfry]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        stack.callback(server.destroy)
        server.start()
        belfry = Belfry(url or server.url, {**FIRST_BEATS, **environment})
        stack.callback(belfry.destroy)
        yield belfry


def redis_client(belfry: Belfry) -> redis.Redis:
    """A client of the server's store."""
    return redis.Redis.from_url(belfry.settings_environment["BELFRY_REDIS_URL"])


def metric(belfry: Belfry, fault: str) -> float:
    text = belfry.api().get("/metrics").text
    found = re.search(rf'^belfry_store_faults{{fault="{fault}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def doctor(belfry: Belfry) -> str:
    command = [sys.executable, "-m", "app.cli", "doctor", belfry.url]
    environment = {**belfry._environment}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=patient(60), check=False
    )
    return done.stdout


def test_a_redis_that_evicts_or_forgets_is_told_everywhere_and_is_ready() -> None:
    with serving(RedisServer(options=("--maxmemory-policy", "volatile-lru"))) as belfry:
        belfry.start()
        wait_until(lambda: metric(belfry, "eviction") == 2, what="both workers to examine it")
        answer = belfry.api().get("/health/ready")
        assert answer.status_code == 200
        assert [each["code"] for each in answer.json()["warnings"]] == ["eviction", "persistence"]
        wait_until(lambda: belfry.log().count("appendonly is off") == 2, what="the log of both workers")
        assert belfry.log().count("maxmemory-policy is volatile-lru") == 2, "once for each worker"
        assert re.search(r"FAIL.*health\.store.*volatile-lru", doctor(belfry), re.IGNORECASE | re.DOTALL)


def test_a_setting_has_it_refuse_until_it_is_mended() -> None:
    server = RedisServer(options=("--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"))
    with serving(server, BELFRY_STORE_STRICT="eviction") as belfry:
        belfry.start()

        def is_told() -> bool:
            answer = belfry.api().get("/health/ready").json()
            return answer.get("code") == "store_unavailable" and "allkeys-lru" in answer["detail"]

        wait_until(is_told, what="readiness to name it")
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
        wait_until(lambda: belfry.api().get("/health/ready").json() == {"status": "ready"}, what="it to be ready")
        wait_until(lambda: metric(belfry, "eviction") == 0, what="the metric")


def test_a_node_of_a_cluster_is_refused_at_the_start() -> None:
    with serving(RedisServer(options=("--cluster-enabled", "yes"))) as belfry:
        with pytest.raises(AssertionError, match="ended with 4"):
            belfry.start()
        assert "the server is a node of a Redis Cluster" in belfry.log()
        assert "Traceback" not in belfry.log()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "redis+cluster://:p@ss@{address}",
            "the server is no node of a Redis Cluster: set BELFRY_REDIS_URL to redis://",
        ),
        ("redis://:p@ss@{address}/16", "the server has no database 16"),
    ],
)
def test_an_address_that_can_never_be_right_is_refused_at_the_start_and_no_line_tells_the_password(
    url: str, says: str
) -> None:
    server = RedisServer(port=free_port(), options=("--requirepass", "p@ss"), password="p@ss")
    with serving(server, url.format(address=f"{HOST}:{server.port}")) as belfry:
        with pytest.raises(AssertionError, match="ended with 4"):
            belfry.start()
        assert says in belfry.log()
        assert "ss@" not in belfry.log()
        assert "Traceback" not in belfry.log()
        assert len(belfry.log().splitlines()) < 20


def test_a_replica_is_not_ready_until_it_is_the_primary() -> None:
    primary = RedisServer(port=free_port())
    with ExitStack() as stack:
        stack.callback(primary.destroy)
        primary.start()
        with serving(RedisServer(options=following(primary)), WEB_CONCURRENCY="1") as belfry:
            belfry.start()

            def is_told() -> bool:
                answer = belfry.api().get("/health/ready")
                return answer.status_code == 503 and "is a replica" in answer.json()["detail"]

            wait_until(is_told, what="readiness to name it")
            wait_until(lambda: metric(belfry, "replica") == 1, what="the metric")
            with redis_client(belfry) as client:
                client.replicaof("NO", "ONE")
            wait_until(lambda: belfry.api().get("/health/ready").ok, what="it to be ready")
            belfry.publish({"to": "alice"})


def test_a_store_that_asks_for_more_replicas_than_there_are_says_so() -> None:
    server = RedisServer(options=("--min-replicas-to-write", "1"))
    with serving(server, WEB_CONCURRENCY="1") as belfry:
        belfry.start()
        answer = belfry.publisher.publish({"to": "alice"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert "min-replicas-to-write" in answer.json()["detail"]


def test_readiness_is_answered_at_once_while_redis_is_silent() -> None:
    """Before and after the worker has noticed. An answer that asked Redis would take as long as Redis is waited for."""
    server = RedisServer(options=("--appendonly", "yes"))
    settings = {"WEB_CONCURRENCY": "1", "BELFRY_REDIS_TIMEOUT_SECONDS": str(REDIS_SECONDS)}
    with serving(server, **settings) as belfry, belfry.start().api() as api:
        wait_until(lambda: api.get("/health/ready").ok, what="it to be ready")
        with frozen(server.pid):
            answers = []

            def refused() -> bool:
                answers.append(api.get("/health/ready"))
                return answers[-1].status_code == 503

            wait_until(refused, 10 * REDIS_SECONDS, what="it not to be ready")
            took = [answer.elapsed.total_seconds() for answer in answers]
            assert sorted(took)[len(took) // 2] < patient(READY_SECONDS)
            assert min(api.get("/health/ready").elapsed.total_seconds() for _ in range(3)) < patient(READY_SECONDS)


def test_streams_of_a_node_that_is_cut_off_are_sent_away_bit_by_bit() -> None:
    server = RedisServer(options=("--appendonly", "yes"))
    settings = {"WEB_CONCURRENCY": "1", "BELFRY_AWAY_SECONDS": "1", "BELFRY_HEARTBEAT_SECONDS": "2"}
    with serving(server, **settings) as belfry, ExitStack() as stack:
        belfry.start()
        streams = [stack.enter_context(belfry.stream(f"u{number}")) for number in range(6)]
        for stream in streams:
            stream.wait_for("ready")
        with frozen(server.pid):
            for stream in streams:
                assert json.loads(stream.wait_for("goodbye", 30).data)["reason"] == "shutdown"
        wait_until(lambda: belfry.api().get("/health/ready").ok, 30, what="it to be ready")
        with belfry.stream("u0", cursor=streams[0].cursor) as again:
            again.wait_for("ready")
            belfry.publish({"to": "u0", "data": 1})
            again.wait_for_messages(1)


@pytest.mark.parametrize(
    ("rules", "names"),
    [(("-time",), "+time"), (("resetchannels", "&other:*"), "&test-"), (("-subscribe",), "+subscribe")],
)
def test_a_right_that_lacks_is_named_in_readiness_and_log_and_the_log_stays_short(
    rules: tuple[str, ...], names: str
) -> None:
    server = RedisServer(options=("--appendonly", "yes"), port=free_port())
    with serving(server, f"redis://narrow:word@{HOST}:{server.port}") as belfry:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "&*", "+@all", *rules)
        belfry.start()

        def refusal() -> str:
            answer = belfry.api().get("/health/ready")
            return str(answer.json()["detail"]) if answer.status_code == 503 else ""

        wait_until(lambda: names in refusal(), what="readiness to name it")
        for number in range(50):
            belfry.publisher.publish({"to": "alice", "data": number})
        assert names in belfry.log()
        assert len(belfry.log().splitlines()) < 60, belfry.log()
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "narrow", "allchannels", "+@all")
            wait_until(lambda: belfry.api().get("/health/ready").ok, 60, what="it to be ready")
            belfry.publish({"to": "alice"})
            client.execute_command("ACL", "SETUSER", "narrow", "-exists")  # while it runs
            assert belfry.publisher.publish({"to": "alice"}).status_code == 503
            wait_until(lambda: "+exists" in refusal(), what="readiness to name a right that was taken away")
