"""The AI SDK's own client asks Belfry and resumes an answer, with the glue of the documentation and nothing more."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import absent
from tests.servers import Belfry
from tests.stream_client import StreamClient
from tests.upstream import Conversation, Upstream, chunk, running_upstream, saying
from tests.waiting import patient, wait_until

HERE = Path(__file__).parent
NODE_SCRIPT = HERE / "ui_messages.mjs"
PACKAGE = HERE / "browser" / "node_modules" / "@ai-sdk"
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.play = saying("Hello")
    return shared_upstream


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": shared_upstream.url, "BELFRY_HEARTBEAT_SECONDS": "0.2"}


@pytest.fixture
def api(belfry: Belfry, alice: str) -> requests.Session:
    return belfry.api(belfry.token(alice, "complete"))


def ask(api: requests.Session, **body: Any) -> requests.Response:
    message = {"role": "user", "parts": [{"type": "text", "text": "hi"}]}
    chat = {"id": "chat", "model": "m", "messages": [message], "trigger": "submit-message"}
    return api.post("/completions?format=ui-message-stream", json=chat | body)


def test_the_sdk_s_chat_asks_leaves_and_resumes(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    node = shutil.which("node")
    if node is None or not PACKAGE.exists():
        absent("Node with the AI SDK (npm)")
    token = belfry.token(alice, "complete")
    upstream.play = upstream.hand_over
    with subprocess.Popen(
        [node, NODE_SCRIPT, belfry.url, token, "chat-1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        conversation = upstream.next(patient(60))
        conversation.begin()
        conversation.send(f"data: {chunk({'reasoning_content': 'Hm.'})}\n\n".encode())
        conversation.say("Hel")
        assert client.stderr is not None
        assert client.stderr.readline() == "resumed\n"
        conversation.say("lo")
        conversation.send(f"data: {chunk({'tool_calls': [CALL]})}\n\n".encode())
        conversation.send(f"data: {chunk({}, 'tool_calls')}\n\ndata: [DONE]\n\n".encode())
        conversation.end()
        out, errors = client.communicate(timeout=patient(60))
    assert client.returncode == 0, errors
    told = json.loads(out)
    assert (told["none"], told["seen"], told["failures"]) == (0, "Hel", [])
    assert told["roles"] == ["user", "assistant"]
    assert told["parts"] == [
        {"type": "reasoning", "text": "Hm.", "state": "done"},
        {"type": "text", "text": "Hello", "state": "done"},
        {"type": "tool-find", "input": {"q": 1}, "state": "input-available"},
    ]


class TestTheWire:
    def test_has_the_header_and_ends_with_done(self, api: requests.Session) -> None:
        answer = ask(api)
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        datas = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
        kinds = [json.loads(data)["type"] for data in datas[:-1]]
        assert kinds[:2] == ["start", "start-step"]
        assert kinds[-3:] == ["text-end", "finish-step", "finish"]
        assert datas[-1] == "[DONE]"
        assert json.loads(datas[-2])["finishReason"] == "stop"

    def test_is_made_of_any_run_too(self, api: requests.Session) -> None:
        body = {"id": "plain", "model": "m", "messages": [{"role": "user", "content": "hi"}]}
        assert api.post("/completions", json=body).status_code == 201
        answer = api.get("/completions/plain/stream?format=ui-message-stream")
        assert '"delta":"Hello"' in answer.text

    def test_of_a_chat_without_an_answer_is_nothing(self, api: requests.Session) -> None:
        assert api.get("/completions/nobody/stream?format=ui-message-stream").status_code == 204

    def test_of_a_chat_is_its_newest_answer(self, api: requests.Session, upstream: Upstream) -> None:
        ask(api)
        upstream.play = saying("Second")
        ask(api)
        assert "Second" in api.get("/completions/chat/stream?format=ui-message-stream").text

    def test_tells_that_somebody_stopped_it(self, api: requests.Session, upstream: Upstream, alice: str) -> None:
        upstream.play = upstream.hand_over
        body = {"id": "stopped", "model": "m", "messages": [{"role": "user", "content": "hi"}], "user": alice}
        api.post("/completions", json=body)
        conversation: Conversation = upstream.next_request(alice)
        conversation.begin()
        conversation.say("Hel")
        wait_until(lambda: api.get("/completions/stopped").json()["text"] == "Hel")
        api.delete("/completions/stopped")
        said = api.get("/completions/stopped/stream?format=ui-message-stream").text
        assert '"type":"text-end"' in said
        assert '"type":"abort"' in said

    def test_sends_the_model_what_the_chat_says(self, api: requests.Session, upstream: Upstream) -> None:
        tool = {
            "type": "tool-find", "toolCallId": "c", "state": "output-available", "input": {"q": 1}, "output": {"a": 2},
        }  # fmt: skip
        picture = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
        messages = [
            {"role": "user", "parts": [{"type": "text", "text": "a"}, picture]},
            {"role": "assistant", "parts": [{"type": "reasoning", "text": "x"}, tool, {"type": "step-start"}]},
            {"role": "assistant", "parts": [{"type": "text", "text": "b"}]},
        ]
        ask(api, messages=messages, temperature=0.5)
        sent = upstream.conversations[-1].body
        assert (sent["temperature"], "trigger" in sent, "id" in sent) == (0.5, False, False)
        call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        assert sent["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "a"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": '{"a":2}'},
            {"role": "assistant", "content": "b"},
        ]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"id": ""}, 422, "bad_run_id"),
            ({"id": "x" * 48}, 422, "bad_run_id"),
            ({"messages": []}, 400, "invalid_completion"),
            ({"messages": [{"role": "user", "content": "hi"}]}, 400, "invalid_completion"),
            ({"messages": [{"role": "robot", "parts": []}]}, 400, "invalid_completion"),
            ({"model": None}, 400, "invalid_completion"),
        ],
    )
    def test_what_is_wrong_is_refused(self, api: requests.Session, body: Any, status: int, code: str) -> None:
        answer = ask(api, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_another_format_is_refused(self, api: requests.Session) -> None:
        answer = api.get("/completions/x/stream?format=odd")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")

    def test_beats_while_the_model_is_silent(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        upstream.play = upstream.hand_over
        api = belfry.api(token := belfry.token(alice, "complete"))
        body = {"id": "slow", "model": "m", "messages": [{"role": "user", "content": "hi"}], "user": alice}
        api.post("/completions", json=body)
        path = "/completions/slow/stream?format=ui-message-stream"
        with StreamClient(belfry.port, path, {"Authorization": f"Bearer {token}"}) as stream:
            conversation = upstream.next_request(alice)
            conversation.begin()
            assert json.loads(stream.next_event().data)["type"] == "start"
            conversation.say("late")
            conversation.finish()
            stream.read_to_end()
        assert stream.events[-1].data == "[DONE]"
