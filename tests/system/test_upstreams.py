"""How upstreams are asked: time limits, retries, headers, certificates and proxies, and what an operator is told."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from email.utils import formatdate
from typing import Any

import openai
import pytest

from app.live.runs.upstream_client import CA_VARIABLES
from tests.encryption import Authority
from tests.servers import HOST, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.system.test_habits import strictly
from tests.system.test_openai import ANSWER, HI, completion_head, held
from tests.upstream import Conversation, Play, Upstream, content, refusing, running_upstream, saying
from tests.waiting import patient, wait_until

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
PHOTOGRAPH_BYTES = 3_800_000
KEY = "sk-upstream-key"
FIRST_TOKEN_SECONDS = 60
TRIES = 3
WAYS = pytest.mark.parametrize("way", ["stream", "whole", "run"])


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    shared_upstream.conversations.clear()
    shared_upstream.play = saying("Hello", usage=USAGE)
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    def entry(model: str, **members: Any) -> dict[str, Any]:
        return {"url": shared_upstream.url, "key": KEY, "models": [model], **members}

    upstreams = [
        entry("idle", timeouts={"first_token": FIRST_TOKEN_SECONDS, "idle": 0.5}),
        entry("comments", timeouts={"first_token": 1.5, "idle": 1.5, "comments": 60}),
        entry("comments-alone", timeouts={"first_token": 0.8, "idle": 0.8, "comments": 2}),
        entry("first", timeouts={"first_token": 0.5, "whole": 0.5}),
        entry("patient", timeouts={"first_token": 0.5, "whole": 60}),
        entry("total", timeouts={"total": 1.5, "idle": 1}),
        entry("headers", headers={"X-Team": "search"}, request_headers=["x-own-*"], response_headers=["x-back"]),
        entry("unknown-options"),
        entry("plain", stream_options=False),
        entry("once", retries=0),
    ]
    return {
        "BELFRY_UPSTREAMS": json.dumps(upstreams),
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_UPSTREAM_KEY": KEY,
        "BELFRY_HEARTBEAT_SECONDS": "0.2",
    }


@pytest.fixture
def complete(belfry: Belfry, alice: str) -> Callable[..., tuple[str, str]]:
    """Asks in one of the three ways; answers the text, and the code of the error if there was one."""

    def ask(way: str, model: str = "m", headers: Mapping[str, str] | None = None, **fields: Any) -> tuple[str, str]:
        asked = {"model": model, "messages": HI, "user": alice, **fields}
        api = belfry.api(belfry.token(alice, "complete"))
        if way == "run":
            run_id = api.post("/completions", json=asked, headers=headers).json()["id"]
            state = wait_until(lambda: (state := api.get(f"/completions/{run_id}").json())["ended"] and state, 60)
            return state["text"], (state.get("error") or {}).get("code", "")
        answer = api.post("/v1/chat/completions", json=asked | {"stream": way == "stream"}, headers=headers)
        if way == "whole" or answer.status_code != 200:
            told = answer.json()
            error = told.get("error", {}).get("code", "")
            return "" if error else told["choices"][0]["message"]["content"], error
        values = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
        texts = [choice["delta"].get("content") or "" for value in values for choice in value.get("choices", ())]
        return "".join(texts), next((value["error"]["code"] for value in values if "error" in value), "")

    return ask


def every(seconds: float, say: bytes, times: int = 1_000) -> Callable[[Conversation], bool]:
    """Says it again and again; whether the client stayed."""

    def go_on(conversation: Conversation) -> bool:
        for _ in range(times):
            conversation.send(say)
            if conversation.over.wait(seconds) or conversation.has_left(0):
                return False
        return True

    return go_on


Complete = Callable[..., tuple[str, str]]


class TestTimeLimits:
    @WAYS
    def test_a_pause_within_an_answer(self, upstream: Upstream, complete: Complete, way: str) -> None:
        def stall(conversation: Conversation) -> None:
            conversation.begin()
            conversation.say("Hel")
            assert conversation.has_left()

        upstream.play = stall
        started = time.monotonic()
        assert complete(way, "idle")[1] == "upstream_timeout"
        assert time.monotonic() - started < min(patient(30), FIRST_TOKEN_SECONDS - 1)

    @WAYS
    def test_comments_are_a_sign_of_life_before_the_first_token(
        self, upstream: Upstream, complete: Complete, way: str
    ) -> None:
        def comment(conversation: Conversation) -> None:
            conversation.begin()
            if every(0.2, b": OPENROUTER PROCESSING\n\n", 10)(conversation):
                conversation.say("Hello")
                if every(0.2, b": tools are at work\n\n", 10)(conversation):
                    conversation.finish(USAGE)

        upstream.play = comment
        # The machine may stop the upstream for longer than the limit, so one of some tries has to do.
        assert ("Hello", "") in (complete(way, "comments") for _ in range(TRIES))

    @WAYS
    def test_comments_alone_hold_nothing_for_ever(self, upstream: Upstream, complete: Complete, way: str) -> None:
        stayed: list[bool] = []

        def comment(conversation: Conversation) -> None:
            conversation.begin()
            stayed.append(every(0.1, b": OPENROUTER PROCESSING\n\n")(conversation))

        upstream.play = comment
        assert complete(way, "comments-alone")[1] == "upstream_timeout"
        wait_until(lambda: stayed == [False])

    @WAYS
    def test_the_first_token(self, upstream: Upstream, complete: Complete, way: str) -> None:
        def be_silent(conversation: Conversation) -> None:
            assert conversation.has_left()

        upstream.play = be_silent
        assert complete(way, "first")[1] == "upstream_timeout"
        assert len(upstream.conversations) == 1

    @WAYS
    def test_all_of_it(self, upstream: Upstream, complete: Complete, way: str) -> None:
        def talk(conversation: Conversation) -> None:
            conversation.begin()
            every(0.1, f"data: {content('x')}\n\n".encode())(conversation)

        upstream.play = talk
        assert complete(way, "total")[1] == "upstream_timeout"

    def test_an_answer_in_one_piece_has_its_own(self, upstream: Upstream, complete: Complete) -> None:
        def think(conversation: Conversation) -> None:
            assert not conversation.over.wait(1.2)  # more than twice the limit of a first token
            conversation.refuse(200, ANSWER)

        upstream.play = think
        assert complete("whole", "patient") == ("Hello", "")


class TestAClientThatLeaves:
    @pytest.mark.parametrize("stage", ["before the status", "before the first token", "in the midst"])
    @pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
    def test_stops_the_upstream_at_once(
        self, belfry: Belfry, upstream: Upstream, redis_server: RedisServer, alice: str, stream: bool, stage: str
    ) -> None:
        upstream.play = upstream.hand_over
        with socket.create_connection((HOST, belfry.port)) as client:
            client.sendall(completion_head(belfry, alice).replace(b"true", b"true" if stream else b"null"))
            conversation = upstream.next_request(alice)
            if stage != "before the status":
                conversation.begin()
            if stage == "in the midst":
                conversation.say("Hel")
            assert not conversation.has_left(0.5)
        assert conversation.has_left()
        wait_until(lambda: held(redis_server, belfry, alice)[0] == [], what="the user's place to be free")
        conversation.over.set()

    def test_stops_no_run(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        upstream.play = upstream.hand_over
        api = belfry.api(belfry.token(alice, "complete"))
        run_id = api.post("/completions", json={"model": "m", "messages": HI, "user": alice}).json()["id"]
        with closing(api.get(f"/completions/{run_id}/stream", stream=True)):
            conversation = upstream.next_request(alice)
        assert not conversation.has_left(1.5)
        saying("Hello")(conversation)


def answering(*refusals: tuple[int, dict[str, Any], dict[str, str]]) -> Play:
    """Refuses once for each of these, and then answers well."""
    left = list(refusals)

    def play(conversation: Conversation) -> None:
        if left:
            status, body, headers = left.pop(0)
            conversation.refuse(status, body, **headers)
        elif conversation.body["stream"]:
            saying("Hello", usage=USAGE)(conversation)
        else:
            conversation.refuse(200, ANSWER)

    return play


QUOTA = {"error": {"message": "Pay first", "code": "insufficient_quota", "type": "insufficient_quota"}}
SOON = {"Retry_After": "0.2"}


class TestRetries:
    @pytest.mark.parametrize(
        ("refusal", "calls", "code"),
        [
            ((503, {}, {}), 2, ""),
            ((429, {}, SOON), 2, ""),
            ((429, {}, {"retry_after_ms": "200"}), 2, ""),
            ((429, {}, {"Retry_After": formatdate(time.time() - 5, usegmt=True)}), 2, ""),
            ((429, {}, {"Retry_After": formatdate(time.time() + 3_600, usegmt=True)}), 1, "upstream_rate_limited"),
            ((429, {}, {"retry_after_ms": "60000"}), 1, "upstream_rate_limited"),
            ((503, {}, {"x_should_retry": "false"}), 1, "upstream_failed"),
            ((400, {}, {"x_should_retry": "true"}), 2, ""),
            ((429, QUOTA, {}), 1, "insufficient_quota"),
            ((501, {}, {}), 1, "upstream_failed"),
            ((403, {}, {}), 1, "upstream_refused"),
        ],
    )
    @pytest.mark.parametrize("way", ["stream", "whole"])
    def test_follow_the_upstream_s_advice(
        self, upstream: Upstream, complete: Complete, way: str, refusal: Any, calls: int, code: str
    ) -> None:
        upstream.play = answering(refusal)
        assert complete(way, "plain") == ("" if code else "Hello", code)
        assert len(upstream.conversations) == calls

    def test_can_be_switched_off_for_one_upstream(self, upstream: Upstream, complete: Complete) -> None:
        upstream.play = answering((503, {}, {}))
        assert complete("whole", "once")[1] == "upstream_failed"

    @pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
    def test_are_not_multiplied_by_those_of_the_official_client(
        self, belfry: Belfry, upstream: Upstream, alice: str, stream: bool
    ) -> None:
        upstream.play = refusing(503, {"error": {"message": "busy"}})
        key = belfry.token(alice, "complete")
        with (
            openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=key, max_retries=2) as client,
            pytest.raises(openai.InternalServerError, match="busy"),
        ):
            client.chat.completions.create(model="plain", messages=HI, stream=stream)
        assert len(upstream.conversations) == 3

    def test_of_the_official_client_end_where_the_account_cannot_pay(
        self, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = refusing(429, QUOTA)
        key = belfry.token(alice, "complete")
        with (
            openai.OpenAI(base_url=f"{belfry.url}/v1", api_key=key, max_retries=2) as client,
            pytest.raises(openai.RateLimitError, match="Pay first"),
        ):
            client.chat.completions.create(model="plain", messages=HI)
        assert len(upstream.conversations) == 1


class TestStreamOptions:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
            (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}),
            (400, b""),
            (500, {"detail": "create() got an unexpected keyword argument 'stream_options'"}),
        ],
    )
    def test_are_left_out_where_an_upstream_refuses_them(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str, status: int, body: Any
    ) -> None:
        def play(conversation: Conversation) -> None:
            if "stream_options" in conversation.body:
                conversation.refuse(status, body)
            else:
                saying("Hello", " wörld")(conversation)

        upstream.play = play
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url)
        api = belfry.api(belfry.token(alice, "complete"))
        asked = {"model": "m", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
        for calls in (2, 3):  # it is remembered
            told = api.post("/v1/chat/completions", json=asked).text
            assert '"estimated":true' in told
            assert len(upstream.conversations) == calls

    def test_a_refusal_for_another_reason_is_told_as_it_is(self, upstream: Upstream, complete: Complete) -> None:
        upstream.play = refusing(400, {"error": {"message": "too hot", "code": "bad_temperature"}})
        assert complete("stream", "unknown-options")[1] == "bad_temperature"
        upstream.play = saying("Hello")
        assert complete("stream", "unknown-options")[0] == "Hello"
        assert "stream_options" in upstream.conversations[-1].body
        before = len(upstream.conversations)
        upstream.play = refusing(400, {"error": {"message": "too hot"}})
        complete("stream", "unknown-options")
        assert len(upstream.conversations) == before + 1, "it is known that they are taken"

    def test_an_error_that_repeats_the_request_says_nothing_about_them(
        self, upstream: Upstream, complete: Complete
    ) -> None:
        echo = {"detail": "Boom in {'model': 'once', 'stream_options': {'include_usage': True}}"}
        upstream.play = answering((500, echo, {}))
        assert complete("stream", "once")[1] == "upstream_failed"
        assert len(upstream.conversations) == 1

    def test_a_setting_leaves_them_out(self, upstream: Upstream, complete: Complete) -> None:
        assert complete("stream", "plain")[0] == "Hello"
        assert "stream_options" not in upstream.conversations[-1].body


SENT = {
    "OpenAI-Organization": "org", "OpenAI-Project": "p", "Idempotency-Key": "k1", "X-Title": "T", "HTTP-Referer": "http://a",
    "Cookie": "secret=1", "X-Own-Thing": "own",
}  # fmt: skip


class TestHeaders:
    @WAYS
    def test_that_matter_go_to_the_upstream(self, upstream: Upstream, complete: Complete, way: str) -> None:
        complete(way, "m", SENT)
        got = upstream.conversations[-1].headers
        passed = {name: got[name] for name in SENT}
        assert passed == SENT | {"Cookie": None, "X-Own-Thing": None}
        assert (got["Authorization"], got["User-Agent"]) == (f"Bearer {KEY}", "belfry")

    def test_are_chosen_for_each_upstream(self, belfry: Belfry, upstream: Upstream, alice: str) -> None:
        upstream.play = lambda conversation: conversation.refuse(200, ANSWER, X_Back="yes", X_Request_Id="r")
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/chat/completions", json={"model": "headers", "messages": HI}, headers=SENT)
        got = upstream.conversations[-1].headers
        assert (got["X-Own-Thing"], got["X-Team"], got["X-Title"]) == ("own", "search", None)
        assert (answer.headers["X-Back"], answer.headers.get("X-Request-Id")) == ("yes", None)

    @pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
    @pytest.mark.parametrize("status", [200, 429])
    def test_that_matter_come_back(
        self, belfry: Belfry, upstream: Upstream, alice: str, status: int, stream: bool
    ) -> None:
        back = {
            "x-request-id": "r1",
            "x-ratelimit-remaining-tokens": "7",
            "openai-processing-ms": "3",
            "Set-Cookie": "a=1",
        }
        retry = {"Retry-After": "33", "retry-after-ms": "33000", "x-should-retry": "true"}
        sent = back | (retry if status == 429 else {})
        upstream.play = lambda conversation: conversation.refuse(
            status, ANSWER if status == 200 else {}, **{name.replace("-", "_"): value for name, value in sent.items()}
        )
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/chat/completions", json={"model": "m", "messages": HI, "stream": stream})
        assert answer.status_code == status
        got = {name: answer.headers.get(name) for name in sent}
        assert got == sent | {"Set-Cookie": None}


class TestWhatAnOperatorIsTold:
    def test_a_refusal_is_logged_with_upstream_status_and_reason(
        self, belfry: Belfry, upstream: Upstream, complete: Complete, alice: str
    ) -> None:
        upstream.play = refusing(403, {"detail": f"Not for {alice}"})
        complete("whole", "plain")
        wait_until(lambda: f"upstream {upstream.url} answered 403: Not for {alice}" in belfry.log())

    def test_an_address_without_its_version_is_told_at_the_start_and_in_the_list(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        base = upstream.url.removesuffix("/v1")
        upstream.lists_at = "/v1/models"
        belfry = start_belfry(BELFRY_UPSTREAM_URL=base)
        wait_until(lambda: f"set it to {base}/v1" in belfry.log())
        answer = belfry.api(belfry.token(alice, "complete")).get("/v1/models")
        assert answer.status_code == 502
        assert f"set it to {base}/v1" in answer.json()["error"]["message"]

    @pytest.mark.parametrize("way", ["stream", "whole"])
    def test_a_redirect_tells_where_to(self, belfry: Belfry, upstream: Upstream, complete: Complete, way: str) -> None:
        upstream.play = lambda conversation: conversation.refuse(307, b"", Location="https://elsewhere.example/v1")
        assert complete(way, "plain")[1] == "upstream_failed"
        assert len(upstream.conversations) == 1
        wait_until(lambda: "it redirects to https://elsewhere.example/v1" in belfry.log())

    @WAYS
    def test_interim_answers_are_skipped(self, upstream: Upstream, complete: Complete, way: str) -> None:
        def play(conversation: Conversation) -> None:
            for status in (100, 102, 103):
                conversation.hint(status)
            saying("Hello", usage=USAGE)(conversation)

        upstream.play = play
        assert complete(way, "plain") == ("Hello", "")

    @pytest.mark.parametrize("way", ["stream", "whole"])
    def test_what_is_no_http_is_told_and_asked_for_once(self, upstream: Upstream, complete: Complete, way: str) -> None:
        upstream.play = lambda conversation: conversation.refuse(1_000, b"")
        assert complete(way, "plain")[1] == "upstream_malformed"
        assert len(upstream.conversations) == 1

    def test_a_status_that_comes_late_is_told_in_the_stream(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        def play(conversation: Conversation) -> None:
            assert not conversation.over.wait(3)  # ten times as long as a status is waited for
            conversation.refuse(429, {"error": {"message": "slow down"}}, Retry_After="33")

        upstream.play = play
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_UPSTREAM_STATUS_SECONDS="0.3")
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/chat/completions", json={"model": "m", "messages": HI, "stream": True})
        (line,) = [line for line in answer.text.split("\n") if line.startswith("data: {")]
        error = strictly(line[6:])["error"]
        assert (error["status"], error["retry_after"], error["message"]) == (429, "33", "slow down")


class TestTheWayThere:
    @pytest.fixture
    def certified(self) -> Iterator[tuple[str, Authority]]:
        """The address of the upstream behind TLS with a private authority's certificate, and that authority."""
        with ExitStack() as stack:
            authority = Authority(stack)
            certificate = authority.certify("localhost", HOST)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key_path)
            upstream = stack.enter_context(running_upstream(context))
            upstream.play = saying("Hello", usage=USAGE)
            yield upstream.url, authority

    @pytest.mark.parametrize("named", ["", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "ca"])
    def test_a_private_authority_is_trusted_where_it_is_named(
        self, start_belfry: StartBelfry, certified: tuple[str, Authority], alice: str, named: str
    ) -> None:
        url, authority = certified
        environment = dict.fromkeys(CA_VARIABLES, "") | {"BELFRY_UPSTREAM_RETRIES": "0"}
        if named == "ca":
            environment["BELFRY_UPSTREAMS"] = json.dumps([{"url": url, "ca": str(authority.path)}])
        else:
            environment |= {"BELFRY_UPSTREAM_URL": url} | ({named: str(authority.path)} if named else {})
        belfry = start_belfry(**environment)
        assert self._asked(belfry, alice) == (200 if named else 502)

    @pytest.mark.parametrize("named", ["proxy", "HTTP_PROXY", "NO_PROXY", "none"])
    def test_a_proxy_is_used_where_it_is_named(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str, named: str
    ) -> None:
        proxy, nowhere, closed = upstream.url.removesuffix("/v1"), "http://models.invalid/v1", f"http://{HOST}:1"
        environments = {
            "proxy": {"BELFRY_UPSTREAMS": json.dumps([{"url": nowhere, "proxy": proxy}])},
            "HTTP_PROXY": {"BELFRY_UPSTREAM_URL": nowhere, "HTTP_PROXY": proxy, "NO_PROXY": "a.example"},
            "NO_PROXY": {"BELFRY_UPSTREAM_URL": upstream.url, "HTTP_PROXY": closed, "NO_PROXY": HOST},
            "none": {"BELFRY_UPSTREAMS": json.dumps([{"url": upstream.url, "proxy": ""}]), "HTTP_PROXY": closed},
        }
        belfry = start_belfry(BELFRY_UPSTREAM_RETRIES="0", **environments[named])
        assert self._asked(belfry, alice) == 200
        by_proxy = named in ("proxy", "HTTP_PROXY")
        assert upstream.conversations[-1].path == f"{nowhere if by_proxy else '/v1'}/chat/completions"

    @staticmethod
    def _asked(belfry: Belfry, user: str) -> int:
        asked = {"model": "m", "messages": HI, "stream": True}
        return belfry.api(belfry.token(user, "complete")).post("/v1/chat/completions", json=asked).status_code


