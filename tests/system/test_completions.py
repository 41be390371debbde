"""Runs: started by POST, watched by anyone of their user, from anywhere, any number of times; and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from app.core.completion.usage import BYTES_PER_TOKEN
from app.core.wire.sse import Event
from tests.faults.link_proxy import LinkProxy
from tests.servers import START_SECONDS, Belfry, RedisServer, owner_of
from tests.stream_client import StreamClient
from tests.system.conftest import LINGERING, StartBelfry
from tests.upstream import Upstream, chunk, content, refusing, running_upstream, saying, sending, text_of
from tests.waiting import patient, wait_until

EACH_CHUNK = "?snapshot=false"
HI = [{"role": "user", "content": "What is a belfry?"}]
WORDS = [f"word{number} " for number in range(30)]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 3, "completion_tokens": 30, "total_tokens": 33}
LOST_SECONDS = 30.0  # six times the promise: each process may stand still for some seconds
LONG_SECONDS = "120"  # longer than any test waits, so that no pause of a slow test ends a run
HASTY_SECONDS = "2"


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    """Waits for the test to take each request, unless the test lets it play something."""
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_HEARTBEAT_SECONDS": "0.5",
        "BELFRY_UPSTREAM_FIRST_TOKEN_SECONDS": LONG_SECONDS,
        "BELFRY_UPSTREAM_IDLE_SECONDS": LONG_SECONDS,
        "BELFRY_UPSTREAM_RETRIES": "1",
    }


class Runner:
    """A user who starts runs and watches them."""

    def __init__(self, belfry: Belfry, user: str) -> None:
        self.belfry = belfry
        self.user = user
        self.token = belfry.token(user, "complete", "feed")
        self.api = belfry.api(self.token)

    def post(self, run_id: str = "", **fields: Any) -> requests.Response:
        named = {"id": run_id} if run_id else {}
        return self.api.post("/completions", json={"model": "m", "messages": HI, "user": self.user} | named | fields)

    def start(self, **fields: Any) -> str:
        answer = self.post(**fields)
        assert answer.status_code == 201, answer.text
        run_id: str = answer.json()["id"]
        assert answer.json() == {"id": run_id, "stream": f"/completions/{run_id}/stream", "status": "running"}
        return run_id

    def watch(self, run_id: str, cursor: str | None = None, query: str = "", **options: Any) -> StreamClient:
        sent = {"Authorization": f"Bearer {self.token}"}
        if cursor is not None:
            sent["Last-Event-ID"] = cursor
        return StreamClient(self.belfry.port, f"/completions/{run_id}/stream{query}", sent, **options)

    def state(self, run_id: str) -> dict[str, Any]:
        answer = self.api.get(f"/completions/{run_id}")
        assert answer.status_code == 200, answer.text
        state: dict[str, Any] = answer.json()
        return state

    def stop(self, run_id: str) -> requests.Response:
        return self.api.delete(f"/completions/{run_id}")

    def wait_ended(self, run_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            state = self.state(run_id)
            return state if state["ended"] else None

        return wait_until(ended, 30)


@pytest.fixture
def runner(belfry: Belfry, alice: str) -> Runner:
    return Runner(belfry, alice)


@pytest.fixture
def hasty(start_belfry: StartBelfry, environment: Mapping[str, str], alice: str) -> Callable[[str], Runner]:
    """Start a server that has only two seconds of patience with an upstream in one respect, and answer a user of it."""

    def start(setting: str) -> Runner:
        return Runner(start_belfry(**{**environment, setting: HASTY_SECONDS, "BELFRY_UPSTREAM_RETRIES": "0"}), alice)

    return start


def datas(stream: StreamClient) -> list[str]:
    return [event.data for event in stream.events if event.event == "message"]


def types(stream: StreamClient) -> list[str]:
    """The events that are not chunks."""
    return [event.event for event in stream.events if event.event not in ("message", "heartbeat")]


def to_the_end(stream: StreamClient, seconds: float = 30.0) -> str:
    """The text of a stream that must end by itself, and well formed."""
    stream.read_to_end(seconds)
    stream.close()
    assert datas(stream)[-1] == "[DONE]"
    assert stream.events[-1].data == "[DONE]"
    return text_of(datas(stream))


class TestAnAnswer:
    def test_comes_chunk_by_chunk_and_ends(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        with runner.watch(runner.start()) as stream:
            assert stream.next_event().event == "ready"
            assert to_the_end(stream) == TEXT
            assert all(event.id for event in stream.events)

    @pytest.mark.parametrize("piece", [1, 10_000], ids=["byte by byte", "as one piece"])
    def test_is_kept_to_the_byte_apart_from_what_readers_misread(
        self, runner: Runner, upstream: Upstream, piece: int
    ) -> None:
        filtered = '{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}'  # Azure's first chunk
        reasoning = '{"choices":[{"index":0,"delta":{"reasoning_content":"h\u2028m"}}],"usage":null}'  # vLLM's
        call = '{"choices": [{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"q\\":"}}]}}]}'
        chunks = [filtered, chunk({"role": "assistant"}), reasoning, call, content("wörld 🌍\n"), chunk({}, "stop")]
        raw = b": hello\r\n\r\n" + b"".join(f"data: {data}\r\n\r\n".encode() for data in [*chunks, "[DONE]"])
        upstream.play = sending(*[raw[at : at + piece] for at in range(0, len(raw), piece)])
        with runner.watch(runner.start(), query=EACH_CHUNK) as stream:
            to_the_end(stream)
        assert datas(stream) == [*[data.replace("\u2028", r"\u2028") for data in chunks], "[DONE]"]

    def test_is_read_with_a_ticket(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        run_id = runner.start()
        ticket = runner.api.post("/tickets").json()["ticket"]
        with StreamClient(runner.belfry.port, f"/completions/{run_id}/stream?ticket={ticket}", {}) as stream:
            assert to_the_end(stream) == TEXT

    def test_begins_with_ready_and_heartbeats_before_the_first_token(self, runner: Runner, upstream: Upstream) -> None:
        with runner.watch(runner.start()) as stream:
            conversation = upstream.next_request(runner.user)
            first = stream.next_event()
            assert (first.event, json.loads(first.data)["status"]) == ("ready", "running")
            assert first.retry
            assert [stream.next_event().event for _ in range(2)] == ["heartbeat"] * 2
            conversation.begin()
            conversation.say("at last")
            assert text_of([stream.wait_for("message").data]) == "at last"  # heartbeats may come before it
            conversation.finish()

    def test_can_be_read_again_from_the_start_after_its_end(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        run_id = runner.start()
        runner.wait_ended(run_id)
        for _ in range(2):
            with runner.watch(run_id) as stream:
                assert to_the_end(stream) == TEXT

    def test_resumes_after_a_cut_at_every_chunk(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        run_id = runner.start()
        runner.wait_ended(run_id)
        with runner.watch(run_id) as whole:
            to_the_end(whole)
        chunks = [event for event in whole.events if event.event == "message"]
        for seen, event in enumerate(chunks[:-1], 1):
            with runner.watch(run_id, cursor=event.id) as rest:
                assert text_of([chunk.data for chunk in chunks[:seen]]) + to_the_end(rest) == TEXT

    def test_resumes_wherever_the_client_was_cut_while_it_is_written(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        seen: list[str] = []
        cursor = None
        for word in WORDS:
            conversation.say(word)
            with runner.watch(run_id, cursor=cursor) as stream:
                event = stream.wait_for("message")
                seen.append(event.data)
                cursor = event.id
                stream.reset()
        conversation.finish()
        assert text_of(seen) == TEXT

    def test_read_to_its_end_is_answered_with_nothing(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("x")
        run_id = runner.start()
        with runner.watch(run_id) as stream:
            to_the_end(stream)
        with runner.watch(run_id, cursor=stream.cursor) as again:
            assert again.status == 204
        for name in ("last_event_id", "lastEventId", "lastEventID", "Last-Event-ID"):
            answer = runner.api.get(f"/completions/{run_id}/stream?{name}={stream.cursor}")
            assert answer.status_code == 204

    def test_looks_the_same_to_three_who_watch_from_different_moments(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        watching = []
        for part in (WORDS[:10], WORDS[10:20], WORDS[20:]):
            watching.append(runner.watch(run_id, query=EACH_CHUNK))
            conversation.say(*part)
        conversation.finish()
        assert [to_the_end(stream) for stream in watching] == [TEXT] * 3
        assert len({tuple(datas(stream)) for stream in watching}) == 1

    def test_goes_on_while_nobody_watches(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        with runner.watch(run_id) as stream:
            stream.wait_for("ready")
        conversation.say(*WORDS)
        conversation.finish(USAGE)
        state = runner.wait_ended(run_id)
        assert (state["status"], state["text"], state["finish_reason"], state["usage"]) == (
            "done", TEXT, "stop", USAGE,
        )  # fmt: skip

    def test_of_ten_thousand_chunks_reaches_a_slow_reader_whole(self, runner: Runner, upstream: Upstream) -> None:
        words = [f"{number} " for number in range(10_000)]
        upstream.play = saying(*words)
        run_id = runner.start()
        with runner.watch(run_id, receive_buffer=4_096) as stream:
            runner.wait_ended(run_id)
            assert to_the_end(stream, 30) == "".join(words)


class TestASnapshot:
    """Who comes late, or again, gets the text so far in one event."""

    def test_is_one_event_and_what_follows_comes_live(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        conversation.say(*WORDS)
        wait_until(lambda: runner.state(run_id)["text"] == TEXT)
        with runner.watch(run_id) as stream:
            assert stream.next_event().event == "ready"
            assert text_of([stream.wait_for("message").data]) == TEXT
            conversation.say("and ", "more")
            conversation.finish()
            assert to_the_end(stream) == TEXT + "and more"

    def test_holds_what_a_client_has_not_seen(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        run_id = runner.start()
        runner.wait_ended(run_id)
        with runner.watch(run_id, query=EACH_CHUNK) as whole:
            to_the_end(whole)
        chunks = [event for event in whole.events if event.event == "message"]
        for seen, event in enumerate(chunks[:-2], 1):
            with runner.watch(run_id, cursor=event.id) as rest:
                to_the_end(rest)
            assert text_of([chunk.data for chunk in chunks[:seen]]) + text_of(datas(rest)) == TEXT
            assert [each.id for each in rest.events if each.event == "message"] == [chunks[-2].id, chunks[-1].id]

    def test_comes_before_what_tells_that_somebody_stopped_it(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        conversation.say(*WORDS)
        wait_until(lambda: runner.state(run_id)["text"] == TEXT)
        runner.stop(run_id)
        with runner.watch(run_id) as stream:
            assert to_the_end(stream) == TEXT
        told = [event.event for event in stream.events if event.event != "heartbeat"]
        assert told == ["ready", "message", "stopped", "message"]

    def test_has_a_limit_and_more_comes_in_several_events(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        runner = Runner(start_belfry(BELFRY_SNAPSHOT_BYTES="4096", BELFRY_UPSTREAM_URL=upstream.url), alice)
        upstream.play = saying(*["x" * 1_000] * 20)
        run_id = runner.start()
        runner.wait_ended(run_id)
        with runner.watch(run_id) as stream:
            assert to_the_end(stream) == "x" * 20_000
        sizes = [len(text_of([data])) for data in datas(stream)]
        assert sizes == [5_000] * 4 + [0, 0]  # the finish reason, and `[DONE]`

    def test_of_ten_megabytes_costs_little_more_than_its_text(self, runner: Runner, upstream: Upstream) -> None:
        text = "A belfry is the part of a tower that holds bells. " * 20
        upstream.play = saying(*[text] * 10_000)
        run_id = runner.start()
        wait_until(lambda: runner.api.get("/completions?limit=1").json()["completions"][0]["ended"], 60)
        with runner.watch(run_id) as stream:
            assert len(to_the_end(stream, 60)) == len(text) * 10_000
        sent = sum(len(event.data) + len(event.id) for event in stream.events)
        assert sent < 1.1 * len(text) * 10_000
        assert len(datas(stream)) < 20

    def test_is_not_for_who_wants_each_chunk(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying(*WORDS)
        run_id = runner.start()
        runner.wait_ended(run_id)
        with runner.watch(run_id, query=EACH_CHUNK) as stream:
            assert to_the_end(stream) == TEXT
        assert len(datas(stream)) == len(WORDS) + 2
        answer = runner.api.get(f"/completions/{run_id}/stream?snapshot=often")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")


class TestStartingAgain:
    def test_with_the_same_id_is_the_same_run(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("once")
        asked = len(upstream.conversations)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: Runner(runner.belfry, runner.user).post("same"), range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
        assert {answer.json()["id"] for answer in answers} == {"same"}
        runner.wait_ended("same")
        assert len(upstream.conversations) == asked + 1
        assert runner.post("same").json()["status"] == "done"

    def test_with_the_header_that_others_use(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("once")
        key = secrets.token_hex(8)
        for status in (201, 200):
            body = {"model": "m", "messages": HI}
            answer = runner.api.post("/completions", json=body, headers={"Idempotency-Key": key})
            assert (answer.status_code, answer.json()["id"]) == (status, key)

    def test_with_the_same_id_and_another_request_is_refused(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("once")
        assert runner.post("one").status_code == 201
        answer = runner.post("one", temperature=1)
        assert (answer.status_code, answer.json()["code"]) == (409, "id_reused")

    def test_another_user_may_use_the_same_id(self, runner: Runner, upstream: Upstream, bob: str) -> None:
        upstream.play = saying("once")
        assert [Runner(runner.belfry, user).post("mine").status_code for user in (runner.user, bob)] == [201, 201]


class TestStopping:
    def test_closes_the_upstream_and_tells_everyone(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        with runner.watch(run_id) as first, runner.watch(run_id) as second:
            conversation.say("Hel")
            for stream in (first, second):
                stream.wait_for("message")
            assert runner.stop(run_id).json() == {"id": run_id, "status": "stopped"}
            assert conversation.has_left()
            for stream in (first, second):
                assert to_the_end(stream) == "Hel"
                assert types(stream) == ["ready", "stopped"]
        assert runner.state(run_id)["text"] == "Hel"

    def test_works_before_the_first_token_and_before_the_upstream_answers(
        self, runner: Runner, upstream: Upstream
    ) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        with runner.watch(run_id) as stream:
            stream.wait_for("ready")
            runner.stop(run_id)
            assert conversation.has_left()
            assert to_the_end(stream) == ""
        assert runner.state(run_id)["status"] == "stopped"

    def test_twice_or_after_the_end_changes_nothing(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        upstream.next_request(runner.user).begin()
        assert [runner.stop(run_id).json()["status"] for _ in range(2)] == ["stopped", "stopped"]
        upstream.play = saying("all of it")
        done = runner.start()
        runner.wait_ended(done)
        assert runner.stop(done).json()["status"] == "done"
        with runner.watch(done) as stream:
            assert to_the_end(stream) == "all of it"

    def test_is_not_for_others(self, runner: Runner, upstream: Upstream, bob: str) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        other = Runner(runner.belfry, bob)
        assert other.stop(run_id).status_code == 404
        assert other.api.get(f"/completions/{run_id}").status_code == 404
        assert other.api.get(f"/completions/{run_id}/stream").status_code == 404
        assert other.api.get("/completions").json() == {"completions": []}
        conversation.begin()
        conversation.finish()
        assert runner.wait_ended(run_id)["status"] == "done"


def test_who_watches_a_run_is_not_recorded_as_connected_to_the_feed(runner: Runner, upstream: Upstream) -> None:
    run_id = runner.start()
    conversation = upstream.next_request(runner.user)
    conversation.begin()
    root = runner.belfry.api(runner.belfry.token("root", "admin"))
    with runner.watch(run_id) as stream:
        stream.wait_for("ready")
        with runner.belfry.stream(runner.user) as feed:
            feed.wait_for("ready")
            wait_until(lambda: runner.user in root.get("/presence").json()["users"])
            assert root.get("/presence").json()["users"][runner.user]["connections"] == 1
    wait_until(lambda: len(root.get(f"/users/{runner.user}").json()["events"]) == 2)
    conversation.finish()


class TestForgettingAUser:
    def test_lets_the_upstream_go_and_leaves_no_run(self, runner: Runner, upstream: Upstream, bob: str) -> None:
        upstream.play = saying("done")
        runner.wait_ended(runner.start(id="done"))
        upstream.play = upstream.hand_over
        runner.start(id="under-way")
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        root = runner.belfry.api(runner.belfry.token("root", "admin"))
        with runner.watch("under-way") as stream:
            stream.wait_for("ready")
            assert root.delete(f"/users/{bob}").status_code == 204  # nobody else's business
            conversation.say("still here")
            stream.wait_for("message")
            assert root.delete(f"/users/{runner.user}").status_code == 204
            assert conversation.has_left()
            stream.read_to_end()
        later = runner.belfry.api(runner.belfry.token(runner.user, "complete", now=time.time() + 1))
        assert later.get("/completions").json() == {"completions": []}
        assert [later.get(f"/completions/{run_id}").status_code for run_id in ("done", "under-way")] == [404, 404]


class TestAnUpstreamThatFails:
    @pytest.mark.parametrize(
        ("play", "code", "text"),
        [
            (refusing(429, {"error": {"message": "slow down"}}), "upstream_rate_limited", ""),
            (refusing(500, b"oops"), "upstream_failed", ""),
            (refusing(400, {"error": {"message": "too long"}}), "upstream_refused", ""),
            (sending(f"data: {content('Hel')}\n\n".encode(), end=False), "upstream_truncated", "Hel"),
            (sending(f"data: {content('Hel')}\n\n".encode()), "upstream_truncated", "Hel"),
            (sending(f"data: {content('Hel')}\n\ndata: nonsense\n\n".encode()), "upstream_malformed", "Hel"),
            (sending(b'data: {"error":{"message":"gone"}}\n\n'), "upstream_failed", ""),
        ],
        ids=["429", "500", "400", "cut", "short", "malformed", "error"],
    )
    def test_ends_the_run_with_what_happened(
        self, runner: Runner, upstream: Upstream, play: Any, code: str, text: str
    ) -> None:
        upstream.play = play
        run_id = runner.start()
        with runner.watch(run_id) as stream:
            assert to_the_end(stream) == text
            failed = json.loads(stream.wait_for("failed").data)
            assert (failed["code"], types(stream)) == (code, ["ready", "failed"])
        state = runner.state(run_id)
        assert (state["status"], state["error"]["code"], state["text"]) == ("failed", code, text)

    def test_by_silence_ends_the_run_in_time(self, hasty: Callable[[str], Runner], upstream: Upstream) -> None:
        runner = hasty("BELFRY_UPSTREAM_FIRST_TOKEN_SECONDS")
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        with runner.watch(run_id) as stream:
            assert to_the_end(stream) == ""
            failed = json.loads(stream.wait_for("failed").data)
            assert (failed["code"], types(stream)) == ("upstream_timeout", ["ready", "failed"])
        state = runner.state(run_id)
        assert (state["status"], state["error"]["code"], state["text"]) == ("failed", "upstream_timeout", "")
        assert conversation.has_left()

    def test_by_a_stall_ends_the_run_in_time(self, hasty: Callable[[str], Runner], upstream: Upstream) -> None:
        runner = hasty("BELFRY_UPSTREAM_IDLE_SECONDS")
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        conversation.say("Hel")
        with runner.watch(run_id) as stream:
            assert to_the_end(stream) == "Hel"
            assert json.loads(stream.wait_for("failed").data)["code"] == "upstream_timeout"
        assert conversation.has_left()


class TestAReaderThatTakesEachEventForAChunk:
    """It reads no event's name, parses each data as JSON except for [DONE], and looks at the choices."""

    @pytest.mark.parametrize("ends", ["done", "failed", "stopped"])
    def test_finds_choices_in_all_of_them(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str, ends: str
    ) -> None:
        runner = Runner(start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_HEARTBEAT_SECONDS="0.2"), alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        with runner.watch(run_id) as stream:
            stream.wait_for("heartbeat")
            conversation.begin()
            conversation.say("Hel")
            if ends == "done":
                conversation.finish()
            elif ends == "failed":
                conversation.cut()
            else:
                runner.stop(run_id)
            assert to_the_end(stream) == "Hel" if ends != "stopped" else to_the_end(stream) in ("", "Hel")
            *datas, done = [event.data for event in stream.events]
            assert done == "[DONE]"
            assert all(isinstance(json.loads(data)["choices"], list) for data in datas)
            assert {"ready", "heartbeat"} <= {event.event for event in stream.events}


