"""Did alice get it, and when? Asked of a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.servers import Belfry
from tests.waiting import wait_until

Trace = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2"}


@pytest.fixture
def trace(belfry: Belfry, alice: str) -> Trace:
    """What an administrator is told of a message to alice."""
    root = belfry.api(belfry.token("root", "admin"))

    def told(message_id: str) -> dict[str, Any]:
        answer = root.get(f"/users/{alice}/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return told


def wait_for(trace: Trace, message_id: str, *whats: str) -> dict[str, Any]:
    """Wait until these steps are told; the recorder writes once a second."""
    found: dict[str, Any] = {}

    def has_come() -> bool:
        found.update(trace(message_id))
        return [step["what"] for step in found["steps"]] == list(whats)

    wait_until(has_come, 20, what=f"the steps {whats}")
    return found


def test_live_then_acknowledged_then_read_then_removed(belfry: Belfry, alice: str, trace: Trace) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        wait_until(lambda: belfry.api(belfry.token("root", "admin")).get(f"/users/{alice}").json()["connections"])
        # Where it stands was told before the message: asking must make it tell anew.
        sent = belfry.publish({"to": alice, "title": "Hello"})["id"]
        stream.wait_for_messages(1)
        cursor = stream.cursor
        found = wait_for(trace, sent, "published", "sent")
        assert (found["log"], found["offset"], found["kept"], found["read"]) == (f"user:{alice}", 1, True, False)
        assert not found["steps"][1]["caught_up"]
    with belfry.stream(alice, cursor=cursor) as stream:
        stream.wait_for("ready")
        wait_for(trace, sent, "published", "sent", "acknowledged")
    reader = belfry.reader(alice)
    reader.post("/feed/read", json={"ids": [sent]})
    assert wait_for(trace, sent, "published", "sent", "acknowledged", "read")["read"]
    reader.delete(f"/feed/{sent}")
    assert wait_for(trace, sent, "published", "sent", "acknowledged", "read", "removed")["removed"]


def test_whoever_was_away_caught_up_later(belfry: Belfry, alice: str, trace: Trace) -> None:
    cursor = belfry.reader(alice).feed()["cursor"]
    sent = belfry.publish({"to": alice, "title": "Hello"})["id"]
    assert [step["what"] for step in trace(sent)["steps"]] == ["published"]
    with belfry.stream(alice, cursor=cursor) as stream:
        stream.wait_for_messages(1)
        assert wait_for(trace, sent, "published", "sent")["steps"][1]["caught_up"]


def test_a_retracted_message_is_told_although_it_is_gone(belfry: Belfry, alice: str, trace: Trace) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        sent = belfry.publish({"to": alice, "id": f"r-{alice}", "title": "Oops"})["id"]
        stream.wait_for_messages(1)
        wait_for(trace, sent, "published", "sent")
        belfry.publisher.delete(f"/messages/{sent}")
    found = wait_for(trace, sent, "published", "sent", "retracted")
    assert (found["kept"], found["offset"]) == (False, 1)


def test_a_message_to_everyone_and_one_to_a_topic(belfry: Belfry, alice: str, topic: str, trace: Trace) -> None:
    with belfry.stream(alice, topics=[topic]) as stream:
        stream.wait_for("ready")
        to_all = belfry.publish({"everyone": True, "title": "All"})["id"]
        to_topic = belfry.publish({"topic": topic, "title": "News"})["id"]
        stream.wait_for_messages(2)
        assert wait_for(trace, to_all, "published", "sent")["log"] == "everyone"
        assert wait_for(trace, to_topic, "published", "sent")["log"] == f"topic:{topic}"


def test_what_never_went_there_is_not_found(belfry: Belfry, alice: str, bob: str, topic: str) -> None:
    root = belfry.api(belfry.token("root", "admin"))
    to_bob = belfry.publish({"to": bob, "title": "Hello"})["id"]
    to_topic = belfry.publish({"topic": topic, "title": "Hello"})["id"]
    for message_id in (to_bob, to_topic, "nothing"):
        answer = root.get(f"/users/{alice}/messages/{message_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_users_latest_messages_are_listed_with_their_marks(belfry: Belfry, alice: str) -> None:
    first, second = [belfry.publish({"to": alice, "title": title})["id"] for title in ("one", "two")]
    belfry.reader(alice).post("/feed/archive", json={"ids": [first]})
    told = belfry.api(belfry.token("root", "admin")).get(f"/users/{alice}").json()["messages"]
    mine = [message for message in told if message["log"] == f"user:{alice}"]
    assert [(message["id"], message["archived"]) for message in mine] == [(second, False), (first, True)]
