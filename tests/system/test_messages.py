"""A message can be taken back from wherever it went, and a user can be forgotten."""

from __future__ import annotations

import json
import time

import pytest

from app.store.insight.recent import TEXT_MAX
from tests.servers import Api, Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until


def ids(reader: Api) -> list[str]:
    return [message["id"] for message in reader.feed()["messages"]]


def test_it_is_gone_from_every_feed_and_told_to_who_is_connected(belfry: Belfry, alice: str, bob: str) -> None:
    message_id = f"m-{alice}"
    belfry.publish({"to": [alice, bob], "id": message_id, "title": "oops"})
    belfry.publish({"to": alice, "title": "stays"})
    with belfry.stream(alice) as one, belfry.stream(bob) as two:
        one.wait_for("ready"), two.wait_for("ready")
        answer = belfry.publisher.delete(f"/messages/{message_id}")
        assert (answer.status_code, answer.json()) == (200, {"id": message_id, "retracted": sorted([alice, bob])})
        for stream, unread in ((one, 1), (two, 0)):
            told = json.loads(stream.wait_for("removed").data)
            assert (told["ids"], told["unread"]) == ([message_id], unread)
    assert message_id not in ids(belfry.reader(alice))
    assert ids(belfry.reader(bob)) == []


def test_a_retracted_broadcast_counts_for_nobody(start_belfry: StartBelfry, alice: str, bob: str) -> None:
    belfry = start_belfry()
    belfry.publish({"everyone": True, "id": "all"})
    belfry.reader(alice).post("/feed/read", json={"ids": ["all"]})
    with belfry.stream(alice) as one, belfry.stream(bob) as two:
        assert json.loads(one.next_event().data)["unread"] == 0
        assert json.loads(two.next_event().data)["unread"] == 1
        assert belfry.publisher.delete("/messages/all").json()["retracted"] == ["everyone"]
        for stream in (one, two):
            assert json.loads(stream.wait_for("removed").data)["unread"] == 0


def test_one_id_published_to_several_in_turn_is_retracted_from_all(belfry: Belfry, alice: str, bob: str) -> None:
    for user in (alice, bob):
        belfry.publish({"to": user, "id": f"m-{alice}"})
    assert belfry.publisher.delete(f"/messages/m-{alice}").json()["retracted"] == sorted([alice, bob])


def test_publishing_it_again_by_a_late_retry_does_not_bring_it_back(belfry: Belfry, alice: str) -> None:
    message = {"to": alice, "id": f"m-{alice}", "title": "once"}
    belfry.publish(message)
    belfry.publisher.delete(f"/messages/m-{alice}")
    assert belfry.publish(message)["deliveries"][0]["duplicate"] is True
    assert ids(belfry.reader(alice)) == []


def test_an_unknown_message_is_not_found(belfry: Belfry) -> None:
    answer = belfry.publisher.delete("/messages/nobody-sent-this")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_who_may_not_address_all_of_its_recipients_may_not_retract_it(belfry: Belfry, alice: str, bob: str) -> None:
    belfry.publish({"to": [alice, bob], "id": f"m-{alice}"})
    answer = belfry.api(belfry.token("limited", "publish", to=[alice])).delete(f"/messages/m-{alice}")
    assert (answer.status_code, answer.json()["code"]) == (403, "target_forbidden")
    assert ids(belfry.reader(alice)) == [f"m-{alice}"]


def test_readers_may_not_retract(belfry: Belfry, alice: str) -> None:
    assert belfry.reader(alice).delete("/messages/x").json()["code"] == "scope_missing"


class TestForgetting:
    def test_a_forgotten_user_has_no_feed_no_marks_and_no_connection(
        self, start_belfry: StartBelfry, alice: str
    ) -> None:
        belfry = start_belfry()
        belfry.publish({"everyone": True, "id": "all"})
        belfry.publish({"to": alice, "id": "hers"})
        belfry.reader(alice).post("/feed/read", json={"all": True})
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            assert belfry.api(belfry.token("root", "admin")).delete(f"/users/{alice}").status_code == 204
            assert json.loads(stream.wait_for("goodbye").data) == {"reason": "revoked"}
        later = belfry.api(belfry.token(alice, "feed", now=time.time() + 1))  # see test_revocation.py
        assert [(each["id"], each["read"]) for each in later.feed()["messages"]] == [("all", False)]

    @pytest.mark.parametrize("scope", ["feed", "publish"])
    def test_only_an_administrator_may(self, belfry: Belfry, alice: str, scope: str) -> None:
        answer = belfry.api(belfry.token(alice, scope)).delete(f"/users/{alice}")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


