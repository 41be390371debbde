"""Conversations in the store: a question and its run come together, and an answer is written once."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from app.core.completion import parse_question
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.store.conversations.conversations import Asked, Conversation, Conversations
from app.store.logs.log import LogStore
from app.store.runs.runs import LOST, STOPPED, Ending, RunName, Runs
from app.transport.connection import Command, Connection, Reply

USER = "alice"
DONE = Ending("done", tokens=2)


def chunk(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"message " + json.dumps({"choices": [choice]}).encode()


class User:
    """Asks in conversations, and has models answer."""

    def __init__(self, commands: Connection | Failing, settings: Settings) -> None:
        self.conversations = Conversations(commands, settings, time.time)
        self.runs = Runs(LogStore(commands, settings), commands, settings, time.time, self.conversations)

    def place(self, name: str, **members: Any) -> Asked:
        question = parse_question(json.dumps({"model": "m", **members}).encode())
        return self.conversations.place(USER, self.conversations.find(USER, name), name, question)

    def start(self, asked: Asked) -> bool:
        run = RunName(USER, asked.question.id)
        return self.runs.start(run, asked.question.request(asked.conversation, asked.turns, {}), asked)

    def ask(self, name: str, **members: Any) -> bool:
        return self.start(self.place(name, **members))

    def say(self, run_id: str, *texts: str) -> None:
        self.runs.append(RunName(USER, run_id), 0, [chunk(text) for text in texts])

    def end(self, run_id: str, ending: Ending = DONE) -> None:
        self.runs.end(RunName(USER, run_id), ending)

    def answered(self, name: str, run_id: str, *texts: str, **members: Any) -> None:
        self.ask(name, id=run_id, **{"content": f"{run_id}?", **members})
        self.say(run_id, *(texts or (f"{run_id}!",)))
        self.end(run_id)

    def get(self, name: str = "c") -> Conversation:
        return self.conversations.get(USER, name)

    def texts(self, name: str = "c") -> list[tuple[str, str | None]]:
        return [(turn.content, turn.answer["text"] if turn.answer else None) for turn in self.get(name).turns]


class Failing:
    """A connection that breaks at a number of its calls, before or after the store did what it was told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.breaks: dict[int, bool] = {}  # number of the call → whether the store does it
        self.calls = 0

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        self.calls += 1
        if self.calls in self.breaks:
            if self.breaks[self.calls]:
                self._connection.run(commands)
            raise BelfryError("store_unavailable")
        return self._connection.run(commands)


@pytest.fixture
def user(connection: Connection, settings: Settings) -> User:
    return User(connection, settings)


def limited(connection: Connection, settings: Settings, **limits: int) -> User:
    return User(connection, settings.model_copy(update=limits))


def refused(user: User, name: str = "c", **members: Any) -> str:
    with pytest.raises(BelfryError) as refusal:
        user.ask(name, **members)
    return refusal.value.code


