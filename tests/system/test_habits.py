"""Every habit of upstreams, against a real server: as a stream, as a whole answer or as a run, in each way nightly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import openai
import pytest
import requests

from tests.habits import CALLS, HABITS, LEGACY_CALL, Habit
from tests.servers import Belfry, RedisServer
from tests.system.test_openai import HI, held
from tests.upstream import Conversation, Play, Upstream, running_upstream
from tests.waiting import wait_until

GOOD = [habit for habit in HABITS if not habit.fails]
STREAM, WHOLE, RUN = WAYS = range(3)
WITH_STATUS = (STREAM, WHOLE)  # the state of a run has none
MODES = 2
BAD_GATEWAY = 502  # the status of most refusals
KEY = "ollama"  # a word that answers have in them


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.conversations.clear()
    return shared_upstream


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_UPSTREAM_KEY": KEY,
        "BELFRY_UPSTREAM_IDLE_SECONDS": "3",
        "BELFRY_UPSTREAM_END_SECONDS": "1",
    }


def playing(habit: Habit) -> Play:
    def play(conversation: Conversation) -> None:
        conversation.answer(habit.body, habit.type, habit.head, **habit.headers)
        if habit.cut:
            conversation.cut()
        elif habit.hangs:
            conversation.over.wait(10)
        else:
            conversation.end()

    return play


def strictly(text: str) -> Any:
    """The value of a text that must be JSON for every parser there is."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text.encode()
    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def ask(belfry: Belfry, user: str, habit: Habit, *, stream: bool) -> requests.Response:
    api = belfry.api(belfry.token(user, "complete"))
    asked = {"model": "m", "messages": HI, "stream": stream, "n": habit.choices}
    return api.post(
        "/v1/chat/completions", json=asked | ({"stream_options": {"include_usage": True}} if stream else {})
    )


def datas_of(answer: requests.Response) -> list[str]:
    """The data of each block of a stream that has nothing but data and comments, and ends with [DONE]."""
    blocks = [block for block in answer.content.decode().split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), blocks
    *datas, done = [block.removeprefix("data: ") for block in blocks]
    assert done == "[DONE]"
    return datas


def text_in(content: object) -> str:
    if isinstance(content, list):
        return "".join([part.get("text", "") for part in content])
    return content if isinstance(content, str) else ""


def calls_in(calls: Any) -> list[tuple[str, str]]:
    """Names and arguments, which some upstreams send as an object."""
    told = [(call["function"]["name"], call["function"]["arguments"]) for call in calls or ()]
    return [(name, given if isinstance(given, str) else json.dumps(given).replace(" ", "")) for name, given in told]


def check_counts(habit: Habit, usage: dict[str, Any]) -> None:
    """The official clients know only these names."""
    assert usage.get("estimated", False) is (habit.tokens is None)
    if habit.tokens:
        assert usage["total_tokens"] == habit.tokens
    assert {"prompt_tokens", "completion_tokens"} <= usage.keys() or usage.keys() == {"total_tokens"}


def all_calls(message: dict[str, Any]) -> list[Any]:
    """The tool calls of a message, and its call of the legacy API."""
    legacy = message.get("function_call")
    return [*(message.get("tool_calls") or ()), *([{"function": legacy}] if legacy else [])]


def check_error(habit: Habit, error: dict[str, Any]) -> None:
    assert habit.reason in error["message"]
    assert set(error) >= {"message", "type", "param", "code"}
    if habit.code:
        assert error["code"] in (habit.code, 500, 502, 503)


def official(belfry: Belfry, user: str) -> Any:  # its messages would have to be of its own types
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=belfry.token(user, "complete"), max_retries=0)


def way_of(at: int, habit: Habit) -> int:
    """The way in which a habit is tried in every run: one that shows all of its outcome."""
    if habit.more:
        return RUN  # only the state of a run has them
    if habit.status != BAD_GATEWAY:
        return WHOLE if habit.text else WITH_STATUS[at % len(WITH_STATUS)]  # a stream that has begun has status 200
    return STREAM if habit.hangs else WAYS[at % len(WAYS)]


def mode_of(at: int, _: Habit) -> int:
    return at % MODES


def one_of(habits: Sequence[Habit], choose: Callable[[int, Habit], int], number: int) -> pytest.MarkDecorator:
    """All habits for one of several tests. In every run each habit meets the test of the number that `choose` answers,
    and nightly the others.

    How a habit is read and written is tested without a server in `tests/core/completion`.
    """
    rows = [
        pytest.param(habit, id=habit.name, marks=() if choose(at, habit) == number else pytest.mark.nightly)
        for at, habit in enumerate(habits)
    ]
    return pytest.mark.parametrize("habit", rows)