class TestStatus:
    def test_it_tells_who_has_read_the_message(self, belfry: Belfry, alice: str, bob: str) -> None:
        message_id = f"m-{alice}"
        belfry.publish({"to": [alice, bob], "id": message_id})
        belfry.reader(alice).post("/feed/read", json={"ids": [message_id]})
        told = belfry.publisher.get(f"/messages/{message_id}").json()
        assert (told["recipients"], told["kept"], told["read"]) == (2, 2, 1)
        assert {each["to"]: each["read"] for each in told["deliveries"]} == {alice: True, bob: False}

    def test_who_may_not_address_all_of_its_recipients_learns_nothing(
        self, belfry: Belfry, alice: str, bob: str
    ) -> None:
        belfry.publish({"to": [alice, bob], "id": f"m-{alice}"})
        limited = belfry.api(belfry.token("limited", "publish", to=[alice]))
        assert limited.get(f"/messages/m-{alice}").json()["code"] == "target_forbidden"


class TestReaders:
    def test_those_of_a_topic_are_counted_over_the_users_that_are_known(
        self, start_belfry: StartBelfry, alice: str, bob: str, topic: str
    ) -> None:
        belfry = start_belfry()
        sent = belfry.publish({"topic": topic, "title": "News"})["id"]
        belfry.publish({"to": [alice, bob, "carol"], "title": "makes them known"})
        for user in (alice, bob):
            belfry.reader(user, [topic]).post(f"/feed/read?topics={topic}", json={"ids": [sent]})
        root = belfry.api(belfry.token("root", "admin", "publish"))

        def counted() -> dict[str, int]:
            (delivery,) = root.get(f"/messages/{sent}?readers=true").json()["deliveries"]
            found: dict[str, int] = delivery["readers"]
            return found

        wait_until(lambda: counted() == {"read": 2, "of": 3})

    def test_no_more_users_are_looked_at_than_allowed(self, start_belfry: StartBelfry, topic: str) -> None:
        belfry = start_belfry(BELFRY_COUNTED_USERS="450")
        sent = belfry.publish({"topic": topic, "title": "News"})["id"]
        belfry.publish({"to": [f"user-{number}" for number in range(600)], "title": "makes them known"})
        root = belfry.api(belfry.token("root", "admin", "publish"))
        wait_until(lambda: root.get("/users").json()["known"] == 600)
        (delivery,) = root.get(f"/messages/{sent}?readers=true").json()["deliveries"]
        assert delivery["readers"] == {"read": 0, "of": 450}

    def test_only_an_administrator_may_count(self, belfry: Belfry, topic: str) -> None:
        sent = belfry.publish({"topic": topic, "title": "News"})["id"]
        assert belfry.publisher.get(f"/messages/{sent}?readers=true").json()["code"] == "scope_missing"
        assert "readers" not in belfry.publisher.get(f"/messages/{sent}").json()["deliveries"][0]


class TestContent:
    def test_an_administrator_gets_the_message_and_where_it_went(self, belfry: Belfry, alice: str, bob: str) -> None:
        sent = belfry.publish({"to": [alice, bob], "title": "Hello", "data": [1]})["id"]
        root = belfry.api(belfry.token("root", "admin"))
        told = root.get(f"/messages/{sent}/content").json()
        assert (told["event"], told["message"]["id"], told["message"]["data"]) == ("message", sent, [1])
        assert told["logs"] == sorted([f"user:{alice}", f"user:{bob}"])
        belfry.publisher.delete(f"/messages/{sent}")
        assert root.get(f"/messages/{sent}/content").json()["code"] == "not_found"

    def test_its_event_type_is_told(self, belfry: Belfry, alice: str) -> None:
        sent = belfry.publish({"to": alice, "event": "order.paid", "data": 1})["id"]
        told = belfry.api(belfry.token("root", "admin")).get(f"/messages/{sent}/content").json()
        assert told["event"] == "order.paid"

    def test_a_publisher_does_not(self, belfry: Belfry, alice: str) -> None:
        sent = belfry.publish({"to": alice, "title": "Hello"})["id"]
        assert belfry.publisher.get(f"/messages/{sent}/content").json()["code"] == "scope_missing"


class TestRecent:
    def test_an_administrator_sees_what_was_published_last_and_how_many_it_reached(
        self, start_belfry: StartBelfry, alice: str, bob: str
    ) -> None:
        belfry = start_belfry()
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": [alice, bob], "id": "one", "title": "t" * 500, "level": "info"})
            belfry.publish({"to": [alice, bob], "id": "one", "title": "t" * 500, "level": "info"})  # a retry
            belfry.publish({"everyone": True, "id": "two"})
        root = belfry.api(belfry.token("root", "admin"))
        wait_until(lambda: len(root.get("/messages").json()["messages"]) == 2)
        second, first = root.get("/messages").json()["messages"]
        assert (first["id"], first["by"], first["recipients"], first["reached"]) == ("one", "publisher", 2, 1)
        assert first["title"] == "t" * TEXT_MAX
        assert (first["stored"], first["duplicates"]) == (2, 0)
        assert (second["to"], second["reached"], second["stored"]) == (["everyone"], 1, 1)
        assert [each["id"] for each in root.get("/messages", params={"limit": 1}).json()["messages"]] == ["two"]

    def test_a_publisher_does_not(self, belfry: Belfry) -> None:
        assert belfry.publisher.get("/messages").json()["code"] == "scope_missing"
