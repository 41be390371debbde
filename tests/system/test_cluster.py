"""Belfry on a Redis Cluster of six processes: what is promised on one Redis holds there."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.cluster import Node, RedisCluster
from tests.conftest import absent
from tests.servers import REPOSITORY, Belfry, RedisServer
from tests.stream_client import StreamClient
from tests.system.test_acl import PASSWORD, UNNEEDED, acl
from tests.system.test_acl import PREFIX as USER
from tests.upstream import Upstream, running_upstream
from tests.waiting import wait_until

USERS = 60  # enough that every shard has some
LINES = 300
BACK_SECONDS = 60.0


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        cluster = RedisCluster(stack)
        for node in cluster.nodes:
            node.ask("ACL", "SETUSER", USER, *acl(), *further_rights())
        yield cluster


def further_rights() -> list[str]:
    """What docs/redis.md lists for a cluster, beside the line for every server."""
    text = (REPOSITORY / "docs" / "redis.md").read_text(encoding="utf-8")
    found = re.search(r"^`(\+cluster\|slots [^`]*)`", text, re.MULTILINE)
    assert found is not None
    return found[1].split()


@pytest.fixture(scope="module")
def belfry(cluster: RedisCluster, upstream: Upstream) -> Iterator[Belfry]:
    with serving(cluster, BELFRY_UPSTREAM_URL=upstream.url) as server:
        yield server


@contextmanager
def serving(cluster: RedisCluster, **environment: str) -> Iterator[Belfry]:
    settings = {
        "BELFRY_REDIS_PREFIX": USER,
        "BELFRY_DEMO": "1",
        "BELFRY_CANARY_SECONDS": "0.2",
        "WEB_CONCURRENCY": "2",
        **environment,
    }
    server = Belfry(cluster.url.replace("//", f"//{USER}:{PASSWORD}@"), settings)
    try:
        yield server.start()
    finally:
        server.destroy()


def key_of(belfry: Belfry, user: str) -> str:
    return f"{belfry.settings_environment['BELFRY_REDIS_PREFIX']}:{{user:{user}}}:log"


def by_shard(cluster: RedisCluster, belfry: Belfry, prefix: str) -> dict[Node, str]:
    """A user on each primary."""
    found: dict[Node, str] = {}
    for number in range(USERS):
        user = f"{prefix}-{number}"
        found.setdefault(cluster.owner(key_of(belfry, user)), user)
        if len(found) == len(cluster.primaries):
            return found
    raise AssertionError(found)


def is_taken(belfry: Belfry, user: str, data: str) -> bool:
    """Publish once; answers whether that succeeded."""
    return belfry.publisher.publish({"to": user, "data": data}).ok


def test_it_is_ready_and_has_a_link_to_each_primary_and_to_no_replica(cluster: RedisCluster, belfry: Belfry) -> None:
    wait_until(lambda: belfry.api().get("/health/ready").ok, what="it to be ready")

    def links(node: Node) -> int:
        with node.client() as client:
            return sum(each["name"] == "belfry-hub" for each in client.client_list())

    owners = cluster.owners()
    wait_until(lambda: all(links(node) == 2 * (node in owners) for node in cluster.nodes), what="a link per worker")


def test_messages_reach_streams_whose_logs_lie_on_different_shards(
    cluster: RedisCluster, belfry: Belfry, topic: str
) -> None:
    users = list(by_shard(cluster, belfry, "reach").values())
    with ExitStack() as stack:
        streams = [stack.enter_context(belfry.stream(user, topics=[topic])) for user in users]
        for stream in streams:
            stream.wait_for("ready")
        receipt = belfry.publish({"to": users, "id": f"m-{topic}", "data": 1})
        assert [each["online"] for each in receipt["deliveries"]] == [True] * len(users)
        again = belfry.publish({"to": users, "id": f"m-{topic}", "data": 1})
        assert [each["duplicate"] for each in again["deliveries"]] == [True] * len(users)
        belfry.publish({"topic": topic, "data": 2})
        belfry.publish({"everyone": True, "data": 3})
        for stream in streams:
            stream.wait_for_messages(3)
            assert sorted(each["data"] for each in stream.messages) == [1, 2, 3]


def test_a_resume_and_the_feed_read_logs_of_several_shards(belfry: Belfry, alice: str, topic: str) -> None:
    with belfry.stream(alice, topics=[topic]) as stream:
        stream.wait_for("ready")
        cursor = stream.cursor
    for number in range(5):
        belfry.publish({"to": alice, "data": f"own {number}"})
        belfry.publish({"topic": topic, "data": f"topic {number}"})
    expected = {f"{where} {number}" for where in ("own", "topic") for number in range(5)}
    with belfry.stream(alice, topics=[topic], cursor=cursor) as stream:
        stream.wait_for_messages(10)
        assert {each["data"] for each in stream.messages} == expected
        assert not [event for event in stream.events if event.event == "reset"]
    page = belfry.reader(alice, [topic]).feed(limit=50)
    assert expected <= {each["data"] for each in page["messages"]}


def test_the_lines_of_a_batch_stand_in_each_log_in_their_order(belfry: Belfry) -> None:
    users = [f"line-{number % 7}" for number in range(LINES)]
    results = belfry.publish_all([{"to": user, "data": f"line {number}"} for number, user in enumerate(users)])
    by_user: dict[str, list[int]] = {}
    for user, result in zip(users, results, strict=True):
        (delivery,) = result["deliveries"]
        assert delivery["to"] == user
        by_user.setdefault(user, []).append(delivery["offset"])
    assert all(offsets == list(range(1, len(offsets) + 1)) for offsets in by_user.values())
    page = belfry.reader("line-3").feed(limit=100)
    read = [each["data"] for each in page["messages"] if str(each.get("data")).startswith("line ")]
    assert read[::-1] == [f"line {number}" for number in range(3, LINES, 7)]


def test_marks_change_the_badge_of_every_connection(belfry: Belfry, alice: str) -> None:
    first = belfry.publish({"to": alice, "data": 1})["id"]
    belfry.publish({"to": alice, "data": 2})
    with belfry.stream(alice) as one, belfry.stream(alice) as two, belfry.reader(alice) as api:
        unread = json.loads(one.wait_for("ready").data)["unread"]
        two.wait_for("ready")
        assert api.post("/feed/read", json={"ids": [first]}).json()["unread"] == unread - 1
        assert json.loads(one.wait_for("read").data)["unread"] == unread - 1
        assert json.loads(two.wait_for("read").data)["unread"] == unread - 1


def test_presence_in_bulk_asks_every_shard(cluster: RedisCluster, belfry: Belfry) -> None:
    there = list(by_shard(cluster, belfry, "present").values())
    absent_users = [f"absent-{number}" for number in range(USERS)]
    with ExitStack() as stack:
        for user in there:
            stack.enter_context(belfry.stream(user)).wait_for("ready")
        users = ",".join(there + absent_users)
        told = belfry.publisher.get("/presence", params={"users": users}).json()["users"]
        assert {user for user, found in told.items() if found["online"]} == {*there}


def test_sign_in_and_a_revocation_work_on_both_workers(belfry: Belfry, alice: str) -> None:
    browser = belfry.api()
    assert browser.post("/login", data={"name": alice}, allow_redirects=False).status_code == 303
    assert browser.get("/feed").ok
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        with belfry.api(belfry.token("root", "admin")) as admin:
            assert admin.post("/admin/revocations", json={"user": alice}).status_code == 200
        assert "revoked" in stream.wait_for("goodbye").data
    wait_until(lambda: browser.get("/feed").status_code == 401, what="the session to end")


def test_a_retracted_message_is_gone_from_every_shard(cluster: RedisCluster, belfry: Belfry) -> None:
    users = list(by_shard(cluster, belfry, "retract").values())
    sent = belfry.publish({"to": users, "data": "gone"})["id"]
    assert belfry.publisher.delete(f"/messages/{sent}").ok
    for user in users:
        assert all(each["id"] != sent for each in belfry.reader(user).feed()["messages"])


def test_a_run_is_watched_and_ends(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    token = belfry.token(alice, "complete")
    with belfry.api(token) as api:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        run_id = api.post("/completions", json=body).json()["id"]
        conversation = upstream.next()
        conversation.begin()
        path, headers = f"/completions/{run_id}/stream", {"Authorization": f"Bearer {token}"}
        with StreamClient(belfry.port, path, headers) as watching:
            conversation.say("one ", "two")
            conversation.end()
            assert watching.read_to_end()[-1].data == "[DONE]"
        assert api.get(f"/completions/{run_id}").json()["text"] == "one two"


def test_the_rights_that_the_docs_list_were_enough(cluster: RedisCluster) -> None:
    """Of all that the tests above had done."""
    denials = [f"{each['object']} in {each['context']}" for node in cluster.nodes for each in _acl_log(node)]
    assert not [each for each in denials if not each.startswith(UNNEEDED)]


def _acl_log(node: Node) -> list[dict[str, Any]]:
    with node.client() as client:
        found: list[dict[str, Any]] = client.acl_log()
        return found


def test_a_plain_address_of_a_node_is_refused_and_the_right_one_is_named(cluster: RedisCluster) -> None:
    server = Belfry(f"redis://{cluster.nodes[0].address}")
    try:
        with pytest.raises(AssertionError, match="ended with 4"):
            server.start()
        assert "set BELFRY_REDIS_URL to redis+cluster://host:port,host:port" in server.log()
    finally:
        server.destroy()


def test_readiness_names_the_shard_that_is_away_and_the_others_go_on(cluster: RedisCluster, belfry: Belfry) -> None:
    """No replica takes over, and the cluster serves its other slots: a failover might be quicker than Belfry's look.

    Last, since the other tests need failovers as they are.
    """
    for node in cluster.nodes:
        node.ask("CONFIG SET", "cluster-replica-no-failover", "yes")
        node.ask("CONFIG SET", "cluster-require-full-coverage", "no")
    users = by_shard(cluster, belfry, "away")
    wait_until(lambda: belfry.api().get("/health/ready").ok, what="it to be ready")
    frozen, *others = users
    with ExitStack() as stack:
        streams = {user: stack.enter_context(belfry.stream(user)) for user in users.values()}
        for stream in streams.values():
            stream.wait_for("ready")
        frozen.signal(signal.SIGSTOP)
        try:
            wait_until(
                lambda: frozen.address in belfry.api().get("/health/ready").json().get("detail", ""),
                BACK_SECONDS,
                what="readiness to name it",
            )
            for other in others:
                # Where a message went is remembered on a shard that follows from its id, which may be the frozen one.
                wait_until(partial(is_taken, belfry, users[other], "meanwhile"), BACK_SECONDS, what="a publish")
                streams[users[other]].wait_for(lambda event: "meanwhile" in event.data)
        finally:
            frozen.signal(signal.SIGCONT)
        wait_until(lambda: belfry.api().get("/health/ready").ok, BACK_SECONDS, what="it to be ready again")
        wait_until(partial(is_taken, belfry, users[frozen], "again"), BACK_SECONDS, what="a publish")
        streams[users[frozen]].wait_for(lambda event: "again" in event.data, BACK_SECONDS)
