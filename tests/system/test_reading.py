"""What a client that may only read leaves behind in Redis, however many names it asks for."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from app.web.api.operations import OPERATIONS, Operation
from tests.servers import Api, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

MINUTE_SECONDS = 60
WITHOUT_END = -1  # what TTL answers for a key that does not expire; it answers -2 for a key that is gone
PREFIX = {"BELFRY_REDIS_PREFIX": "belfry"}
GUEST = "reading-guest"
EVENTS = f"belfry:{{user:{GUEST}}}:events"
KEPT = {
    EVENTS,  # the flight recorder: one list per user, of bounded length
    "belfry:{control}:lineage",
    "belfry:{control}:lineage:workers",  # a member per worker
    "belfry:{presence}:workers",  # a member per worker
    "belfry:{users}:names",
    "belfry:{users}:seen",
    "belfry:{control}:format",
    "belfry:{topic:belfry.figures}:now",
    "belfry:{topic:belfry.figures}:hour",
}
"""All keys that may outlive a minute after a guest has read everything. No name that the guest asked for is in them."""


def test_a_guest_who_drives_every_route_with_made_up_names_leaves_no_key_that_outlives_a_minute(
    start_belfry: StartBelfry, own_redis: RedisServer
) -> None:
    belfry = start_belfry(own_redis.url, **PREFIX)
    with own_redis.client() as client:
        drive_every_route(belfry, "a")
        wait_until(lambda: client.llen(EVENTS), what="the flight recorder")
        first, recorded = lasting(client), client.llen(EVENTS)
        for name in ("b", "c", "d"):
            drive_every_route(belfry, name)
        wait_until(lambda: client.llen(EVENTS) > recorded, what="the flight recorder")
        assert lasting(client) - KEPT == set()
        assert set(client.zrange("belfry:{users}:names", 0, -1)) <= {GUEST}
        assert first <= KEPT


def test_marking_in_a_topic_without_messages_leaves_no_key(start_belfry: StartBelfry, own_redis: RedisServer) -> None:
    belfry = start_belfry(own_redis.url, **PREFIX)
    guest = belfry.reader(GUEST, ["room-*"])
    with own_redis.client() as client:
        for topic in ("room-a", "room-b"):
            for change in ("read", "archive"):
                for body in ({"all": True}, {"ids": ["made-up"]}, {"all": True, "undo": True}):
                    guest.request("POST", f"/feed/{change}?topics={topic}", json=body)
        assert lasting(client) - KEPT == set()


def test_a_cursor_of_topics_without_a_message_is_good_for_the_first_one(belfry: Belfry) -> None:
    with belfry.stream("reading-zoe", topics=["reading-d"]) as stream:
        stream.wait_for("ready")
        cursor = stream.cursor
    belfry.publish({"topic": "reading-d", "title": "first"})
    belfry.publish({"to": "reading-zoe", "title": "second"})
    with belfry.stream("reading-zoe", topics=["reading-d"], cursor=cursor) as stream:
        stream.wait_for_messages(2)
        assert not [event for event in stream.events if event.event == "reset"]


def test_a_store_that_is_emptied_costs_a_connected_reader_one_reset(
    start_belfry: StartBelfry, own_redis: RedisServer
) -> None:
    belfry = start_belfry(own_redis.url, BELFRY_TAIL_CHECK_SECONDS="0.5", **PREFIX)
    with belfry.stream(GUEST) as stream, own_redis.client() as client:
        stream.wait_for("ready")
        belfry.publish({"to": GUEST, "data": 1})
        stream.wait_for_messages(1)
        client.flushall()
        stream.wait_for("reset")
        wait_until(lambda: client.exists("belfry:{control}:lineage"), what="a look at the emptied store")
        belfry.publish({"to": GUEST, "data": 2})
        stream.wait_for_messages(2)
        assert [event.event for event in stream.events].count("reset") == 1


def drive_every_route(belfry: Belfry, name: str) -> None:
    """Read, and mark, under names that nobody has used, with a token for the feed and for reading runs."""
    token = belfry.token(GUEST, "feed", "complete", topics=["reading-*"])
    guest = belfry.api(token)
    topics = f"topics=reading-{name}-1,reading-{name}-2"
    cursor = guest.feed(topics=f"reading-{name}-1,reading-{name}-2")["cursor"]
    for path in paths(name):
        read(guest, path)
    for query in (f"{topics}&after={cursor}&wait=0", f"{topics}&before={cursor}", f"{topics}&after=made.up"):
        read(guest, f"/feed?{query}")
    for change in ("read", "archive"):
        for body in ({"all": True}, {"ids": [f"reading-{name}"]}):
            guest.request("POST", f"/feed/{change}?{topics}", json=body)
    for path in (f"/feed/reading-{name}?{topics}", f"/completions/reading-{name}"):
        guest.request("DELETE", path)
    assert guest.request("POST", "/tickets").status_code == 201
    with belfry.stream(GUEST, query=topics, token=token) as stream:
        stream.wait_for("ready")


def paths(name: str) -> Iterator[str]:
    """Every path that can be read, other than the stream, with a made-up name for each parameter."""
    for operation in OPERATIONS:
        if operation.method == "GET" and operation.path != "/stream":
            yield filled(operation, f"reading-{name}")


def filled(operation: Operation, name: str) -> str:
    path = operation.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}{name}{rest.partition('}')[2]}"
    return path


def read(guest: Api, path: str) -> None:
    with guest.request("GET", path, stream=True, allow_redirects=False) as answer:
        assert answer.status_code < 500 or answer.status_code == 501, (path, answer.status_code)


def lasting(client: redis.Redis) -> set[str]:
    """The keys that are there for longer than a minute. A key may end between the two commands."""
    ttls = {str(key): client.ttl(key) for key in client.keys("*")}
    return {key for key, ttl in ttls.items() if ttl == WITHOUT_END or ttl > MINUTE_SECONDS}
