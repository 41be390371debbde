"""`/v1/responses` as OpenAI's own clients use it, over an upstream that speaks chat completions only."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import absent
from tests.servers import Belfry
from tests.system.conftest import StartBelfry
from tests.system.test_openai import NODE_CLIENT
from tests.upstream import Conversation, Upstream, chunk, refusing, running_upstream, saying, sending
from tests.waiting import patient, wait_until

NODE_SCRIPT = Path(__file__).parent / "responses.mjs"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WORDS = [f"word{number} " for number in range(20)]
TEXT = "".join(WORDS)
NATIVE = {"id": "resp_native", "object": "response", "status": "completed", "model": "m", "output": []}


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.play = saying(*WORDS, usage=USAGE)
    return shared_upstream


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_HEARTBEAT_SECONDS": "0.2",
        "BELFRY_UPSTREAM_RETRIES": "0",
    }


def client_of(belfry: Belfry, user: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=belfry.token(user, "complete"), max_retries=0)


@pytest.fixture
def client(belfry: Belfry, alice: str) -> Iterator[openai.OpenAI]:
    with client_of(belfry, alice) as client:
        yield client


def wait_ended(client: openai.OpenAI, response_id: str) -> Any:
    def ended() -> Any:
        found = client.responses.retrieve(response_id)
        return found if found.status != "in_progress" else None

    return wait_until(ended, 30)


class TestWhileTheClientWaits:
    def test_a_whole_response(self, client: openai.OpenAI) -> None:
        response = client.responses.create(model="m", input="hi", instructions="Be brief.")
        assert (response.status, response.output_text) == ("completed", TEXT)
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
        assert response.instructions == "Be brief."

    def test_a_stream(self, client: openai.OpenAI) -> None:
        with client.responses.stream(model="m", input="hi") as stream:
            deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert deltas == WORDS
        assert (final.status, final.output_text) == ("completed", TEXT)

    def test_a_tool_call_and_its_output(self, client: openai.OpenAI, upstream: Upstream) -> None:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        upstream.play = sending(
            f"data: {chunk({'tool_calls': [call]})}\n\ndata: {chunk({}, 'tool_calls')}\n\ndata: [DONE]\n\n".encode()
        )
        asked: Any = [{"role": "user", "content": "hi"}]
        tool: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
        first = client.responses.create(model="m", input=asked, tools=[tool])
        (found,) = first.output
        assert found.type == "function_call"
        assert (found.call_id, found.name, found.arguments) == ("call_1", "f", "{}")
        upstream.play = saying("done")
        asked += [found.model_dump(), {"type": "function_call_output", "call_id": "call_1", "output": "7"}]
        assert client.responses.create(model="m", input=asked, tools=[tool]).output_text == "done"
        assert upstream.conversations[-1].body["messages"][-1]["tool_call_id"] == "call_1"

    def test_a_refusal_of_the_upstream_keeps_its_status(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = refusing(429, {"error": {"message": "Slow down"}})
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError, match="Slow down"):
                client.responses.create(model="m", input="hi", stream=stream)

    def test_an_error_in_mid_stream_is_the_last_event(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = sending(f"data: {chunk({'content': 'Hel'})}\n\n".encode(), end=False)
        events = list(client.responses.create(model="m", input="hi", stream=True))
        assert events[-1].type == "response.failed"
        assert events[-1].response.error is not None
        assert events[-1].response.error.code == "server_error"

    def test_the_upstream_is_left_with_the_client(self, client: openai.OpenAI, upstream: Upstream, alice: str) -> None:
        """It begins to answer by itself: the client gets no stream before."""

        def begin(conversation: Conversation) -> None:
            conversation.begin()
            conversation.say("Hel")
            upstream.hand_over(conversation)

        upstream.play = begin
        stream = client.responses.create(model="m", input="hi", stream=True, user=alice)
        conversation = upstream.next_request(alice)
        assert next(iter(stream)).type == "response.created"
        stream.close()
        assert conversation.has_left()

    def test_what_is_not_supported_is_refused_with_the_reason(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="Send the whole conversation in input") as refused:
            client.responses.create(model="m", input="hi", previous_response_id="resp_1")
        assert refused.value.param == "previous_response_id"


class TestInTheBackground:
    def test_a_response_is_polled_to_its_end(self, client: openai.OpenAI) -> None:
        started = client.responses.create(model="m", input="hi", background=True)
        assert started.status == "in_progress"
        ended = wait_ended(client, started.id)
        assert (ended.status, ended.output_text, ended.background) == ("completed", TEXT, True)
        assert ended.usage.total_tokens == 5

    def test_a_stream_is_resumed_after_each_event(self, client: openai.OpenAI) -> None:
        events = list(client.responses.create(model="m", input="hi", background=True, stream=True))
        first: Any = events[0]
        told = [event.model_dump() for event in events]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        for after in range(0, len(told), 5):
            rest = client.responses.retrieve(first.response.id, stream=True, starting_after=after)
            assert [event.model_dump() for event in rest] == told[after + 1 :]

    def test_a_stream_that_is_cut_goes_on_elsewhere(
        self, client: openai.OpenAI, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = upstream.hand_over
        stream = client.responses.create(model="m", input="hi", background=True, stream=True, user=alice)
        conversation = upstream.next_request(alice)
        conversation.begin()
        conversation.say(*WORDS[:10])
        seen: list[Any] = []
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta" and len(seen) > 8:
                break
        stream.close()
        conversation.say(*WORDS[10:])
        conversation.finish(USAGE)
        rest = client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
        seen += list(rest)
        assert "".join([event.delta for event in seen if event.type == "response.output_text.delta"]) == TEXT
        assert seen[-1].type == "response.completed"

    def test_cancel_stops_the_upstream_and_delete_forgets_it(
        self, client: openai.OpenAI, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = upstream.hand_over
        started = client.responses.create(model="m", input="hi", background=True, user=alice)
        conversation = upstream.next_request(alice)
        conversation.begin()
        conversation.say("Hel")
        wait_until(lambda: client.responses.retrieve(started.id).output_text == "Hel")
        cancelled = client.responses.cancel(started.id)
        assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hel")
        assert conversation.has_left()
        last = list(client.responses.retrieve(started.id, stream=True))[-1]
        assert last.type == "response.incomplete"
        client.responses.delete(started.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(started.id)

    def test_delete_stops_what_is_under_way(self, client: openai.OpenAI, upstream: Upstream, alice: str) -> None:
        upstream.play = upstream.hand_over
        started = client.responses.create(model="m", input="hi", background=True, user=alice)
        conversation = upstream.next_request(alice)
        conversation.begin()
        client.responses.delete(started.id)
        assert conversation.has_left()

    def test_a_failure_is_told_by_the_state_and_by_the_stream(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = refusing(400, {"error": {"message": "No such thing"}})
        started = client.responses.create(model="m", input="hi", background=True)
        ended = wait_ended(client, started.id)
        assert (ended.status, ended.error.message) == ("failed", "No such thing")
        last: Any = list(client.responses.retrieve(started.id, stream=True))[-1]
        assert (last.type, last.response.error.message) == ("response.failed", "No such thing")

    def test_the_same_idempotency_key_is_the_same_response(self, client: openai.OpenAI, alice: str) -> None:
        headers = {"Idempotency-Key": alice}
        ids = {
            client.responses.create(model="m", input="hi", background=True, extra_headers=headers).id for _ in range(2)
        }
        assert len(ids) == 1

    def test_a_response_is_the_user_s_own(self, belfry: Belfry, client: openai.OpenAI, bob: str) -> None:
        started = client.responses.create(model="m", input="hi", background=True)
        with client_of(belfry, bob) as other:
            for ask in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
                with pytest.raises(openai.NotFoundError):
                    ask(started.id)

    def test_a_run_of_completions_is_no_response(self, belfry: Belfry, client: openai.OpenAI, alice: str) -> None:
        api = belfry.api(belfry.token(alice, "complete"))
        run_id = api.post("/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}]}).json()[
            "id"
        ]
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(run_id)


def test_an_upstream_that_speaks_it_gets_the_request_as_it_is(
    start_belfry: StartBelfry, upstream: Upstream, alice: str
) -> None:
    upstream.play = lambda conversation: conversation.refuse(200, NATIVE)
    upstreams = json.dumps([{"url": upstream.url, "responses": True}])
    with client_of(start_belfry(BELFRY_UPSTREAMS=upstreams), alice) as client:
        response = client.responses.create(model="m", input="hi", previous_response_id="resp_0")
    assert response.id == "resp_native"
    assert upstream.conversations[-1].path.endswith("/responses")
    assert upstream.conversations[-1].body == {"model": "m", "input": "hi", "previous_response_id": "resp_0"}


def test_the_node_client_streams_and_resumes(belfry: Belfry, alice: str) -> None:
    node = shutil.which("node")
    if node is None or not NODE_CLIENT.exists():
        absent("Node with OpenAI's client (npm)")
    token = belfry.token(alice, "complete")
    said = subprocess.run(
        [node, NODE_SCRIPT, f"{belfry.url}/v1", token], capture_output=True, text=True, timeout=patient(60), check=False
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == {
        "whole": TEXT, "streamed": TEXT, "resumed": TEXT, "status": "completed", "deleted": 404,
    }  # fmt: skip
