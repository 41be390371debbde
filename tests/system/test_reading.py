"""What somebody who may only read leaves behind in Redis, however many names they ask for."""

from __future__ import annotations

import redis

from tests.servers import Belfry, RedisServer

MINUTE_SECONDS = 60


def test_a_guest_who_reads_ever_more_topics_leaves_no_key_that_outlives_a_minute(
    belfry: Belfry, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        read_and_mark(belfry, "reading-a")
        before = lasting(client)
        assert any("reading-guest" in key for key in before), "what is kept of the user itself is there"
        read_and_mark(belfry, "reading-b", "reading-c")
        after = lasting(client)
    assert not [key for key in after - before if "reading-" in key]


def test_a_cursor_of_topics_without_a_message_is_good_for_the_first_one(belfry: Belfry) -> None:
    with belfry.stream("reading-zoe", topics=["reading-d"]) as stream:
        stream.wait_for("ready")
        cursor = stream.cursor
    belfry.publish({"topic": "reading-d", "title": "first"})
    belfry.publish({"to": "reading-zoe", "title": "second"})
    with belfry.stream("reading-zoe", topics=["reading-d"], cursor=cursor) as stream:
        stream.wait_for_messages(2)
        assert not [event for event in stream.events if event.event == "reset"]


def read_and_mark(belfry: Belfry, *topics: str) -> None:
    guest = belfry.reader("reading-guest", ["reading-*"])
    query = f"topics={','.join(topics)}"
    cursor = guest.feed(topics=",".join(topics))["cursor"]
    guest.feed(topics=",".join(topics), after=cursor, wait=0)
    for change in ("read", "archive"):
        assert guest.request("POST", f"/feed/{change}?{query}", json={"all": True}).status_code == 200
    with belfry.stream(
        "reading-guest", query=query, token=belfry.token("reading-guest", "feed", topics=["reading-*"])
    ) as stream:
        stream.wait_for("ready")


def lasting(client: redis.Redis) -> set[str]:
    """The keys that are there for longer than a minute, and the fields of those that take one for each log."""
    keys = {str(key) for key in client.keys("*") if not 0 <= client.ttl(key) <= MINUTE_SECONDS}
    return keys | {f"{key} {field!r}" for key in keys if key.endswith(":marks") for field in client.hkeys(key)}
