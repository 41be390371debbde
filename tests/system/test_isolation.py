"""One user can by no route read, resume, mark, remove, watch or stop anything of another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.servers import Api, Belfry
from tests.system.test_run_credentials import begin
from tests.upstream import Conversation, Upstream, running_upstream

READER_SCOPES = ("feed", "complete")  # what an application gives its users


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Each request waits for its test to answer it."""
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url}


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


class TestMarks:
    """What bob does to a message of alice's, by its id, changes nothing of hers and finds nothing of his."""

    @pytest.fixture
    def secret(self, belfry: Belfry, alice: str) -> str:
        belfry.publish({"to": alice, "id": f"secret-{alice}", "title": "secret"})
        return f"secret-{alice}"

    @staticmethod
    def state(belfry: Belfry, alice: str) -> list[tuple[Any, ...]]:
        page = belfry.reader(alice).feed()
        return [(page["unread"], page["revision"]), *[(each["id"], each["read"]) for each in page["messages"]]]

    @pytest.mark.parametrize("path", ["/feed/read", "/feed/archive"])
    @pytest.mark.parametrize("everything", [False, True])
    def test_are_not_made(self, belfry: Belfry, alice: str, bob: str, secret: str, path: str, everything: bool) -> None:
        before = self.state(belfry, alice)
        change = {"all": True} if everything else {"ids": [secret]}
        for query in ("", f"?user={alice}", f"?sub={alice}", f"?to=user:{alice}"):
            answer = belfry.reader(bob).post(f"{path}{query}", json=change)
            assert (answer.status_code, answer.json()["unread"]) == (200, 0)
        assert self.state(belfry, alice) == before

    @pytest.mark.parametrize("member", ["user", "sub", "to", "log"])
    def test_can_t_name_whose_they_are(self, belfry: Belfry, alice: str, bob: str, secret: str, member: str) -> None:
        for path in ("/feed/read", "/feed/archive"):
            answer = belfry.reader(bob).post(path, json={"ids": [secret], member: alice})
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")

    def test_remove_nothing(self, belfry: Belfry, alice: str, bob: str, secret: str) -> None:
        before = self.state(belfry, alice)
        answer = belfry.reader(bob).delete(f"/feed/{secret}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert self.state(belfry, alice) == before

    def test_of_what_went_to_both_are_each_one_s_own(self, belfry: Belfry, alice: str, bob: str) -> None:
        belfry.publish({"to": [alice, bob], "id": f"both-{alice}"})
        before = self.state(belfry, alice)
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            assert belfry.reader(bob).post("/feed/read", json={"all": True}).status_code == 200
            assert belfry.reader(bob).delete(f"/feed/both-{alice}").status_code == 200
            belfry.publish({"to": alice, "transient": True})
            stream.wait_for_messages(1)
            assert [event.event for event in stream.events if event.event != "heartbeat"] == ["ready", "message"]
        assert self.state(belfry, alice) == before
        assert self.state(belfry, bob)[1:] == []


class TestPublishers:
    """A token for bob alone learns and changes nothing of alice."""

    def test_retract_and_trace_only_what_went_to_whom_they_may_address(
        self, belfry: Belfry, alice: str, bob: str
    ) -> None:
        belfry.publish({"to": alice, "id": f"m-{alice}"})
        api = belfry.api(belfry.token("p", "publish", to=[bob]))
        for answer in (api.get(f"/messages/m-{alice}"), api.delete(f"/messages/m-{alice}")):
            assert (answer.status_code, answer.json()["code"]) == (403, "target_forbidden")
        assert [each["id"] for each in belfry.reader(alice).feed()["messages"]] == [f"m-{alice}"]

    def test_see_only_the_presence_of_whom_they_may_address(self, belfry: Belfry, alice: str, bob: str) -> None:
        api = belfry.api(belfry.token("p", "publish", to=[bob]))
        for users in (alice, f"{bob},{alice}"):
            answer = api.get("/presence", params={"users": users})
            assert (answer.status_code, answer.json()["code"]) == (403, "target_forbidden")

    def test_replace_no_message_of_another_user_by_its_id_or_key(self, belfry: Belfry, alice: str, bob: str) -> None:
        belfry.publish({"to": alice, "id": f"m-{alice}", "key": "build", "title": "hers"})
        belfry.api(belfry.token("p", "publish", to=[bob])).publish({"to": bob, "id": f"m-{alice}", "key": "build"})
        assert [each["title"] for each in belfry.reader(alice).feed()["messages"]] == ["hers"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages"),
        ("GET", "/messages/m-{alice}"),
        ("DELETE", "/messages/m-{alice}"),
        ("GET", "/presence"),
        ("GET", "/presence?users={alice}"),
        ("DELETE", "/presence/{alice}"),
        ("GET", "/users/{alice}"),
        ("DELETE", "/users/{alice}"),
        ("GET", "/admin/sessions?user={alice}"),
        ("GET", "/admin/audit"),
    ],
)
def test_a_user_has_no_part_in_what_is_for_administrators(
    belfry: Belfry, alice: str, bob: str, method: str, path: str
) -> None:
    belfry.publish({"to": alice, "id": f"m-{alice}"})
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        answer = belfry.api(belfry.token(bob, *READER_SCOPES)).request(method, path.format(alice=alice))
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
        belfry.publish({"to": alice, "title": "still connected"})
        stream.wait_for_messages(1)
    assert len(belfry.reader(alice).feed()["messages"]) == 2