class TestAQuestion:
    def test_begins_a_conversation_that_has_its_title(self, user: User) -> None:
        assert user.ask("c", id="r1", content="What is  a belfry?")
        summary = user.get().summary
        assert (summary.title, summary.model, summary.count, summary.revision) == ("What is a belfry?", "m", 1, 1)
        assert summary.running == "r1"
        assert user.texts() == [("What is  a belfry?", None)]

    def test_follows_the_last_one_and_goes_up_with_all_that_was_said(self, user: User) -> None:
        user.answered("c", "r1", "A ", "tower.")
        asked = user.place("c", id="r2", content="How high?")
        assert asked.question.request("c", asked.turns, {}).fields["messages"] == [
            {"role": "user", "content": "r1?"},
            {"role": "assistant", "content": "A tower."},
            {"role": "user", "content": "How high?"},
        ]
        assert user.start(asked)
        assert user.texts() == [("r1?", "A tower."), ("How high?", None)]

    def test_sent_again_is_the_same_turn(self, user: User) -> None:
        user.answered("c", "r1")
        assert user.ask("c", id="r2", content="And?", revision=1)
        assert not user.ask("c", id="r2", content="And?", revision=1), "though the revision is another one now"
        assert user.texts() == [("r1?", "r1!"), ("And?", None)]
        user.end("r2")
        assert not user.ask("c", id="r2", content="And?", revision=1)
        assert user.get().summary.revision == 2

    def test_with_the_id_of_another_is_refused(self, user: User) -> None:
        user.answered("c", "r1")
        assert refused(user, id="r1", content="Something else") == "id_reused"
        assert refused(user, "other", id="r1", content="r1?") == "id_reused"
        assert user.conversations.find(USER, "other") is None

    def test_waits_for_the_answer_before_it(self, user: User) -> None:
        user.ask("c", id="r1", content="One?")
        assert refused(user, id="r2", content="Two?") == "answer_under_way"

    def test_replaces_what_came_after_the_turn_that_it_follows(self, user: User) -> None:
        for run_id in ("r1", "r2", "r3"):
            user.answered("c", run_id)
        asked = user.place("c", id="r4", content="Again?", after="r1")
        assert [turn.id for turn in asked.replaced] == ["r2", "r3"]
        user.start(asked)
        assert user.texts() == [("r1?", "r1!"), ("Again?", None)]
        user.say("r4", "Yes.")
        user.end("r4")
        assert user.texts() == [("r1?", "r1!"), ("Again?", "Yes.")]
        user.ask("c", id="r5", content="First?", after=None)
        assert user.texts() == [("First?", None)]

    def test_after_a_turn_that_is_gone_or_from_an_old_view_is_refused(self, user: User) -> None:
        user.answered("c", "r1")
        user.answered("c", "r2")
        assert refused(user, id="r3", content="?", after="nothing") == "conversation_changed"
        assert refused(user, id="r3", content="?", revision=1) == "conversation_changed"

    def test_loses_against_one_that_came_between(self, user: User, client: redis.Redis) -> None:
        user.answered("c", "r1")
        slow = user.place("c", id="r2", content="Slow?")
        user.answered("c", "r3")
        with pytest.raises(BelfryError, match="conversation_changed"):
            user.start(slow)
        assert user.texts() == [("r1?", "r1!"), ("r3?", "r3!")]
        assert client.zrange("belfry:{runs}:leases", 0, -1) == []
        assert client.zcard("belfry:{user:alice}:active") == 0, "what is refused counts against no limit"

    def test_that_a_limit_refuses_leaves_no_trace(self, connection: Connection, settings: Settings) -> None:
        user = limited(connection, settings, max_runs_per_user=1)
        user.ask("c", id="r1", content="One?")
        assert refused(user, "d", id="r2", content="Two?") == "too_many_runs"
        assert user.conversations.find(USER, "d") is None

    def test_beyond_the_number_or_the_size_is_refused(self, connection: Connection, settings: Settings) -> None:
        user = limited(connection, settings, conversation_turns=2, conversation_bytes=1_024)
        assert refused(user, id="r1", content="x" * 1_024) == "conversation_full"
        user.answered("c", "r1", "x" * 1_024)
        assert refused(user, id="r2", content="More?") == "conversation_full"
        user.answered("d", "r3")
        user.answered("d", "r4")
        assert refused(user, "d", id="r5", content="More?") == "conversation_full"
        user.answered("d", "r5", after="r3")


class TestAnAnswer:
    def test_has_all_that_the_model_said(self, user: User) -> None:
        user.ask("c", id="r1", content="?")
        delta = {"reasoning_content": "Hm.", "refusal": "No.", "content": "Sorry"}
        choice = {"index": 0, "delta": delta, "finish_reason": "content_filter"}
        user.runs.append(RunName(USER, "r1"), 0, [b"message " + json.dumps({"choices": [choice]}).encode()])
        user.end("r1")
        (turn,) = user.get().turns
        assert turn.answer == {
            "status": "done", "text": "Sorry", "finish_reason": "content_filter", "reasoning": "Hm.", "refusal": "No.",
        }  # fmt: skip
        assert user.get().summary.running == ""

    def test_tells_how_it_failed(self, user: User) -> None:
        user.ask("c", id="r1", content="?")
        user.say("r1", "One ")
        user.end("r1", LOST)
        (turn,) = user.get().turns
        assert turn.answer is not None
        assert (turn.answer["status"], turn.answer["text"]) == ("failed", "One ")
        assert turn.answer["error"]["code"] == "producer_lost"

    def test_is_written_once(self, user: User) -> None:
        user.answered("c", "r1")
        user.end("r1", STOPPED)
        user.conversations.answer(USER, "0 c", "r1", {"status": "failed", "text": "late"})
        assert user.texts() == [("r1?", "r1!")]

    def test_to_a_question_that_was_replaced_changes_nothing(self, user: User) -> None:
        user.ask("c", id="r1", content="One?")
        user.ask("c", id="r2", content="Two?", after=None)
        user.say("r1", "late")
        user.end("r1")
        assert user.texts() == [("Two?", None)]
        assert user.get().summary.running == "r2"

    def test_in_a_conversation_that_was_deleted_does_not_bring_it_back(self, user: User) -> None:
        user.ask("c", id="r1", content="One?")
        user.conversations.delete(USER, "c")
        user.end("r1")
        assert user.conversations.find(USER, "c") is None
        assert user.conversations.newest(USER, 10) == []

    def test_that_a_failover_lost_is_found_again_in_the_log_of_the_run(self, user: User, client: redis.Redis) -> None:
        user.answered("c", "r1")
        client.hdel("belfry:{user:alice}:conversation:c", "answer:0")
        assert user.runs.settle(USER, user.get())
        assert user.texts() == [("r1?", "r1!")]
        assert not user.runs.settle(USER, user.get())

    def test_whose_run_is_gone_is_told_as_such(self, user: User) -> None:
        user.ask("c", id="r1", content="One?")
        assert not user.runs.settle(USER, user.get()), "while the run is under way"
        user.runs.take_back(RunName(USER, "r1"))
        assert user.runs.settle(USER, user.get())
        (turn,) = user.get().turns
        assert turn.answer is not None
        assert turn.answer["error"]["code"] == "run_gone"

    @pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
    def test_survives_a_store_that_breaks_at_any_moment_of_the_end(
        self, connection: Connection, settings: Settings, client: redis.Redis, user: User, *, done: bool
    ) -> None:
        """The lease stays until the answer is written, so another worker writes it."""
        for at in range(1, 12):
            run_id = f"r{at}"
            user.ask("c", id=run_id, content="?", after=None)
            user.say(run_id, "One ", "two")
            failing = Failing(connection)
            failing.breaks = {at: done}
            with contextlib.suppress(BelfryError):  # the worker dies there
                User(failing, settings).end(run_id)
            client.zadd("belfry:{runs}:leases", {f"{USER}/{run_id}": 1}, xx=True)
            for name in user.runs.renew([])[1]:
                user.runs.end(name, LOST)
            assert user.texts() == [("?", "One two")]
            assert client.zrange("belfry:{runs}:leases", 0, -1) == []
            if failing.calls < at:
                return
        pytest.fail("the end of a run takes more calls than were tried")


