"""Whatever stands in a stream's JSON, no page takes it for markup and no reader takes a part of it for a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from app.core.wire.sse import Decoder
from tests.servers import Belfry
from tests.system.test_completions import HI, Runner
from tests.upstream import Upstream, content, running_upstream, saying, sending, text_of

TEXT = "<img src=x onerror=alert(1)> R&D \x85 \u2028 \u2029 \x1c \u00e9\U0001f600"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = saying(TEXT)
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url}


@pytest.fixture
def runner(belfry: Belfry, alice: str) -> Runner:
    return Runner(belfry, alice)


def datas_of(stream: bytes) -> list[str]:
    return [event.data for event in Decoder().feed(stream)]


def assert_safe(stream: bytes) -> None:
    """Nothing that HTML gives a meaning to, and the same lines for every reader."""
    text = stream.decode()
    assert not set("<>&") & set(text)
    assert text.splitlines() == text.split("\n")[:-1]


@pytest.mark.parametrize("resumed", [False, True], ids=["live", "history"])
@pytest.mark.parametrize("field", ["title", "body", "data", "tags", "actions"])
def test_a_message(belfry: Belfry, alice: str, field: str, resumed: bool) -> None:
    value: Any = {"data": {TEXT: [TEXT]}, "tags": [TEXT], "actions": [{"label": TEXT}]}.get(field, TEXT)
    with belfry.stream(alice) as stream:
        start = stream.wait_for("ready").id
        belfry.publish({"to": alice, field: value})
        (message,) = stream.wait_for_messages(1)
    if resumed:
        with belfry.stream(alice, cursor=start) as stream:
            (message,) = stream.wait_for_messages(1)
    assert message[field] == value
    assert_safe(stream.raw)


def test_a_user_and_a_topic(belfry: Belfry, alice: str) -> None:
    user, topic = f"<b>{alice}&", f"<i>{alice}&"
    with belfry.stream(user, token=belfry.token(user, "feed", topics=[topic])) as stream:
        ready = stream.wait_for("ready")
        belfry.publish({"topic": topic, "title": "Hi"})
        (message,) = stream.wait_for_messages(1)
    assert (json.loads(ready.data)["user"], message["topic"]) == (user, topic)
    assert_safe(stream.raw)


def test_a_run(runner: Runner) -> None:
    run_id = runner.start()
    for _ in ("live", "history"):
        with runner.watch(run_id) as stream:
            stream.read_to_end()
            assert text_of([event.data for event in stream.events if event.event == "message"]) == TEXT
        assert_safe(stream.raw)
        runner.wait_ended(run_id)


def test_an_answer_that_passes_through(runner: Runner) -> None:
    answer = runner.api.post("/v1/chat/completions", json={"model": "m", "messages": HI, "stream": True})
    assert text_of(datas_of(answer.content)) == TEXT
    assert_safe(answer.content)


def test_an_error_in_mid_stream(runner: Runner, upstream: Upstream) -> None:
    play = upstream.play
    failure = json.dumps({"error": {"message": TEXT}}, ensure_ascii=False)
    upstream.play = sending(f"data: {content('Hi')}\n\ndata: {failure}\n\n".encode())
    try:
        answer = runner.api.post("/v1/chat/completions", json={"model": "m", "messages": HI, "stream": True})
    finally:
        upstream.play = play
    assert json.loads(datas_of(answer.content)[1])["error"]["message"] == TEXT
    assert_safe(answer.content)