class TestEveryHabit:
    @one_of(HABITS, way_of, STREAM)
    def test_as_a_stream(
        self, belfry: Belfry, upstream: Upstream, redis_server: RedisServer, alice: str, habit: Habit
    ) -> None:
        upstream.play = playing(habit)
        answer = ask(belfry, alice, habit, stream=True)
        if answer.status_code == 200:
            self._check_stream(habit, [strictly(data) for data in datas_of(answer)])
        else:
            assert habit.fails
            assert answer.status_code == habit.status
            check_error(habit, strictly(answer.text)["error"])
        assert len(upstream.conversations) == habit.asked
        self._check_tokens(habit, redis_server, belfry, alice)

    @staticmethod
    def _check_stream(habit: Habit, values: list[dict[str, Any]]) -> None:
        choices = [choice for value in values for choice in value.get("choices") or ()]
        deltas = [choice["delta"] for choice in choices]
        assert all(isinstance(value["choices"], list) for value in values if "error" not in value)
        assert all(type(choice["index"]) is int for choice in choices)
        assert "".join([text_in(delta.get("content")) for delta in deltas]) == habit.text
        errors = [value["error"] for value in values if value.get("error")]
        assert bool(errors) == habit.fails
        for error in errors:
            check_error(habit, error)
        if not habit.fails:
            reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
            assert reasons[-1:] == ([habit.finish] if habit.finish else [])
            usage = [value["usage"] for value in values if value.get("usage")]
            assert usage[-1].get("estimated", False) is (habit.tokens is None)
            assert usage.count(usage[-1]) == 1  # some clients add up what they are told
            check_counts(habit, usage[-1])

    @one_of(HABITS, way_of, WHOLE)
    def test_as_a_whole(
        self, belfry: Belfry, upstream: Upstream, redis_server: RedisServer, alice: str, habit: Habit
    ) -> None:
        upstream.play = playing(habit)
        answer = ask(belfry, alice, habit, stream=False)
        told = strictly(answer.text)
        if habit.fails:
            assert answer.status_code == habit.status
            check_error(habit, told["error"])
        else:
            assert answer.status_code == 200
            (choice,) = told["choices"]
            assert text_in(choice["message"]["content"]) == habit.text
            assert calls_in(all_calls(choice["message"])) == habit.calls
            assert choice["finish_reason"] == (habit.finish or "stop")
            check_counts(habit, told["usage"])
        assert len(upstream.conversations) == habit.asked
        self._check_tokens(habit, redis_server, belfry, alice)

    @one_of(HABITS, way_of, RUN)
    def test_as_a_run(
        self, belfry: Belfry, upstream: Upstream, redis_server: RedisServer, alice: str, habit: Habit
    ) -> None:
        upstream.play = playing(habit)
        api = belfry.api(belfry.token(alice, "complete"))
        run_id = api.post("/completions", json={"model": "m", "messages": HI, "n": habit.choices}).json()["id"]

        def ended() -> dict[str, Any] | None:
            state: dict[str, Any] = strictly(api.get(f"/completions/{run_id}").text)
            return state if state["ended"] else None

        state = wait_until(ended, 30)
        assert state["status"] == ("failed" if habit.fails else "done")
        assert state["text"] == habit.text
        if habit.fails:
            assert habit.reason in state["error"]["detail"]
        else:
            assert calls_in(state.get("tool_calls")) == habit.calls
            assert (state["finish_reason"] or "") == habit.finish
            assert state["usage"].get("estimated", False) is (habit.tokens is None)
            assert {name: state.get(name) for name in habit.more} == habit.more
        assert len(upstream.conversations) == habit.asked
        assert strictly(api.get("/completions").text)["completions"][0]["id"] == run_id
        self._check_tokens(habit, redis_server, belfry, alice)

    @staticmethod
    def _check_tokens(habit: Habit, redis_server: RedisServer, belfry: Belfry, user: str) -> None:
        wait_until(lambda: not held(redis_server, belfry, user)[0], what="the completion to be released")
        _, tokens = held(redis_server, belfry, user)
        if habit.tokens is None:
            assert 0 < tokens < 50
        elif not habit.fails:
            assert tokens == habit.tokens


@one_of(GOOD, mode_of, 0)
def test_the_official_client_gets_a_stream(belfry: Belfry, upstream: Upstream, alice: str, habit: Habit) -> None:
    upstream.play = playing(habit)
    with official(belfry, alice) as client:
        parts = list(client.chat.completions.create(model="m", messages=HI, stream=True))
    assert "".join([text_in(part.choices[0].delta.content) for part in parts if part.choices]) == habit.text


@one_of(GOOD, mode_of, 1)
def test_the_official_client_gets_a_whole_answer(belfry: Belfry, upstream: Upstream, alice: str, habit: Habit) -> None:
    upstream.play = playing(habit)
    with official(belfry, alice) as client:
        message = client.chat.completions.create(model="m", messages=HI).choices[0].message
    assert text_in(message.content) == habit.text


@pytest.mark.parametrize("habit", [*CALLS, *LEGACY_CALL], ids=lambda habit: habit.name)
def test_the_official_client_gathers_the_calls(belfry: Belfry, upstream: Upstream, alice: str, habit: Habit) -> None:
    upstream.play = playing(habit)
    with official(belfry, alice) as client:
        with client.chat.completions.stream(model="m", messages=HI) as stream:
            stream.until_done()
        message = stream.get_final_completion().choices[0].message.to_dict()
    assert calls_in(all_calls(message)) == habit.calls