class TestRuns:
    @pytest.fixture
    def conversation(self, belfry: Belfry, upstream: Upstream, alice: str) -> Iterator[Conversation]:
        """Alice's run under way, whose id is her name."""
        begin(belfry, belfry.token(alice, "complete"), alice)
        conversation = upstream.next_request(alice)
        conversation.begin()
        yield conversation
        conversation.over.set()

    def test_are_not_found_by_others(self, belfry: Belfry, alice: str, bob: str, conversation: Conversation) -> None:
        other = belfry.api(belfry.token(bob, *READER_SCOPES))
        for run_id in (alice, f"{alice}%2F{alice}", f"{alice}/{alice}", f"..%2F{alice}%2F{alice}"):
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/stream")):
                assert other.request(method, f"/completions/{run_id}{path}").status_code in {404, 405, 422}
        assert other.get("/completions", params={"user": alice}).json() == {"completions": []}
        conversation.finish()

    def test_can_t_be_resumed_by_others_with_their_cursor(
        self, belfry: Belfry, upstream: Upstream, alice: str, bob: str, conversation: Conversation
    ) -> None:
        hers = belfry.api(belfry.token(alice, "complete"))
        conversation.say("secret")
        conversation.finish()
        cursor = cursor_of_run(hers, alice)
        begin(belfry, belfry.token(bob, "complete"), bob)
        own = upstream.next_request(bob)
        other = belfry.api(belfry.token(bob, *READER_SCOPES))
        for path in (f"/completions/{alice}/stream", f"/completions/{bob}/stream", "/feed?after="):
            sent = {"Last-Event-ID": cursor}
            url = f"{path}{cursor}" if path.endswith("=") else path
            with other.get(url, headers=sent, stream=True) as answer:
                assert answer.status_code in {400, 404, 410}
                assert "secret" not in answer.text
        own.over.set()

    def test_of_others_go_on_when_the_same_id_is_used_and_stopped(
        self, belfry: Belfry, upstream: Upstream, alice: str, bob: str, conversation: Conversation
    ) -> None:
        body = {"id": alice, "model": "m", "messages": [{"role": "user", "content": "other"}], "user": bob}
        other = belfry.api(belfry.token(bob, "complete"))
        assert other.post("/completions", json=body).status_code == 201
        others = upstream.next_request(bob)  # who stops sooner, it is never asked for
        assert other.delete(f"/completions/{alice}").json()["status"] == "stopped"
        others.over.set()
        assert belfry.api(belfry.token(alice, "complete")).get(f"/completions/{alice}").json()["status"] == "running"
        conversation.finish()

    def test_belong_to_the_credential_whomever_the_request_names(
        self, belfry: Belfry, alice: str, bob: str, conversation: Conversation
    ) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "user": alice}
        other = belfry.api(belfry.token(bob, "complete"))
        run_id = other.post("/completions", json=body).json()["id"]
        assert [run["id"] for run in other.get("/completions").json()["completions"]] == [run_id]
        mine = belfry.api(belfry.token(alice, "complete")).get("/completions").json()["completions"]
        assert [run["id"] for run in mine] == [alice]
        other.delete(f"/completions/{run_id}")
        conversation.finish()


def cursor_of_run(api: Api, run_id: str) -> str:
    """Where a run that has ended ends."""
    with api.get(f"/completions/{run_id}/stream", stream=True) as answer:
        found: list[str] = re.findall(r"^id: ?(.+)$", answer.text, re.MULTILINE)
        return found[-1]
