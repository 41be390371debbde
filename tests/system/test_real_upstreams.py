"""Model servers that other people wrote: each answers, refuses and is stopped by each way through Belfry."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
import requests

from app.core.wire.sse import Decoder
from tests.real import words
from tests.real.environment import INSTALL_SECONDS
from tests.real.upstreams import MOCKED_TEXT, LiteLlm, LlamaCpp, RealUpstream
from tests.servers import HOST, Belfry
from tests.waiting import patient, wait_until

pytestmark = pytest.mark.timeout(2 * INSTALL_SECONDS)

STOP_SECONDS = 30.0  # LiteLLM closes a connection late, and a busy machine takes its time
PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": PARAMETERS}}
CALLED = [("find", {"q": "x"})]


def saying(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Habits:
    """What to ask a server, and what it answers. `errors`: the status and a part of the reason of each refusal."""

    upstream: Callable[[], RealUpstream]
    hello: dict[str, Any]
    text: str
    endless: dict[str, Any]  # a stream that does not end
    slow: dict[str, Any]  # a whole answer that takes long
    calls: dict[str, Any]
    models: set[str]
    errors: list[tuple[dict[str, Any], int, str]] = field(default_factory=list)
    streams_calls: bool = True


LLAMA_CPP = Habits(
    LlamaCpp,
    hello={"model": "words", "messages": saying("hi!")},
    text=words.TEXT,
    endless={"model": "words", "messages": saying("hi?")},
    slow={"model": "words", "messages": saying("hi?"), "max_tokens": 20_000},
    calls={"model": "words", "messages": saying("hi#"), "tools": [TOOL]},
    models={"words"},
    errors=[
        ({"model": "words", "messages": saying("a" * 140_000 + "!")}, 400, "exceeds the available context size"),
        ({"model": "words", "messages": [{"content": "hi"}]}, 500, "role"),
        ({"model": "words", "messages": saying("hi!"), "tools": "none"}, 500, "tools"),
    ],
)
LITE_LLM = Habits(
    LiteLlm,
    hello={"model": "hello", "messages": saying("hi")},
    text=MOCKED_TEXT,
    endless={"model": "endless", "messages": saying("hi")},
    slow={"model": "slow", "messages": saying("hi")},
    calls={"model": "calls", "messages": saying("hi"), "tools": [TOOL]},
    models={"hello", "endless", "slow", "calls", "limited", "broken", "too-long"},
    errors=[
        ({"model": "limited", "messages": saying("hi")}, 429, "mock rate limit error"),
        ({"model": "broken", "messages": saying("hi")}, 500, "mock internal server error"),
        ({"model": "too-long", "messages": saying("hi")}, 400, "context window"),
        ({"model": "unheard-of", "messages": saying("hi")}, 400, "Invalid model name"),
    ],
    streams_calls=False,  # it loses them in its streams
)


@pytest.fixture(scope="module", params=[LLAMA_CPP, LITE_LLM], ids=["llama.cpp", "LiteLLM"])
def habits(request: pytest.FixtureRequest) -> Habits:
    found: Habits = request.param
    return found


@pytest.fixture(scope="module")
def upstream(habits: Habits) -> Iterator[RealUpstream]:
    server = habits.upstream()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def environment(upstream: RealUpstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": upstream.url,
        "BELFRY_UPSTREAM_KEY": upstream.key,
        "BELFRY_HEARTBEAT_SECONDS": "0.5",
        # On a busy machine LiteLLM takes more than a minute to begin a long answer.
        "BELFRY_UPSTREAM_FIRST_TOKEN_SECONDS": "600",
        "BELFRY_UPSTREAM_IDLE_SECONDS": "600",
    }


@pytest.fixture
def token(belfry: Belfry, alice: str) -> str:
    return belfry.token(alice, "complete")


@pytest.fixture
def client(belfry: Belfry, token: str) -> Iterator[Any]:  # the arguments of a row are of no one type
    with openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=token, max_retries=0, timeout=patient(60)) as client:
        yield client


@pytest.fixture
def api(belfry: Belfry, token: str) -> requests.Session:
    return belfry.api(token)


def run(api: requests.Session, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a run at its end."""
    started = api.post("/completions", json=asked)
    assert started.status_code == 201, started.text

    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = api.get(f"/completions/{started.json()['id']}").json()
        return state if state["ended"] else None

    return wait_until(ended, 60)