class TestRequests:
    def test_with_a_photograph_go_through(self, complete: Complete, upstream: Upstream) -> None:
        image = {
            "type": "image_url",
            "image_url": {"url": "data:image/jpeg;base64," + "A" * (PHOTOGRAPH_BYTES * 4 // 3)},
        }
        text, _ = complete("stream", messages=[{"role": "user", "content": [image]}])
        assert text == "Hello"
        assert upstream.conversations[-1].body["messages"][0]["content"] == [image]

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/completions"])
    def test_may_be_compressed(self, belfry: Belfry, upstream: Upstream, alice: str, path: str) -> None:
        api = belfry.api(belfry.token(alice, "complete"))
        body = json.dumps({"model": "m", "messages": HI, "stream": True}).encode()
        for coding, data, status in (
            ("gzip", gzip.compress(body), 200),
            ("gzip", gzip.compress(body)[:-9], 400),
            ("gzip", body, 400),
            ("gzip", gzip.compress(b" " * 40_000_000), 413),
            ("br", body, 415),
        ):
            answer = api.post(path, data=data, headers={"Content-Encoding": coding})
            assert answer.status_code in (status, 201 if status == 200 else status), answer.text
            assert status != 415 or answer.headers["Accept-Encoding"] == "gzip, deflate"
        wait_until(lambda: bool(upstream.conversations))

    def test_with_a_number_that_is_none_are_refused(self, belfry: Belfry, alice: str) -> None:
        api = belfry.api(belfry.token(alice, "complete"))
        answer = api.post("/v1/chat/completions", data=b'{"model":"m","messages":[{}],"temperature":NaN}')
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_json")
        assert "line 1 column 44" in answer.json()["error"]["message"]
