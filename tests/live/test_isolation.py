"""One user can by no route read, resume, mark or remove anything of another."""

from __future__ import annotations

import pytest

from tests.servers import Belfry


def test_another_user_s_cursor_opens_nothing_on_a_stream(belfry: Belfry, alice: str, bob: str) -> None:
    cursor = belfry.reader(alice).feed()["cursor"]
    belfry.publish({"to": alice, "title": "secret"})
    with belfry.stream(bob, cursor=cursor) as stream:
        stream.wait_for("reset")
        belfry.publish({"to": bob, "title": "own"})
        assert [message["title"] for message in stream.wait_for_messages(1)] == ["own"]


@pytest.mark.parametrize("parameter", ["before", "after"])
def test_another_user_s_cursor_opens_nothing_in_the_feed(belfry: Belfry, alice: str, bob: str, parameter: str) -> None:
    cursor = belfry.reader(alice).feed()["cursor"]
    belfry.publish({"to": alice, "title": "secret"})
    answer = belfry.reader(bob).get("/feed", params={parameter: cursor})
    assert "secret" not in answer.text


def test_no_parameter_names_another_user(belfry: Belfry, alice: str, bob: str) -> None:
    belfry.publish({"to": alice, "title": "secret"})
    names = ("user", "sub", "to", "user_id", "log", "logs", "channel", "topics")
    for value in (alice, f"user:{alice}", f"user%3A{alice}"):
        for name in names:
            answer = belfry.reader(bob, topics=[]).get("/feed", params={name: value})
            assert "secret" not in answer.text


@pytest.mark.parametrize("topics", [[], ["other"], ["new*"]])
def test_a_topic_that_was_not_granted_can_t_be_read(belfry: Belfry, bob: str, topic: str, topics: list[str]) -> None:
    belfry.publish({"topic": f"x{topic}", "title": "secret"})
    reader = belfry.reader(bob, topics=topics)
    for path in ("/feed", "/stream"):
        answer = reader.get(path, params={"topics": f"x{topic}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "topic_forbidden")


def test_a_ticket_reads_the_feed_of_who_bought_it(belfry: Belfry, alice: str, bob: str) -> None:
    belfry.publish({"to": alice, "title": "secret"})
    ticket = belfry.reader(bob).post("/tickets").json()["ticket"]
    answer = belfry.api().get("/feed", params={"ticket": ticket})
    assert answer.status_code == 200
    assert "secret" not in answer.text


def test_a_publisher_reaches_only_whom_its_token_names(belfry: Belfry, alice: str, bob: str, topic: str) -> None:
    api = belfry.api(belfry.token("p", "publish", to=[alice]))
    assert api.publish({"to": alice}).status_code == 201
    for target in ({"to": bob}, {"to": [alice, bob]}, {"topic": topic}, {"everyone": True}):
        answer = api.publish(target)
        assert (answer.status_code, answer.json()["code"]) == (403, "target_forbidden")
    assert belfry.reader(bob).feed()["messages"] == []