def calls_in(calls: Any) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


class TestAnswers:
    def test_in_a_stream(self, client: Any, habits: Habits) -> None:
        options = {"include_usage": True}
        parts = list(client.chat.completions.create(**habits.hello, stream=True, stream_options=options))
        assert "".join([part.choices[0].delta.content or "" for part in parts if part.choices]) == habits.text
        reasons = [part.choices[0].finish_reason for part in parts if part.choices]
        assert [reason for reason in reasons if reason] == ["stop"]
        (usage,) = [part.usage for part in parts if part.usage]
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 2
        assert not (usage.model_extra or {}).get("estimated")

    def test_in_one_piece(self, client: Any, habits: Habits) -> None:
        answer = client.chat.completions.create(**habits.hello)
        assert answer.choices[0].message.content == habits.text
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens > 2

    def test_in_a_run(self, api: requests.Session, habits: Habits) -> None:
        state = run(api, habits.hello)
        assert (state["status"], state["text"], state["finish_reason"]) == ("done", habits.text, "stop")
        assert state["usage"]["total_tokens"] > 2
        assert "estimated" not in state["usage"]
        events = list(Decoder().feed(api.get(f"/completions/{state['id']}/stream").content))
        *datas, done = [event.data for event in events if event.event == "message"]
        assert done == "[DONE]"
        choices = [choice for data in datas for choice in json.loads(data)["choices"]]
        assert "".join([choice["delta"].get("content") or "" for choice in choices]) == habits.text

    def test_call_tools(self, client: Any, api: requests.Session, habits: Habits) -> None:
        message = client.chat.completions.create(**habits.calls).choices[0].message
        assert calls_in([call.model_dump() for call in message.tool_calls or ()]) == CALLED
        state = run(api, habits.calls)
        assert state["status"] == "done"
        assert calls_in(state.get("tool_calls", ())) == (CALLED if habits.streams_calls else [])

    def test_list_their_models(self, client: Any, habits: Habits) -> None:
        assert {model.id for model in client.models.list()} >= habits.models


class TestErrors:
    def test_keep_status_and_reason_in_each_way(self, client: Any, api: requests.Session, habits: Habits) -> None:
        for asked, status, reason in habits.errors:
            for stream in (True, False):
                with pytest.raises(openai.APIStatusError) as caught:
                    client.chat.completions.create(**asked, stream=stream)
                assert caught.value.status_code == status
                assert reason.lower() in str(caught.value.body).lower()
            state = run(api, asked)
            assert (state["status"], state["text"]) == ("failed", "")
            assert reason.lower() in state["error"]["detail"].lower()


class TestBelfryLetsGoOfTheUpstream:
    """Its connection is closed at once. llama.cpp ends a stream then, and finishes an answer in one piece."""

    @pytest.fixture(autouse=True)
    def stopped(self, upstream: RealUpstream) -> Iterator[None]:
        wait_until(lambda: not upstream.is_asked(), STOP_SECONDS, what="idle connections to be closed")
        yield
        wait_until(lambda: not upstream.is_asked(), STOP_SECONDS, what="the connection to be closed")

    def test_when_a_stream_s_client_leaves(self, client: Any, upstream: RealUpstream, habits: Habits) -> None:
        stream = client.chat.completions.create(**habits.endless, stream=True)
        assert next(part for part in stream if part.choices[0].delta.content)
        assert upstream.is_asked()
        stream.close()

    def test_when_a_whole_answer_s_client_leaves(
        self, belfry: Belfry, token: str, upstream: RealUpstream, habits: Habits
    ) -> None:
        with contextlib.closing(http.client.HTTPConnection(HOST, belfry.port)) as connection:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(habits.slow), headers)
            wait_until(upstream.is_asked, STOP_SECONDS, what="the upstream to begin")

    def test_when_somebody_stops_the_run(self, api: requests.Session, upstream: RealUpstream, habits: Habits) -> None:
        run_id = api.post("/completions", json=habits.endless).json()["id"]
        wait_until(lambda: api.get(f"/completions/{run_id}").json()["text"], 20, what="the answer to begin")
        assert upstream.is_asked()
        assert api.delete(f"/completions/{run_id}").json()["status"] == "stopped"
