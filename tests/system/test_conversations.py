"""`/conversations`: asked on one device, shown on every device, changed and deleted; and how answers get into them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.servers import Belfry, RedisServer, owner_of
from tests.stream_client import StreamClient
from tests.system.conftest import StartBelfry
from tests.upstream import Upstream, running_upstream, saying
from tests.waiting import wait_until

IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    """Answers each question at once, unless the test lets it play something else."""
    shared_upstream.play = saying("A ", "tower.")
    shared_upstream.let_go()  # what came late, from the test before
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over
    shared_upstream.let_go()


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_CONVERSATION_TURNS": "3",
        "BELFRY_MAX_COMPLETION_BYTES": "100000",
    }


class Person:
    """A user with a device."""

    def __init__(self, belfry: Belfry, user: str) -> None:
        self.token = belfry.token(user, "complete", "feed")
        self.api = belfry.api(self.token)

    def begin(self, content: Any = "What is a belfry?", **members: Any) -> str:
        answer = self.api.post("/conversations", json={"model": "m", "content": content, **members})
        assert answer.status_code == 201, answer.text
        assert answer.json()["turn"] == answer.json()["id"]
        name: str = answer.json()["id"]
        return name

    def ask(self, name: str, content: Any = "How high?", **members: Any) -> requests.Response:
        return self.api.post(f"/conversations/{name}/turns", json={"model": "m", "content": content, **members})

    def show(self, name: str) -> dict[str, Any]:
        answer = self.api.get(f"/conversations/{name}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait_answered(self, name: str, seconds: float = 30) -> list[dict[str, Any]]:
        def answered() -> list[dict[str, Any]] | None:
            turns: list[dict[str, Any]] = self.show(name)["turns"]
            return turns if all(turn["status"] != "running" for turn in turns) else None

        return wait_until(answered, seconds)

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/conversations").json()["conversations"]
        return found


@pytest.fixture
def person(belfry: Belfry, alice: str) -> Person:
    return Person(belfry, alice)


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_is_asked_continued_and_listed(person: Person, upstream: Upstream) -> None:
    name = person.begin()
    (turn,) = person.wait_answered(name)
    assert (turn["id"], turn["content"], turn["status"], turn["text"]) == (
        name,
        "What is a belfry?",
        "done",
        "A tower.",
    )
    asked = person.ask(name, temperature=0)
    assert asked.status_code == 201
    assert asked.json()["revision"] == 2
    assert [turn["text"] for turn in person.wait_answered(name)] == ["A tower.", "A tower."]
    assert upstream.conversations[-1].body["messages"] == [
        {"role": "user", "content": "What is a belfry?"},
        {"role": "assistant", "content": "A tower."},
        {"role": "user", "content": "How high?"},
    ]
    assert upstream.conversations[-1].body["temperature"] == 0
    (listed,) = person.list()
    assert (listed["id"], listed["title"], listed["questions"]) == (name, "What is a belfry?", 2)
    assert listed["running"] is None
    run = person.api.get(f"/completions/{name}").json()
    assert run["conversation"] == name


def test_sent_again_starts_nothing_twice(person: Person, upstream: Upstream) -> None:
    name = person.begin(id="once")
    again = person.api.post("/conversations", json={"id": "once", "model": "m", "content": "What is a belfry?"})
    assert (again.status_code, again.json()["id"]) == (200, name)
    other = person.api.post("/conversations", json={"id": "once", "model": "m", "content": "Another?"})
    assert code(other) == (409, "id_reused")
    person.wait_answered(name)
    before = len(upstream.conversations)
    for status in (201, 200):
        assert person.ask(name, id="twice", revision=1).status_code == status
    person.wait_answered(name)
    assert len(upstream.conversations) == before + 1


def test_asked_again_replaces_what_came_after(person: Person, upstream: Upstream) -> None:
    name = person.begin()
    person.wait_answered(name)
    second = person.ask(name).json()["turn"]
    person.wait_answered(name)
    upstream.play = saying("About 50 m.")
    assert person.ask(name, after=name, revision=2).status_code == 201
    assert [turn["text"] for turn in person.wait_answered(name)] == ["A tower.", "About 50 m."]
    assert person.api.get(f"/completions/{second}").status_code == 404, "the run of the former answer is forgotten"
    assert person.ask(name, "And a bell?", after=None).status_code == 201
    (turn,) = person.wait_answered(name)
    assert turn["content"] == "And a bell?"
    assert upstream.conversations[-1].body["messages"] == [{"role": "user", "content": "And a bell?"}]


def test_takes_images_and_keeps_them(person: Person, upstream: Upstream) -> None:
    name = person.begin(IMAGE)
    (turn,) = person.wait_answered(name)
    assert turn["content"] == IMAGE
    assert upstream.conversations[-1].body["messages"] == [{"role": "user", "content": IMAGE}]
    assert person.show(name)["title"] == "What is this?"
    large = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}]
    assert code(person.ask(name, large)) == (413, "body_too_large")


def test_what_cannot_be_asked_is_refused_with_the_reason(person: Person) -> None:
    for body, problem in (
        ({"content": "?"}, (400, "invalid_completion")),
        ({"model": "m"}, (400, "invalid_completion")),
        ({"model": "m", "content": " "}, (400, "invalid_completion")),
        ({"model": "m", "content": [1]}, (400, "invalid_completion")),
        ({"model": "m", "content": "?", "messages": []}, (400, "invalid_completion")),
        ({"model": "m", "content": "?", "id": "a b"}, (422, "bad_run_id")),
    ):
        assert code(person.api.post("/conversations", json=body)) == problem
    assert code(person.ask("nothing")) == (404, "not_found")
    assert person.list() == []
    name = person.begin()
    person.wait_answered(name)
    assert code(person.ask(name, revision=7)) == (409, "conversation_changed")
    assert code(person.ask(name, after="nothing")) == (409, "conversation_changed")
    assert code(person.ask(name, after=7)) == (400, "invalid_completion")
    assert code(person.ask(name, revision="1")) == (400, "invalid_completion")
    for _ in range(2):
        assert person.ask(name).status_code == 201
        person.wait_answered(name)
    assert code(person.ask(name)) == (409, "conversation_full")


def test_waits_for_the_answer_before(person: Person, upstream: Upstream) -> None:
    upstream.play = upstream.hand_over
    name = person.begin()
    upstream.next()
    assert code(person.ask(name)) == (409, "answer_under_way")
    assert person.api.delete(f"/completions/{name}").json()["status"] == "stopped"
    (turn,) = person.show(name)["turns"]
    assert turn["status"] == "stopped"
    assert person.ask(name).status_code == 201
    upstream.next()  # or a later test would get this request


def test_gets_another_title(person: Person) -> None:
    name = person.begin()
    assert person.api.patch(f"/conversations/{name}", json={"title": " Bells  here "}).json() == {
        "id": name, "title": "Bells here",
    }  # fmt: skip
    assert person.show(name)["title"] == "Bells here"
    for body in ({"title": ""}, {"title": "x" * 121}, {"title": 1}, {"name": "x"}, {"title": "x", "turns": []}):
        assert code(person.api.patch(f"/conversations/{name}", json=body)) == (422, "invalid_conversation")
    assert code(person.api.patch("/conversations/nothing", json={"title": "x"})) == (404, "not_found")
    person.wait_answered(name)  # or a later test would get this request


def test_is_deleted_with_its_runs(person: Person, upstream: Upstream) -> None:
    upstream.play = upstream.hand_over
    name = person.begin()
    conversation = upstream.next()
    assert person.api.delete(f"/conversations/{name}").status_code == 204
    assert conversation.has_left()
    for path in (f"/conversations/{name}", f"/completions/{name}"):
        assert code(person.api.get(path)) == (404, "not_found")
    assert person.list() == []
    assert code(person.api.delete(f"/conversations/{name}")) == (404, "not_found")


def test_is_nobody_elses(person: Person, belfry: Belfry, bob: str) -> None:
    name = person.begin()
    other = Person(belfry, bob)
    assert other.list() == []
    assert code(other.api.get(f"/conversations/{name}")) == (404, "not_found")
    assert code(other.ask(name)) == (404, "not_found")
    assert code(other.api.patch(f"/conversations/{name}", json={"title": "Mine"})) == (404, "not_found")
    assert code(other.api.delete(f"/conversations/{name}")) == (404, "not_found")
    person.wait_answered(name)


def test_a_change_is_told_to_the_other_devices(person: Person, belfry: Belfry) -> None:
    with StreamClient(belfry.port, "/stream", {"Authorization": f"Bearer {person.token}"}) as stream:
        assert stream.next_event().event == "ready"
        name = person.begin()
        person.wait_answered(name)
        person.api.patch(f"/conversations/{name}", json={"title": "Bells"})
        person.api.delete(f"/conversations/{name}")
        told: list[str] = []
        while '"removed":true' not in (told[-1] if told else ""):
            event = stream.next_event()
            if event.event == "belfry.conversation":
                told.append(event.data)
    assert len(told) == 4, "the question, the answer, the title, the end"
    assert all(f'"conversation":"{name}"' in data for data in told)


def test_a_forgotten_user_leaves_no_conversation(belfry: Belfry, bob: str, redis_server: RedisServer) -> None:
    person = Person(belfry, bob)
    person.wait_answered(person.begin())
    root = belfry.api(belfry.token("root", "admin"))
    assert root.delete(f"/users/{bob}").status_code == 204
    with redis_server.client() as client:
        assert client.keys(f"*user:{bob}*conversation*") == []


@pytest.mark.parametrize("texts", [[], ["One ", "two "]], ids=["before the first token", "in mid-answer"])
def test_a_killed_worker_leaves_the_text_so_far_in_the_conversation(
    start_belfry: StartBelfry, environment: Mapping[str, str], upstream: Upstream, alice: str, texts: list[str]
) -> None:
    belfry = start_belfry(**environment, WEB_CONCURRENCY="2")
    person = Person(belfry, alice)
    upstream.play = upstream.hand_over
    name = person.begin()
    conversation = upstream.next()
    conversation.begin()
    conversation.say(*texts)
    wait_until(lambda: person.api.get(f"/completions/{name}").json()["text"] == "".join(texts))
    os.kill(owner_of(conversation.client_port, belfry.workers()), signal.SIGKILL)
    (turn,) = wait_until(lambda: answered(person, name), 60)
    assert (turn["status"], turn["text"]) == ("failed", "".join(texts))
    assert turn["error"]["code"] == "producer_lost"


def answered(person: Person, name: str) -> list[dict[str, Any]] | None:
    """The turns, if all are answered; a worker that was killed may have refused to tell."""
    try:
        turns: list[dict[str, Any]] = person.api.get(f"/conversations/{name}").json().get("turns", [])
    except requests.ConnectionError:
        return None
    return turns if turns and all(turn["status"] != "running" for turn in turns) else None
