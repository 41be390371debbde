"""`/v1` beside chat, as OpenAI's own clients use it: what passes through, what is refused, and how."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import requests

from tests.conftest import absent
from tests.servers import HOST, Belfry
from tests.system.conftest import StartBelfry
from tests.system.test_openai import ANSWER, HI, NODE_CLIENT
from tests.upstream import Conversation, Play, Upstream, refusing, running_upstream, saying
from tests.waiting import patient, wait_until

NODE_SCRIPT = Path(__file__).parent / "v1.mjs"
KEY = "sk-upstream-key-that-nobody-may-see"
LEAVE_SECONDS = 30.0  # the promise is one; a busy machine takes its time
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
    "model": "m",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
    "made_up": {"kept": True},
}
MODERATION = {
    "id": "modr-1",
    "model": "m",
    "results": [{"flagged": True, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}],
}
COMPLETION = {
    "id": "c1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": None}],
}
IMAGE = {"created": 1, "data": [{"b64_json": "aGVsbG8="}]}
SOUND = bytes(range(256)) * 2_000
NOT_RELAYED = [
    ("GET", "/v1", 404),
    ("GET", "/v1/", 404),
    ("PUT", "/v1/responses", 405),
    ("GET", "/v1/responses/resp_1/input_items", 404),
    ("GET", "/v1/files", 404),
    ("POST", "/v1/images/../models", 404),
    ("POST", "/v1/images/a/b", 404),
    ("POST", "/v1/audio/%2e%2e", 404),
    ("PROPFIND", "/v1/threads", 404),
    ("GET", "/v1/chat/completions", 405),
    ("DELETE", "/v1/models/m", 405),
    ("PUT", "/v1/embeddings", 405),
    ("GET", "/v1/audio/speech", 405),
    ("POST", "/openai/deployments/m/responses", 404),
    ("GET", "/openai/nothing", 404),
    ("GET", "/openai/v1/files", 404),
    ("PUT", "/openai/v1/embeddings", 405),
    ("GET", "/openai/deployments", 404),
]


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    shared_upstream.conversations.clear()
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    special = {"url": shared_upstream.url, "key": KEY, "models": ["special"], "headers": {"X-Team": "search"}}
    hasty = {"url": shared_upstream.url, "models": ["hasty"], "timeouts": {"first_token": 0.5, "idle": 0.5, "whole": 1}}
    return {
        "BELFRY_UPSTREAMS": json.dumps([special | {"retries": 0}, hasty]),
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_UPSTREAM_KEY": KEY,
    }


@pytest.fixture
def client(belfry: Belfry, alice: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=belfry.token(alice, "complete"), max_retries=0) as client:
        yield client


def answering(value: Any, content_type: str = "application/json", **headers: Any) -> Play:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    def play(conversation: Conversation) -> None:
        conversation.answer(body, content_type, 200, **headers)
        conversation.end()

    return play


def events(*values: Any) -> bytes:
    return "".join([f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n" for value in values]).encode()


class TestTheOfficialClient:
    def test_gets_embeddings(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering(EMBEDDING, **{"x-request-id": "r1", "X-Secret": "no"})
        got = client.embeddings.with_raw_response.create(model="m", input=["hi"], encoding_format="float")
        answer = got.parse()
        assert (answer.data[0].embedding, answer.usage.total_tokens) == ([0.25, -1.5], 4)
        assert answer.model_extra == {"made_up": {"kept": True}}
        assert (got.headers["x-request-id"], got.headers.get("x-secret")) == ("r1", None)
        (asked,) = upstream.conversations
        assert asked.path == "/v1/embeddings"
        assert asked.body == {"model": "m", "input": ["hi"], "encoding_format": "float"}
        assert asked.headers["Authorization"] == f"Bearer {KEY}"

    def test_gets_moderations_without_a_model(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering(MODERATION)
        assert client.moderations.create(input="hi").results[0].flagged
        assert upstream.conversations[-1].path == "/v1/moderations"

    def test_gets_an_older_completion_whole_and_as_a_stream(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering(COMPLETION)
        assert client.completions.create(model="m", prompt="hi").choices[0].text == "Hello"
        chunks = [{**COMPLETION, "choices": [{"index": 0, "text": text}]} for text in ("Hel", "lo")]
        upstream.play = answering(events(*chunks, "[DONE]"), "text/event-stream")
        stream = client.completions.create(model="m", prompt="hi", stream=True)
        assert "".join(part.choices[0].text for part in stream) == "Hello"

    def test_makes_and_edits_images(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering(IMAGE)
        made = client.images.generate(model="m", prompt="a tower")
        assert made.data
        assert made.data[0].b64_json == "aGVsbG8="
        client.images.edit(model="special", image=("a.png", SOUND, "image/png"), prompt="a bell")
        asked = upstream.conversations[-1]
        assert (asked.path, asked.headers["X-Team"]) == ("/v1/images/edits", "search")  # the model is in the form
        assert SOUND in asked.raw

    def test_gets_speech_byte_by_byte(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering(SOUND, "audio/mpeg")
        speech = client.audio.speech.create(model="m", voice="alloy", input="hi")
        assert speech.content == SOUND
        assert speech.response.headers["Content-Type"] == "audio/mpeg"

    def test_has_speech_written_down(self, client: openai.OpenAI, upstream: Upstream) -> None:
        upstream.play = answering({"text": "hello"})
        sound = ("a.wav", io.BytesIO(SOUND), "audio/wav")
        assert client.audio.transcriptions.create(model="m", file=sound).text == "hello"
        assert SOUND in upstream.conversations[-1].raw
        upstream.play = answering(b"1\n00:00 --> 00:01\nhello\n", "text/plain")
        written = client.audio.transcriptions.create(model="m", file=("a.wav", SOUND), response_format="srt")
        assert str(written) == "1\n00:00 --> 00:01\nhello\n"

    def test_hears_a_transcription_as_it_comes(self, client: openai.OpenAI, upstream: Upstream) -> None:
        done = {"type": "transcript.text.done", "text": "hello"}
        upstream.play = answering(events({"type": "transcript.text.delta", "delta": "hel"}, done), "text/event-stream")
        stream = client.audio.transcriptions.create(model="m", file=("a.wav", SOUND), stream=True)
        assert [event.type for event in stream] == ["transcript.text.delta", "transcript.text.done"]

    @pytest.mark.parametrize(
        ("status", "error"), [(400, openai.BadRequestError), (404, openai.NotFoundError), (429, openai.RateLimitError)]
    )
    def test_raises_the_right_error(
        self, client: openai.OpenAI, upstream: Upstream, status: int, error: type[openai.APIStatusError]
    ) -> None:
        upstream.play = refusing(status, {"error": {"message": "It says no.", "code": "no"}})
        with pytest.raises(error, match="It says no") as caught:
            client.embeddings.create(model="special", input="hi")
        assert caught.value.status_code == status

    def test_is_told_what_is_relayed(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="It relays POST /v1/chat/completions"):
            client.fine_tuning.jobs.list()
        with pytest.raises(openai.NotFoundError, match="It relays"):
            client.files.list()

    def test_raises_when_an_answer_is_cut(self, client: openai.OpenAI, upstream: Upstream) -> None:
        def cut(conversation: Conversation) -> None:
            conversation.answer(SOUND, "audio/mpeg")
            conversation.cut()

        upstream.play = cut
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            client.audio.speech.create(model="m", voice="alloy", input="hi")

    @pytest.mark.parametrize("ending", ["cut", "stall"])
    def test_raises_when_a_stream_fails(self, client: openai.OpenAI, upstream: Upstream, ending: str) -> None:
        def fail(conversation: Conversation) -> None:
            conversation.answer(events({**COMPLETION, "choices": [{"index": 0, "text": "Hel"}]}), "text/event-stream")
            if ending == "cut":
                conversation.cut()
            else:
                assert conversation.has_left()

        upstream.play = fail
        with pytest.raises(openai.APIError, match="upstream"):
            list(client.completions.create(model="hasty", prompt="hi", stream=True))


def test_the_official_client_for_node_works_as_well(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    if shutil.which("node") is None or not NODE_CLIENT.exists():
        absent("Node with OpenAI's client")
    answers = {
        "/v1/embeddings": answering(EMBEDDING),
        "/v1/audio/transcriptions": answering({"text": "hello"}),
        "/v1/audio/speech": answering(SOUND, "audio/mpeg"),
    }
    upstream.play = lambda conversation: answers[conversation.path](conversation)
    command = ["node", str(NODE_SCRIPT), f"{belfry.url}/v1", belfry.token(alice, "complete")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=True)
    assert json.loads(done.stdout) == {
        "vector": [0.25, -1.5], "text": "hello", "sound": len(SOUND), "status": 404, "code": "not_found", "told": True,
    }  # fmt: skip


def test_azures_client_finds_the_same_api(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    key = belfry.token(alice, "complete")
    with openai.AzureOpenAI(azure_endpoint=belfry.url, api_key=key, api_version="2026-01-01", max_retries=0) as client:
        upstream.play = lambda conversation: conversation.refuse(200, ANSWER)
        answer = client.chat.completions.create(model="special", messages=HI)
        assert answer.choices[0].message.content == "Hello"
        upstream.play = answering(EMBEDDING)
        assert client.embeddings.create(model="special", input="hi", encoding_format="float").usage.total_tokens == 4
        upstream.play = answering({"text": "hello"})
        assert client.audio.transcriptions.create(model="special", file=("a.wav", SOUND)).text == "hello"
        upstream.play = lambda conversation: conversation.refuse(200, ANSWER)
        assert client.responses.create(model="special", input="hi").output_text == "Hello"
        assert "m" in [model.id for model in client.models.list()]
    paths = [conversation.path for conversation in upstream.conversations]
    called = ("/chat/completions", "/embeddings", "/audio/transcriptions", "/chat/completions")
    assert paths == [f"/v1{path}" for path in called]
    assert all(conversation.headers["X-Team"] == "search" for conversation in upstream.conversations)
    assert all(b"special" in conversation.raw for conversation in upstream.conversations)


def test_azures_address_without_a_deployment_leads_to_the_same_api(
    belfry: Belfry, upstream: Upstream, alice: str
) -> None:
    """OpenAI's own client is used with Azure's `/openai/v1`, and so is the AI SDK's provider for Azure."""
    key = belfry.token(alice, "complete")
    upstream.play = lambda conversation: conversation.refuse(200, ANSWER)
    with openai.OpenAI(base_url=f"{belfry.url}/openai/v1", api_key=key, max_retries=0) as client:
        assert client.chat.completions.create(model="m", messages=HI).choices[0].message.content == "Hello"
        assert client.models.retrieve("m").id == "m"
    api = belfry.api()
    asked = {"model": "m", "messages": HI}
    path = "/openai/v1/chat/completions?api-version=v1"
    assert api.post(path, json=asked, headers={"api-key": key}).status_code == 200
    assert api.get(path, headers={"api-key": key}).json()["error"]["code"] == "method_not_allowed"


