"""The rights that docs/redis.md lists are all that Belfry needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import absent
from tests.servers import HOST, REPOSITORY, Api, Belfry, RedisServer, free_port
from tests.upstream import running_upstream, saying
from tests.waiting import wait_until

PREFIX, PASSWORD = "belfry", "word"

UNNEEDED = "client|setinfo"  # redis-py offers its name, and goes on without; Redis 7.0 has no such command to grant
READY_SECONDS = 60.0  # the connections were cut a moment ago
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def acl() -> list[str]:
    """The line's words after the user's name, with the test's password."""
    text = (REPOSITORY / "docs" / "redis.md").read_text(encoding="utf-8")
    found = re.search(r"^ACL SETUSER belfry (.*)$", text, re.MULTILINE)
    assert found is not None
    return [word.replace(">password", f">{PASSWORD}") for word in found[1].split()]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer(port=free_port(), options=("--appendonly", "yes"))
    try:
        server.start()
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", PREFIX, *acl())
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def belfry(redis: RedisServer) -> Iterator[Belfry]:
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream())
        upstream.play = saying("Hel", "lo")
        url = f"redis://{PREFIX}:{PASSWORD}@{HOST}:{redis.port}/0"
        trimmed = {"BELFRY_HISTORY_LENGTH": "30"}
        settings = {
            **trimmed,
            "BELFRY_REDIS_PREFIX": PREFIX,
            "BELFRY_MAX_SESSIONS_PER_USER": "1",
            "BELFRY_UPSTREAM_URL": upstream.url,
            "BELFRY_FIGURES_SECONDS": "1",
        }
        server = Belfry(url, settings)
        stack.callback(server.destroy)
        yield server.start()


def denials(redis: RedisServer) -> list[str]:
    with redis.client() as client:
        told = [f"{each['object']} in {each['context']}" for each in client.acl_log()]
    return [each for each in told if not each.startswith(UNNEEDED)]


def test_all_that_belfry_does_is_allowed(redis: RedisServer, belfry: Belfry) -> None:
    """One of everything: messages, marks, runs, sessions, tickets, presence, administration."""
    wait_until(lambda: belfry.api().get("/health/ready").json() == {"status": "ready"}, what="it to be ready")
    with redis.client() as client:  # what the examination tried is not counted, and what begins a connection is
        client.script_flush()
        client.config_resetstat()
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")
    nobody = {"to": "nobody", "transient": True}
    wait_until(lambda: belfry.publisher.publish(nobody).ok, what="the connections to be there again")
    with belfry.stream("alice", topics=["news"]) as stream:
        stream.wait_for("ready", READY_SECONDS)
        belfry.publish({"to": "alice", "id": "one", "key": "k", "ttl": 600, "title": "hello"})
        belfry.publish({"to": ["alice", "bob"], "id": "two", "key": "k"})
        belfry.publish({"topic": "news", "data": 1})
        belfry.publish({"everyone": True, "data": 1})
        belfry.publish_all([{"to": "alice", "data": number} for number in range(40)])
        stream.wait_for_messages(44)
        everything(belfry)
    ticket = belfry.reader("alice").post("/tickets").json()["ticket"]
    assert belfry.api().get(f"/feed?ticket={ticket}").ok
    wait_until(lambda: belfry.api().get("/health/ready").ok, what="it to be ready")
    assert denials(redis) == []
    assert "refuses" not in belfry.log()


def converse(alice: Api) -> None:
    """A conversation, with a question that replaces another one."""
    asked = {"model": "m", "content": "hi"}
    name = alice.post("/conversations", json=asked).json()["id"]
    wait_until(lambda: alice.get(f"/conversations/{name}").json()["running"] is None, what="the answer")
    answers = [
        alice.post(f"/conversations/{name}/turns", json={**asked, "after": None}),
        alice.patch(f"/conversations/{name}", json={"title": "Bells"}),
        alice.get("/conversations"),
        alice.delete(f"/conversations/{name}"),
    ]
    assert [each.status_code for each in answers] == [201, 200, 200, 204]


def everything(belfry: Belfry) -> None:
    """Each kind of request once; none may be refused by the store."""
    admin = belfry.api(belfry.token("root", "admin", "publish", "feed", "complete"))
    alice = belfry.api(belfry.token("alice", "feed", "complete"))
    wait_until(lambda: admin.get("/users").json()["users"], what="a known user, whom workers report once a second")
    answers = [
        alice.post("/feed/read", json={"ids": ["two"]}),
        alice.post("/feed/archive", json={"all": True}),
        alice.get("/feed?limit=10"),
        alice.delete("/feed/two"),
        alice.post("/tickets"),
        alice.post("/session"),
        *[belfry.reader("alice").post("/session") for _ in range(3)],  # more than one may have
        alice.delete("/session"),
        admin.get("/messages/two"),
        admin.delete("/messages/two"),
        admin.get("/presence?users=alice,bob"),
        admin.get("/presence"),
        admin.get("/users"),
        admin.get("/messages"),
        admin.get("/users?q=al"),
        admin.get("/users/alice"),
        admin.get("/users/alice/messages"),
        admin.get("/users/alice/messages/one"),
        admin.get("/admin/figures"),
        admin.get("/admin/audit"),
        admin.post("/admin/revocations", json={"user": "carol"}),
        alice.post("/v1/chat/completions", json=ASKED),
        alice.post("/completions", json={**ASKED, "id": "r1"}),
        alice.get("/completions"),
    ]
    wait_until(lambda: alice.get("/completions/r1").json().get("status") == "done", what="the run to end")
    answers += [alice.get("/completions/r1/stream"), alice.delete("/completions/r1")]
    converse(alice)
    answers += [admin.delete("/presence/alice"), admin.delete("/users/bob")]
    failed = [(each.request.method, each.request.url, each.text) for each in answers if each.status_code >= 500]
    assert not failed
