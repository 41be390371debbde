"""`POST /v1/chat/completions` as OpenAI's own clients use it, against a real server and an upstream of our own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from tests.conftest import absent
from tests.servers import HOST, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.upstream import Conversation, Play, Upstream, chunk, content, refusing, running_upstream, saying, sending
from tests.waiting import patient, wait_until

NODE_SCRIPT = Path(__file__).parent / "openai.mjs"
NODE_CLIENT = NODE_SCRIPT.parent / "browser" / "node_modules" / "openai"
KEY = "sk-upstream-key-that-nobody-may-see"
HI: Any = [{"role": "user", "content": "hi"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE,
    "made_up": {"kept": True},
}
STOPS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
DRAIN_SECONDS = 0.5


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.play = saying("Hello", " wörld", usage=USAGE)
    return shared_upstream


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_UPSTREAM_KEY": KEY,
        "BELFRY_HEARTBEAT_SECONDS": "0.2",
    }


@pytest.fixture
def client(belfry: Belfry, alice: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=belfry.token(alice, "complete"), max_retries=0) as client:
        yield client


def slowly(*texts: str) -> Play:
    """Answers with heartbeats before each text."""

    def play(conversation: Conversation) -> None:
        conversation.begin()
        for text in texts:
            assert not conversation.over.wait(0.5)  # two heartbeats long
            conversation.say(text)
        conversation.finish(USAGE)

    return play


def texts(stream: Any) -> str:
    return "".join(part.choices[0].delta.content or "" for part in stream if part.choices)


def post(belfry: Belfry, user: str, /, **fields: Any) -> requests.Response:
    api = belfry.api(belfry.token(user, "complete"))
    return api.post("/v1/chat/completions", json={"model": "m", "messages": HI} | fields)


def relayed(belfry: Belfry, user: str, /, **fields: Any) -> list[str]:
    """The data of each block of a streamed answer, which has nothing but data and comments."""
    body = post(belfry, user, stream=True, **fields).content.decode()
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), blocks
    return [block.removeprefix("data: ") for block in blocks]


class TestTheOfficialClients:
    def test_stream_an_answer(self, client: openai.OpenAI) -> None:
        assert texts(client.chat.completions.create(model="m", messages=HI, stream=True)) == "Hello wörld"

    def test_stream_an_answer_asynchronously_through_heartbeats(
        self, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        async def ask() -> str:
            key = belfry.token(alice, "complete")
            async with openai.AsyncOpenAI(base_url=f"{belfry.url}/v1", api_key=key, max_retries=0) as client:
                stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
                return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

        upstream.play = slowly("Hello", " wörld")
        assert asyncio.run(ask()) == "Hello wörld"

    def test_get_a_whole_answer_with_fields_they_have_never_heard_of(
        self, client: openai.OpenAI, upstream: Upstream
    ) -> None:
        upstream.play = lambda conversation: conversation.refuse(200, ANSWER)
        answer = client.chat.completions.create(model="m", messages=HI, extra_body={"unheard_of": [1]})
        assert answer.choices[0].message.content == "Hello"
        assert answer.model_extra == {"made_up": {"kept": True}}
        assert upstream.conversations[-1].body["unheard_of"] == [1]
        assert upstream.conversations[-1].body["stream"] is False

    def test_get_the_usage_they_asked_for_and_only_then(self, client: openai.OpenAI) -> None:
        asked = client.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        assert [part.usage.total_tokens for part in asked if part.usage] == [5]
        not_asked = list(client.chat.completions.create(model="m", messages=HI, stream=True))
        assert [part for part in not_asked if part.usage or not part.choices] == []

    def test_wait_through_heartbeats_before_the_first_token_and_between_tokens(
        self, client: openai.OpenAI, upstream: Upstream
    ) -> None:
        upstream.play = slowly("at", " last")
        assert texts(client.chat.completions.create(model="m", messages=HI, stream=True)) == "at last"

    def test_put_tool_calls_together(self, client: openai.OpenAI, upstream: Upstream) -> None:
        first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"q":'}}
        rest = {"index": 0, "function": {"arguments": '"x"}'}}
        parts = [chunk({"tool_calls": [first]}), chunk({"tool_calls": [rest]}), chunk({}, "tool_calls")]
        upstream.play = sending(*[f"data: {part}\n\n".encode() for part in parts], b"data: [DONE]\n\n")
        with client.chat.completions.stream(model="m", messages=HI) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert calls is not None
        (call,) = calls
        assert (call.function.name, call.function.arguments) == ("find", '{"q":"x"}')

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, openai.BadRequestError),
            (404, openai.NotFoundError),
            (422, openai.UnprocessableEntityError),
            (429, openai.RateLimitError),
            (500, openai.InternalServerError),
        ],
    )
    def test_raise_the_right_error(
        self, client: openai.OpenAI, upstream: Upstream, status: int, error: type[openai.APIStatusError]
    ) -> None:
        said = {"error": {"message": "It says no.", "type": "some_error", "code": "no", "param": "model"}}
        upstream.play = refusing(status, said)
        for stream in (False, True):
            with pytest.raises(error) as caught:
                client.chat.completions.create(model="m", messages=HI, stream=stream)
            assert "It says no." in caught.value.message
            assert caught.value.status_code == status

    def test_raise_an_error_that_comes_in_mid_answer(self, client: openai.OpenAI, upstream: Upstream) -> None:
        error = json.dumps({"error": {"message": "Out of memory.", "type": "server_error"}})
        upstream.play = sending(f"data: {content('Hel')}\n\n".encode(), f"data: {error}\n\n".encode())
        with pytest.raises(openai.APIError, match="Out of memory"):
            texts(client.chat.completions.create(model="m", messages=HI, stream=True))

    @pytest.mark.parametrize(
        "broken",
        [
            sending(f"data: {content('Hel')}\n\n".encode(), end=False),
            sending(f"data: {content('Hel')}\n\n".encode()),
            sending(f"data: {content('Hel')}\n\n".encode(), b'data: {"choices": [\n\n'),
        ],
        ids=["cut", "ended without a reason", "malformed"],
    )
    def test_hear_of_an_answer_that_is_not_whole(self, client: openai.OpenAI, upstream: Upstream, broken: Any) -> None:
        upstream.play = broken
        with pytest.raises(openai.APIError):
            texts(client.chat.completions.create(model="m", messages=HI, stream=True))

    def test_hear_of_an_upstream_that_stalls(
        self, start_belfry: StartBelfry, environment: Mapping[str, str], upstream: Upstream, alice: str
    ) -> None:
        def stall(conversation: Conversation) -> None:
            conversation.begin()
            conversation.say("Hel")
            assert conversation.has_left()

        upstream.play = stall
        belfry = start_belfry(**environment, BELFRY_UPSTREAM_IDLE_SECONDS="1.5")
        key = belfry.token(alice, "complete")
        with (
            openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=key, max_retries=0) as client,
            pytest.raises(openai.APIError, match="in time"),
        ):
            texts(client.chat.completions.create(model="m", messages=HI, stream=True))

    def test_list_the_models(self, client: openai.OpenAI, upstream: Upstream) -> None:
        (model,) = client.models.list()
        assert (model.id, model.model_extra) == ("m", {"made_up": True})
        assert client.models.retrieve("m").id == "m"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("another/one")
        assert set(upstream.asked) == {"/v1/models"}

    def test_are_told_when_they_have_no_credential(self, belfry: Belfry, alice: str) -> None:
        for key, error in (("nonsense", openai.AuthenticationError), (belfry.token(alice, "feed"), None)):
            with (
                openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=key, max_retries=0) as client,
                pytest.raises(error or openai.PermissionDeniedError),
            ):
                client.chat.completions.create(model="m", messages=HI)


def test_the_official_client_for_node_works_as_well(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    if shutil.which("node") is None or not NODE_CLIENT.exists():
        absent("Node with OpenAI's client")

    def play(conversation: Conversation) -> None:
        if conversation.body["model"] == "refused":
            conversation.refuse(404, {"error": {"message": "No such model.", "code": "model_not_found"}})
        elif conversation.body["stream"]:
            slowly("Hello", " wörld")(conversation)
        else:
            conversation.refuse(200, ANSWER)

    upstream.play = play
    command = ["node", str(NODE_SCRIPT), f"{belfry.url}/v1", belfry.token(alice, "complete"), "m"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=True)
    assert json.loads(done.stdout) == {
        "models": ["m"], "streamed": "Hello wörld", "tokens": 5, "whole": "Hello",
        "status": 404, "code": "model_not_found",
    }  # fmt: skip


ROLE = chunk({"role": "assistant", "content": ""})
WORLD = content("wörld 🌍")
STOP = chunk({}, "stop")
# https://learn.microsoft.com/azure/ai-services/openai: the first chunk has no choices, only the filter's results
FILTER = '{"choices":[],"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}'
VLLM = '{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"hm"},"logprobs":null}],"usage":null}'


@pytest.mark.parametrize(
    ("raw", "datas"),
    [
        (f"data: {ROLE}\n\ndata: {WORLD}\n\ndata: {STOP}\n\ndata: [DONE]\n\n", [ROLE, WORLD, STOP]),
        (f"data: {ROLE}\r\n\r\ndata: {WORLD}\r\n\r\ndata: {STOP}\r\n\r\ndata: [DONE]\r\n\r\n", [ROLE, WORLD, STOP]),
        (f": hello\n\n: OPENROUTER PROCESSING\n\ndata: {WORLD}\n\ndata: {STOP}\n\ndata: [DONE]\n\n", [WORLD, STOP]),
        (f"event: message\nid: 7\nretry: 1\ndata: {WORLD}\n\ndata: {STOP}\n\ndata: [DONE]\n\n", [WORLD, STOP]),
        (f"data:{WORLD}\n\ndata:{STOP}\n\n", [WORLD, STOP]),
        (f"data: {WORLD}\n\ndata: {STOP}", [WORLD, STOP]),
        (f"data: {FILTER}\n\ndata: {WORLD}\n\ndata: {STOP}\n\ndata: [DONE]\n\n", [FILTER, WORLD, STOP]),
        (f"data: {VLLM}\n\ndata: {STOP}\n\ndata: [DONE]\n\n", [VLLM, STOP]),
    ],
    ids=["plain", "CRLF", "comments", "fields", "without [DONE]", "without the last line end", "Azure", "vLLM"],
)
class TestEveryKindOfStreamIsRelayedToTheByte:
    def test_as_one_piece(self, belfry: Belfry, upstream: Upstream, alice: str, raw: str, datas: list[str]) -> None:
        upstream.play = sending(raw.encode())
        assert relayed(belfry, alice) == [*datas, "[DONE]"]

    def test_byte_by_byte(self, belfry: Belfry, upstream: Upstream, alice: str, raw: str, datas: list[str]) -> None:
        upstream.play = sending(*[bytes([byte]) for byte in raw.encode()])
        assert relayed(belfry, alice) == [*datas, "[DONE]"]


def test_the_connection_ends_with_done(belfry: Belfry, alice: str) -> None:
    assert relayed(belfry, alice)[-1] == "[DONE]"


class TestRetries:
    def test_before_the_first_token_a_failure_is_not_noticed(
        self, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        for stream in (True, False):
            good: Any = saying("fine") if stream else (lambda conversation: conversation.refuse(200, ANSWER))
            upstream.play = refusing(503, b"busy", times=2, then=good)
            assert post(belfry, alice, stream=stream).status_code == 200

    def test_after_it_nothing_is_asked_twice(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        asked = len(upstream.conversations)
        upstream.play = sending(f"data: {content('Hel')}\n\n".encode(), end=False)
        assert '"upstream_truncated"' in relayed(belfry, alice)[-2]
        assert len(upstream.conversations) == asked + 1

    def test_a_refusal_that_asks_for_patience_is_passed_on_with_it(
        self, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = lambda conversation: conversation.refuse(429, {}, Retry_After="33")
        for stream in (True, False):
            answer = post(belfry, alice, stream=stream)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "33")


class TestSecrets:
    def test_the_upstream_gets_its_key_and_not_the_users_token(
        self, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        relayed(belfry, alice)
        assert upstream.conversations[-1].headers["Authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("status", [400, 401, 403, 500])
    def test_an_upstream_that_repeats_its_key_is_not_quoted(
        self, belfry: Belfry, upstream: Upstream, alice: str, status: int
    ) -> None:
        upstream.play = refusing(status, {"error": {"message": f"Wrong key {KEY} on host 10.0.0.7", "type": KEY}})
        answer = post(belfry, alice)
        assert KEY not in answer.text
        assert answer.status_code == (502 if status == 401 else status)
        assert ("10.0.0.7" in answer.text) == (status != 401)
        assert KEY not in belfry.log()


class TestBadRequests:
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"{}", b'{"model":"m"}', b'{"model":"m","messages":[]}', b'{"model":1,"messages":[{}]}',
         b'{"model":"m","messages":[{}],"stream":"yes"}', b'{"model":"m","messages":[1]}',
         b'{"model":"m","messages":[{}],"stream_options":7}', b"\xff", b"[" * 100_000],
    )  # fmt: skip
    def test_are_refused_in_openais_shape(self, belfry: Belfry, alice: str, body: bytes) -> None:
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    def test_without_a_credential_too(self, belfry: Belfry) -> None:
        answer = belfry.api().post("/v1/chat/completions", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_missing")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_client_that_leaves_lets_the_upstream_go(belfry: Belfry, upstream: Upstream, alice: str) -> None:
    left = threading.Event()

    def talk(conversation: Conversation) -> None:
        conversation.begin()
        while not conversation.has_left(0.02):
            conversation.say("on and on")
        left.set()

    upstream.play = talk
    with belfry.api(belfry.token(alice, "complete")) as api:
        asked = {"model": "m", "messages": HI, "stream": True}
        answer = api.post("/v1/chat/completions", json=asked, stream=True)
        assert next(answer.iter_content(65_536))
        answer.close()
    assert left.wait(30)


Ask = Callable[..., Any]


class TestAWorkerThatStops:
    """What it passes through has the time that streams have, and then its client is told."""

    @pytest.fixture
    def stopping(self, start_belfry: StartBelfry, upstream: Upstream) -> Belfry:
        upstream.play = upstream.hand_over
        return start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_DRAIN_SECONDS=str(DRAIN_SECONDS))

    @pytest.fixture
    def ask(self, stopping: Belfry, alice: str) -> Iterator[Ask]:
        base, key = f"{stopping.url}/v1", stopping.token(alice, "complete")
        with openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=patient(60)) as client:
            yield partial(client.chat.completions.create, model="m", messages=HI, user=alice)

    @STOPS
    def test_ends_an_answer_with_an_error_that_the_official_client_raises(
        self,
        stopping: Belfry,
        ask: Ask,
        upstream: Upstream,
        redis_server: RedisServer,
        alice: str,
        number: signal.Signals,
    ) -> None:
        old = stopping.worker()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, stream=True)
            conversation = upstream.next_request(alice)
            conversation.begin()
            conversation.say("Hello")
            stream = asked.result()
        assert next(stream).choices[0].delta.content == "Hello"
        stopping.signal(number)
        with pytest.raises(openai.APIError, match="shutting down") as caught:
            next(stream)
        assert caught.value.code == "shutting_down"
        assert conversation.has_left()
        wait_until(lambda: old not in stopping.workers(), what="the worker to leave")
        assert held(redis_server, stopping, alice) == ([], 1)

    def test_ends_it_like_one_whose_upstream_broke(self, stopping: Belfry, upstream: Upstream, alice: str) -> None:
        with ThreadPoolExecutor(1) as pool:
            relaying = pool.submit(relayed, stopping, alice, user=alice)
            conversation = upstream.next_request(alice)
            conversation.begin()
            conversation.say("Hel")
            stopping.signal(signal.SIGTERM)
        text, error, done = relaying.result()
        assert (text, done) == (content("Hel"), "[DONE]")
        assert json.loads(error)["error"]["type"] == "server_error"

    @STOPS
    @pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
    def test_refuses_what_the_upstream_has_not_begun_to_answer(
        self, stopping: Belfry, ask: Ask, upstream: Upstream, alice: str, number: signal.Signals, stream: bool
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, stream=stream)
            conversation = upstream.next_request(alice)
            stopping.signal(number)
            with pytest.raises(openai.InternalServerError, match="shutting down") as caught:
                asked.result()
        assert (caught.value.status_code, caught.value.code) == (503, "shutting_down")
        assert caught.value.response.headers["Retry-After"] == "5"
        assert conversation.has_left()

    def test_lets_an_answer_come_to_its_end_that_needs_no_longer(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = upstream.hand_over
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_DRAIN_SECONDS="20")
        with belfry.stream(alice) as told, ThreadPoolExecutor(2) as pool:
            told.wait_for("ready")
            relaying = pool.submit(relayed, belfry, alice, user=alice)
            streamed = upstream.next_request(alice)
            asked = pool.submit(post, belfry, alice, user=alice)
            whole = upstream.next_request(alice)
            belfry.signal(signal.SIGTERM)
            told.wait_for("goodbye")
            whole.refuse(200, ANSWER)
            saying("Hello")(streamed)
            assert asked.result().json() == ANSWER
            assert relaying.result() == [content("Hello"), STOP, "[DONE]"]

    @STOPS
    def test_frees_and_counts_what_an_answer_held_that_nobody_reads(
        self, stopping: Belfry, upstream: Upstream, redis_server: RedisServer, alice: str, number: signal.Signals
    ) -> None:
        """It fills every buffer on its way, so that its request would wait for its reader for ever."""
        old = stopping.worker()
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            silent.connect((HOST, stopping.port))
            silent.sendall(completion_head(stopping, alice))
            talk = Talk(upstream.next_request(alice))
            wait_until(talk.is_stuck, 60, what="every buffer to be full")
            (_,), _ = held(redis_server, stopping, alice)
            stopping.signal(number)
            assert talk.ended.wait(patient(60)), "the upstream was not let go"
            wait_until(lambda: old not in stopping.workers(), what="the worker to leave")
            active, tokens = held(redis_server, stopping, alice)
            assert active == []
            assert tokens > 100
            assert "Worker exiting" in stopping.log(), "killed before it had said what it counted"


class Talk:
    """An upstream that goes on for as long as it is listened to."""

    def __init__(self, conversation: Conversation) -> None:
        self.said = 0
        self.ended = threading.Event()
        self._last = (0, 0.0)
        self._conversation = conversation
        threading.Thread(target=self._talk, daemon=True).start()

    def is_stuck(self) -> bool:
        """Whether it could say nothing more for a while."""
        said, since = self._last
        if said != self.said or not said:
            self._last = (self.said, time.monotonic())
            return False
        return time.monotonic() - since > 1

    def _talk(self) -> None:
        self._conversation.begin()
        while not self._conversation.has_left(0):
            self._conversation.say("on and on " * 100)
            self.said += 1
        self.ended.set()


def completion_head(belfry: Belfry, user: str) -> bytes:
    body = json.dumps({"model": "m", "messages": HI, "user": user, "stream": True})
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {belfry.token(user, 'complete')}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def held(redis_server: RedisServer, belfry: Belfry, user: str) -> tuple[list[str], int]:
    """What the store counts for a user: the completions under way, and the day's tokens."""
    log = f"{belfry.settings_environment['BELFRY_REDIS_PREFIX']}:{{user:{user}}}"
    with redis_server.client() as client:
        days = [int(client.get(key)) for key in client.scan_iter(f"{log}:tokens:*")]
        return client.zrange(f"{log}:active", 0, -1), sum(days)