class TestTheList:
    def test_has_what_was_used_last_first(self, user: User) -> None:
        for number, name in enumerate(("a", "b", "a")):
            user.answered(name, f"r{number}")
            time.sleep(0.002)  # the order is that of milliseconds
        assert [each.id for each in user.conversations.newest(USER, 10)] == ["a", "b"]
        assert [each.id for each in user.conversations.newest(USER, 1)] == ["a"]
        assert user.conversations.newest("bob", 10) == []

    def test_drops_what_was_used_longest_ago(
        self, connection: Connection, settings: Settings, client: redis.Redis
    ) -> None:
        user = limited(connection, settings, max_conversations=2)
        for number, name in enumerate(("a", "b", "longer name")):
            user.answered(name.replace(" ", "."), f"r{number}")
            time.sleep(0.002)
        assert [each.id for each in user.conversations.newest(USER, 10)] == ["longer.name", "b"]
        assert sorted(client.keys("*conversation:*")) == [
            b"belfry:{user:alice}:conversation:b", b"belfry:{user:alice}:conversation:longer.name",
        ]  # fmt: skip

    def test_forgets_with_the_time(self, connection: Connection, settings: Settings, client: redis.Redis) -> None:
        user = limited(connection, settings, conversation_seconds=60)
        user.answered("c", "r1")
        for key in ("belfry:{user:alice}:conversation:c", "belfry:{user:alice}:conversations"):
            assert 0 < client.ttl(key) <= 60
        client.delete("belfry:{user:alice}:conversation:c")  # as if it had expired
        assert user.conversations.newest(USER, 10) == []
        client.zadd("belfry:{user:alice}:conversations", {"c": 1})
        user.answered("d", "r2")
        assert client.zrange("belfry:{user:alice}:conversations", 0, -1) == [b"d"]


class TestAChange:
    def test_of_the_title_stays(self, user: User) -> None:
        user.answered("c", "r1")
        user.conversations.rename(USER, "c", "Bells")
        user.answered("c", "r2")
        assert user.get().summary.title == "Bells"
        with pytest.raises(BelfryError, match="not_found"):
            user.conversations.rename(USER, "nothing", "Bells")

    def test_that_deletes_or_forgets_leaves_nothing(self, user: User, client: redis.Redis) -> None:
        for name in ("c", "d"):
            user.answered(name, f"r{name}")
        user.conversations.delete(USER, "c")
        assert [each.id for each in user.conversations.newest(USER, 10)] == ["d"]
        user.runs.forget(USER)
        user.conversations.forget(USER)
        assert client.keys("*conversation*") == []
        user.conversations.forget("bob")

    def test_is_told_to_open_pages(self, user: User, client: redis.Redis) -> None:
        heard = client.pubsub(ignore_subscribe_messages=True)
        heard.subscribe("belfry:{user:alice}:live")
        heard.get_message(timeout=60)  # the acknowledgement
        user.ask("c", id="r1", content="?")
        user.conversations.tell(USER, "c")
        user.end("r1")
        user.conversations.rename(USER, "c", "Bells")
        user.conversations.delete(USER, "c")
        told = [heard.get_message(timeout=60) for _ in range(4)]
        records = [each["data"].split(b" ", 2) for each in told if each]
        assert {record[1] for record in records} == {b"belfry.conversation"}
        news = [json.loads(record[2]) for record in records]
        assert [(each["conversation"], each["removed"]) for each in news] == [("c", False)] * 3 + [("c", True)]
        assert len({each["id"] for each in news}) == 4


def test_a_run_without_a_conversation_costs_no_further_call(connection: Connection, settings: Settings) -> None:
    failing = Failing(connection)
    user = User(failing, settings)
    name = RunName(USER, "r1")
    question = parse_question(b'{"model":"m","content":"?"}')
    assert user.runs.start(name, question.request("", (), {}))
    before = failing.calls
    user.runs.end(name, DONE)
    assert failing.calls == before + 2, "the end, and its lease"