def test_a_deployment_without_a_model_in_the_body(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    api = belfry.api(belfry.token(alice, "complete"))
    upstream.play = saying("Hello")
    path = "/openai/deployments/special/chat/completions?api-version=2026-01-01"
    assert api.post(path, json={"messages": HI, "stream": True}).status_code == 200
    assert upstream.conversations[-1].body["model"] == "special"
    assert api.post(path, json={"messages": HI, "model": "other"}).json()["error"]["param"] == "model"


class TestCredentials:
    def test_the_header_of_azure_counts_below_v1_only(self, belfry: Belfry, alice: str) -> None:
        api = belfry.api()
        key = {"api-key": belfry.token(alice, "complete", "feed")}
        assert api.get("/v1/models", headers=key).status_code == 200
        assert api.get("/v1/models", headers={"api-key": "wrong"}).json()["error"]["code"] == "token_invalid"
        assert api.get("/completions", headers=key).status_code == 401
        assert api.get("/feed", headers=key).status_code == 401

    def test_the_scope_is_asked_for(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        answer = belfry.api(belfry.token(alice, "feed")).post("/v1/embeddings", json={"model": "m", "input": "hi"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
        assert upstream.conversations == []


@pytest.mark.parametrize("path", ["/v1/models/", "/v1/models/m/"])
def test_a_slash_at_the_end_is_accepted(belfry: Belfry, upstream: Upstream, alice: str, path: str) -> None:
    api = belfry.api(belfry.token(alice, "complete"))
    assert api.get(path, allow_redirects=False).status_code == 200
    upstream.play = answering(EMBEDDING)
    for posted in ("/v1/embeddings/", "/v1/images/generations/", "/openai/deployments/m/embeddings/"):
        answer = api.post(posted, json={"model": "m", "input": "hi"}, allow_redirects=False)
        assert (answer.status_code, upstream.conversations[-1].path[-1]) == (200, "s"), posted
    upstream.play = lambda conversation: conversation.refuse(200, ANSWER)
    chat = api.post("/v1/chat/completions/", json={"model": "m", "messages": HI}, allow_redirects=False)
    assert chat.status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), NOT_RELAYED)
def test_what_is_not_relayed_is_told_in_openais_shape(
    belfry: Belfry, upstream: Upstream, alice: str, method: str, path: str, status: int
) -> None:
    token = belfry.token(alice, "complete")
    request = requests.Request(method, belfry.url, json={}, headers={"Authorization": f"Bearer {token}"}).prepare()
    request.url = f"{belfry.url}{path}"  # requests would resolve the dots
    with requests.Session() as session:
        answer = session.send(request, timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert error["code"] == {404: "not_found", 405: "method_not_allowed"}[status]
    assert "It relays POST /v1/chat/completions" in error["message"]
    assert ("Allow" in answer.headers) == (status == 405)
    assert upstream.conversations == []


def test_paths_beside_v1_keep_their_own_shape(belfry: Belfry) -> None:
    for path in ("/v1x", "/nothing", "/openaix"):
        assert requests.get(f"{belfry.url}{path}", timeout=60).headers["Content-Type"] == "application/problem+json"


class TestLimits:
    def test_a_body_that_is_too_large(self, start_belfry: StartBelfry, upstream: Upstream, alice: str) -> None:
        server = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_MAX_COMPLETION_BYTES="1024")
        api = server.api(server.token(alice, "complete"))
        answer = api.post("/v1/embeddings", json={"model": "m", "input": "x" * 2_000})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize(
        ("path", "answer"),
        [
            ("/v1/embeddings", answering(EMBEDDING)),
            ("/v1/completions", answering(events({"choices": [{"text": "a"}]}, "[DONE]"), "text/event-stream")),
            ("/v1/audio/speech", answering(SOUND, "audio/mpeg")),
        ],
    )
    def test_the_tokens_of_a_day_are_counted(
        self,
        start_belfry: StartBelfry,
        upstream: Upstream,
        alice: str,
        path: str,
        answer: Play,
    ) -> None:
        server = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_TOKENS_PER_DAY="2")
        api = server.api(server.token(alice, "complete"))
        upstream.play = answer
        body = {"model": "m", "input": "12345678", "prompt": "12345678"}
        assert api.post(path, json=body).status_code == 200
        wait_until(lambda: api.post(path, json=body).status_code == 429)
        assert api.post(path, json=body).json()["error"]["code"] == "tokens_used_up"

    def test_an_upstream_that_does_not_answer(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        def wait(conversation: Conversation) -> None:
            assert conversation.has_left()

        upstream.play = wait
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/embeddings", json={"model": "hasty", "input": "hi"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "in mid-answer"])
def test_a_client_that_leaves_stops_the_upstream(belfry: Belfry, upstream: Upstream, alice: str, begun: bool) -> None:
    """It leaves when the upstream has the request, however long that takes."""
    asked = threading.Event()
    left: list[float] = []

    def watch(conversation: Conversation) -> None:
        if begun:
            conversation.answer(SOUND[:10], "audio/mpeg")
        asked.set()
        if conversation.has_left():
            left.append(time.monotonic())

    upstream.play = watch
    headers = {"Authorization": f"Bearer {belfry.token(alice, 'complete')}", "Content-Type": "application/json"}
    with closing(HTTPConnection(HOST, belfry.port, timeout=60)) as client:
        client.request("POST", "/v1/audio/speech", b'{"model":"m","input":"hi"}', headers)
        assert asked.wait(patient(60))
        if begun:
            client.getresponse().close()
    gone = time.monotonic()
    wait_until(lambda: left, 60)
    assert left[0] - gone < patient(LEAVE_SECONDS)