class TestRefusals:
    def test_name_what_is_wrong(self, runner: Runner) -> None:
        for body, status, code in (
            (b"{", 400, "malformed_json"),
            (b"{}", 400, "invalid_completion"),
            (b'{"model":"m","messages":[{}],"id":"a b"}', 422, "bad_run_id"),
            (b'{"model":"m","messages":[{}],"id":7}', 422, "bad_run_id"),
        ):
            answer = runner.api.post("/completions", data=body)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.headers["Content-Type"] == "application/problem+json"

    def test_an_unknown_run_is_not_found(self, runner: Runner) -> None:
        for path in ("/completions/none", "/completions/none/stream"):
            assert runner.api.get(path).status_code == 404
        assert runner.stop("none").status_code == 404

    def test_a_cursor_of_something_else_is_refused(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("x")
        run_id = runner.start()
        for cursor in ("nonsense", "abcdef.3"):
            answer = runner.api.get(f"/completions/{run_id}/stream", headers={"Last-Event-ID": cursor})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")

    def test_another_scope_is_not_enough(self, belfry: Belfry, alice: str) -> None:
        api = belfry.api(belfry.token(alice, "feed", "publish"))
        assert api.post("/completions", json={"model": "m", "messages": HI}).status_code == 403
        assert api.get("/completions").status_code == 403

    def test_an_expired_run_is_gone_and_never_generated_again(
        self, runner: Runner, upstream: Upstream, redis_server: RedisServer
    ) -> None:
        upstream.play = saying("x")
        runner.post("old")
        runner.wait_ended("old")
        asked = len(upstream.conversations)
        with redis_server.client() as client:
            client.delete(*client.keys(f"*{{user:{runner.user}}}:run:old:*"))
        for answer in (
            runner.api.get("/completions/old/stream"),
            runner.api.get("/completions/old"),
            runner.post("old"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (410, "run_gone")
        assert len(upstream.conversations) == asked


def test_the_list_shows_own_runs_newest_first(runner: Runner, upstream: Upstream) -> None:
    upstream.play = saying("x")
    for number in range(3):
        runner.post(f"r{number}")
    for number in range(3):
        runner.wait_ended(f"r{number}")
    shown = runner.api.get("/completions?limit=2").json()["completions"]
    assert [run["id"] for run in shown] == ["r2", "r1"]
    assert (shown[0]["title"], shown[0]["model"], shown[0]["status"]) == ("What is a belfry?", "m", "done")
    assert runner.api.get("/completions?limit=0").status_code == 400


class TestTheBell:
    def test_rings_when_nobody_watched(self, runner: Runner, upstream: Upstream) -> None:
        upstream.play = saying("x")
        run_id = runner.start()
        (message,) = wait_until(lambda: runner.api.get("/feed").json()["messages"])
        assert (message["title"], message["url"]) == ("Your answer is ready", f"/chat/{run_id}")

    def test_is_silent_when_somebody_did(self, runner: Runner, upstream: Upstream) -> None:
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        with runner.watch(run_id) as stream:
            stream.wait_for("ready")
            conversation.begin()
            conversation.finish()
            to_the_end(stream)
        unwatched = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        conversation.finish()
        wait_until(lambda: runner.api.get("/feed").json()["messages"])
        assert [message["data"]["run"] for message in runner.api.get("/feed").json()["messages"]] == [unwatched]


class TestLimits:
    def test_of_runs_under_way(self, start_belfry: StartBelfry, upstream: Upstream, alice: str) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_MAX_RUNS_PER_USER="2")
        runner = Runner(belfry, alice)
        first = runner.start()
        runner.start()
        answer = runner.post()
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_runs")
        assert int(answer.headers["Retry-After"]) >= 1
        relayed = runner.api.post("/v1/chat/completions", json={"model": "m", "messages": HI})
        assert (relayed.status_code, relayed.json()["error"]["code"]) == (429, "too_many_runs")
        runner.stop(first)
        assert runner.post().status_code == 201

    def test_of_starts_a_minute(self, start_belfry: StartBelfry, upstream: Upstream, alice: str) -> None:
        upstream.play = saying("x")
        runner = Runner(start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_RUNS_PER_MINUTE="3"), alice)
        assert [runner.post().status_code for _ in range(4)] == [201, 201, 201, 429]
        answer = runner.post()
        assert answer.json()["code"] == "rate_limited"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60

    def test_of_tokens_a_day_count_each_once_however_many_watch(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_TOKENS_PER_DAY=str(2 * 33))
        runner = Runner(belfry, alice)
        run_id = runner.start()
        watching = [runner.watch(run_id) for _ in range(5)]
        saying(*WORDS, usage=USAGE)(upstream.next_request(runner.user))
        for stream in watching:
            to_the_end(stream)
        upstream.play = saying(*WORDS, usage=USAGE)
        runner.api.post("/v1/chat/completions", json={"model": "m", "messages": HI, "stream": True})
        assert wait_until(lambda: runner.post().json().get("code")) == "tokens_used_up"

    def test_of_tokens_a_day_count_what_came_before_a_stop_or_a_cut_once(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        prompt_tokens = len(HI[0]["content"]) // BYTES_PER_TOKEN
        limit = 2 * (len(WORDS) + prompt_tokens)
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_TOKENS_PER_DAY=str(limit))
        runner = Runner(belfry, alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        watching = [runner.watch(run_id) for _ in range(5)]
        conversation.say(*WORDS)
        for stream in watching:
            stream.wait_for(lambda event: WORDS[-1] in event.data)
        for _ in range(2):
            runner.stop(run_id)
        for stream in watching:
            to_the_end(stream)
        upstream.play = sending(*[f"data: {content(word)}\n\n".encode() for word in WORDS[1:]], end=False)
        runner.wait_ended(runner.start())
        upstream.play = saying("x", usage={"total_tokens": 1})
        runner.wait_ended(runner.start())  # 1 was left
        assert runner.post().json()["code"] == "tokens_used_up"

    def test_of_tokens_a_day_count_what_a_client_got_that_left(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(
            BELFRY_UPSTREAM_URL=upstream.url, BELFRY_TOKENS_PER_DAY="3", BELFRY_HEARTBEAT_SECONDS="0.2"
        )
        runner = Runner(belfry, alice)
        asked = {"model": "m", "messages": HI, "stream": True, "user": alice}
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(runner.api.post, "/v1/chat/completions", json=asked, stream=True)
            conversation = upstream.next_request(alice)
            conversation.begin()
            conversation.say(*WORDS[:3])
            answer = sent.result()
        blocks = (line for line in answer.iter_lines() if line.startswith(b"data: "))  # heartbeats lie between
        got = [next(blocks).decode().removeprefix("data: ") for _ in range(3)]
        assert text_of(got) == "".join(WORDS[:3])
        answer.close()
        assert conversation.has_left()
        upstream.play = saying()
        assert wait_until(lambda: runner.post().json().get("code")) == "tokens_used_up"


def come_back(runner: Runner, run_id: str, stream: StreamClient, seconds: float = 60.0) -> list[Event]:
    """All events of a client that connects again after each cut, until the end."""
    deadline = time.monotonic() + seconds
    events: list[Event] = []
    while True:
        with contextlib.suppress(TimeoutError):
            stream.read_to_end(deadline - time.monotonic())
        stream.close()
        events += stream.events
        if events[-1].data == "[DONE]":
            return events
        assert time.monotonic() < deadline, f"{run_id} came to no end: {events[-3:]}"
        cursor = stream.cursor
        stream = wait_until(lambda: connected(runner, run_id, cursor))  # noqa: B023 - called at once


def connected(runner: Runner, run_id: str, cursor: str) -> StreamClient | None:
    with contextlib.suppress(OSError, AssertionError):  # a worker that starts refuses, one that was killed resets
        return runner.watch(run_id, cursor)
    return None


class TestFaults:
    def test_a_killed_worker_leaves_the_text_so_far_and_every_viewer_hears_of_it_in_time(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(
            BELFRY_UPSTREAM_URL=upstream.url, WEB_CONCURRENCY="2", BELFRY_MAX_CONNECTIONS_PER_USER="100"
        )
        runner = Runner(belfry, alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        producing = owner_of(conversation.client_port, belfry.workers())
        watching = [runner.watch(run_id) for _ in range(20)]
        conversation.say("Hel")
        for stream in watching:
            stream.wait_for("message")
        os.kill(producing, signal.SIGKILL)
        killed_at = time.monotonic()
        with ThreadPoolExecutor(len(watching)) as pool:
            seen = list(pool.map(lambda stream: come_back(runner, run_id, stream), watching))
        assert time.monotonic() - killed_at < patient(LOST_SECONDS)
        for events in seen:
            assert text_of([event.data for event in events if event.event == "message"]) == "Hel"
            assert (
                json.loads(next(event.data for event in events if event.event == "failed"))["code"] == "producer_lost"
            )
        state = Runner(belfry, alice).state(run_id)
        assert (state["status"], state["text"]) == ("failed", "Hel")

    def test_the_bell_rings_for_a_killed_workers_run_though_the_reply_to_its_end_is_lost(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str
    ) -> None:
        with contextlib.closing(LinkProxy(own_redis.socket_path)) as proxy:
            belfry = start_belfry(proxy.url, BELFRY_UPSTREAM_URL=upstream.url)
            run_id = Runner(belfry, alice).start()
            upstream.next_request(alice).begin()
            proxy.lose_replies(1, b"$6\r\nfailed\r\n")
            (producing,) = belfry.workers()
            os.kill(producing, signal.SIGKILL)
            wait_until(lambda: proxy.replies_to_lose == 0, START_SECONDS, what="another worker to end the run")
            runner = Runner(belfry, alice)
            (message,) = wait_until(lambda: runner.api.get("/feed").json()["messages"])
        assert (message["data"]["run"], message["level"]) == (run_id, "error")

    def test_a_run_is_stopped_from_the_other_worker_at_once(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, WEB_CONCURRENCY="2")
        for _ in range(8):  # each request may land on either worker
            run_id = Runner(belfry, alice).start()
            conversation = upstream.next_request(alice)
            conversation.begin()
            assert Runner(belfry, alice).stop(run_id).json()["status"] == "stopped"
            assert conversation.has_left()

    def test_one_id_raced_by_twenty_on_two_workers_starts_one_run(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, WEB_CONCURRENCY="2")
        upstream.play = saying("once")
        asked = len(upstream.conversations)
        for race in range(2):
            with ThreadPoolExecutor(20) as pool:
                posts = list(pool.map(lambda _: Runner(belfry, alice).post(f"race{race}"), range(20)))  # noqa: B023 - called at once
            assert sorted(answer.status_code for answer in posts) == [200] * 19 + [201]
            Runner(belfry, alice).wait_ended(f"race{race}")
        assert len(upstream.conversations) == asked + 2

    @pytest.mark.parametrize("killed", [False, True], ids=["frozen", "killed"])
    def test_redis_away_for_three_seconds_costs_nothing(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str, killed: bool
    ) -> None:
        runner = Runner(start_belfry(own_redis.url, BELFRY_UPSTREAM_URL=upstream.url), alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        with runner.watch(run_id) as stream:
            conversation.say(*WORDS[:10])
            stream.wait_for(lambda event: "word9" in event.data)
            own_redis.kill() if killed else own_redis.signal(signal.SIGSTOP)
            for word in WORDS[10:20]:
                assert not conversation.has_left(0.3)
                conversation.say(word)
            own_redis.start() if killed else own_redis.signal(signal.SIGCONT)
            conversation.say(*WORDS[20:])
            conversation.finish()
            assert to_the_end(stream) == TEXT
            assert types(stream) == ["ready"]
        assert Runner(runner.belfry, alice).state(run_id)["status"] == "done"

    def test_a_start_whose_reply_is_lost_is_produced_all_the_same(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str
    ) -> None:
        upstream.play = saying(*WORDS)
        with contextlib.closing(LinkProxy(own_redis.socket_path)) as proxy:
            runner = Runner(start_belfry(proxy.url, BELFRY_UPSTREAM_URL=upstream.url), alice)
            proxy.lose_replies(1, b"started")
            run_id = runner.start()
            assert proxy.replies_to_lose == 0
            state = runner.wait_ended(run_id)
        assert (state["status"], state["text"]) == ("done", TEXT)

    def test_a_run_whose_lease_was_taken_away_goes_on_and_is_looked_after(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(own_redis.url, BELFRY_UPSTREAM_URL=upstream.url)
        runner = Runner(belfry, alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        with runner.watch(run_id) as stream, own_redis.client() as client:
            (leases,) = client.keys("*:leases")
            assert client.zrem(leases, f"{alice}/{run_id}")
            wait_until(lambda: client.zcard(leases))
            conversation.say(*WORDS)
            conversation.finish()
            assert to_the_end(stream) == TEXT
        assert runner.wait_ended(run_id)["status"] == "done"

    def test_a_redis_that_lost_everything_keeps_nobody_waiting(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str
    ) -> None:
        runner = Runner(start_belfry(own_redis.url, BELFRY_UPSTREAM_URL=upstream.url), alice)
        run_id = runner.start()
        conversation = upstream.next_request(runner.user)
        conversation.begin()
        with runner.watch(run_id) as stream, own_redis.client() as client:
            conversation.say("Hel")
            stream.wait_for("message")
            client.flushall()
            stream.read_to_end()
            assert types(stream) == ["ready", "reset"]
        assert conversation.has_left()
        assert runner.api.get(f"/completions/{run_id}/stream").status_code == 404

    def test_who_comes_back_from_what_a_failover_lost_is_told_so_and_how_it_ended(
        self, start_belfry: StartBelfry, own_redis: RedisServer, upstream: Upstream, alice: str
    ) -> None:
        runner = Runner(start_belfry(own_redis.url, BELFRY_UPSTREAM_URL=upstream.url), alice)
        upstream.play = saying("kept ", "lost ")
        run_id = runner.start()
        runner.wait_ended(run_id)
        with runner.watch(run_id) as stream, own_redis.client() as client:
            to_the_end(stream)
            first, second = [event.id for event in stream.events if event.event == "message"][:2]
            # As the failover would leave it: the second chunk's place is none that the log ever had.
            (meta,) = client.keys(f"*:run:{run_id}:meta")
            client.hset(meta, mapping={"epoch": "zzzzzz", "history": first.partition(".")[0], "former": first})
        with runner.watch(run_id, second) as stream:
            stream.read_to_end()
            assert types(stream) == ["ready", "reset"]
            assert datas(stream) == ["[DONE]"]
            last = stream.events[-1].id
        assert runner.api.get(f"/completions/{run_id}/stream", headers={"Last-Event-ID": last}).status_code == 204

    def test_a_worker_that_stops_lets_its_run_come_to_its_end(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_DRAIN_SECONDS="60")
        run_id = Runner(belfry, alice).start()
        conversation = upstream.next_request(alice)
        conversation.begin()
        conversation.say("Hel")
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.signal(signal.SIGHUP)  # another worker takes over
            stream.wait_for("goodbye")
        conversation.say("lo")
        conversation.finish()
        state = Runner(belfry, alice).wait_ended(run_id)
        assert (state["status"], state["text"]) == ("done", "Hello")

    def test_a_worker_that_stops_ends_a_run_that_takes_longer_than_the_drain(
        self, start_belfry: StartBelfry, upstream: Upstream, alice: str
    ) -> None:
        belfry = start_belfry(BELFRY_UPSTREAM_URL=upstream.url, BELFRY_DRAIN_SECONDS="0.5")
        run_id = Runner(belfry, alice).start()
        conversation = upstream.next_request(alice)
        conversation.begin()
        conversation.say("Hel")
        wait_until(lambda: Runner(belfry, alice).state(run_id)["text"] == "Hel")
        belfry.signal(signal.SIGHUP)
        state = Runner(belfry, alice).wait_ended(run_id)
        assert (state["status"], state["text"]) == ("failed", "Hel")


def test_a_worker_that_stops_begins_no_completion(start_belfry: StartBelfry, upstream: Upstream, alice: str) -> None:
    runner = Runner(start_belfry(**LINGERING, BELFRY_UPSTREAM_URL=upstream.url), alice)
    with runner.belfry.stream(alice) as stream, runner.api:
        runner.api.get("/completions")  # the worker waits for what this connection may still ask
        stream.wait_for("ready")
        runner.belfry.signal(signal.SIGTERM)
        stream.wait_for("goodbye")
        answer = runner.post()
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "shutting_down", "5")
