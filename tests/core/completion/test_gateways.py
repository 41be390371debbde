"""What gateways and less common upstreams send: the text, calls, tokens and error that come of it, in both forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.completion import Answer, Body, Gathered, Transcript
from app.core.completion.forms import is_whole
from app.core.errors import BelfryError
from tests.habits import COUNT, EVENTS, HEL, JSON, LO, STOP, call, calling, chunk, sse, whole

ANSWER = json.loads(whole())
CALL = call("find", '{"q":"x"}', index=0, id="a")
CALLED = [("find", '{"q":"x"}')]


def read(body: bytes, kind: str) -> tuple[Transcript, Gathered, Answer]:
    """Read a body as a stream's chunks and as one answer."""
    reader, answer, told, gathered = Body(kind, 1_000_000), Answer(wants_usage=True), Transcript(), Gathered()
    pieces = [*reader.feed(body), *reader.end()]
    for piece in pieces:
        if is_whole(piece) and not answer.started:
            gathered.whole(piece)
        for shown in answer.take(piece):
            told.add(shown.text)
            gathered.add(shown)
    for shown in answer.finish(reader.noise, was_cut=False):
        told.add(shown.text)
    return told, gathered, answer


def failure(body: bytes, kind: str = EVENTS) -> BelfryError:
    with pytest.raises(BelfryError) as caught:
        read(body, kind)
    return caught.value


def failing(*datas: str, raw: bytes = b"") -> bytes:
    return sse(HEL) + raw + sse(*datas, "[DONE]")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (failing('{"throttlingException":{"message":"Too many tokens"}}'), "Too many tokens"),
        (failing('{"modelStreamErrorException":{"message":"Boom","originalStatusCode":424}}'), "Boom"),
        (failing('{"type":"response.failed","response":{"error":{"code":"server_error","message":"Boom"}}}'), "Boom"),
        (failing('{"success":false,"message":"Overloaded"}'), "Overloaded"),
        (failing('{"success":false,"trace":"t-17"}'), "t-17"),
        (failing('{"status":"error","message":"Overloaded"}'), "Overloaded"),
        (failing('{"status":"failed","reason":"No GPU"}'), "No GPU"),
        (failing(raw=b'error: {"code":500,"message":"No slot"}\n\n'), "No slot"),
        (failing(raw=b"error: No slot\n\n"), "No slot"),
        (failing(raw=b"event: exception\ndata: Boom\n\n"), "Boom"),
        (failing(raw=b'event: response.failed\ndata: {"response":{"error":{"message":"Boom"}}}\n\n'), "Boom"),
        (failing('[{"error":{"message":"Overloaded"}}]'), "Overloaded"),
    ],
)
def test_an_error_in_mid_stream_is_an_error_in_whatever_shape(body: bytes, reason: str) -> None:
    assert reason in failure(body).detail


@pytest.mark.parametrize(
    "noise",
    [
        '{"success":true}',
        '{"status":"processing"}',
        '{"type":"queue","position":3}',
        '{"object":"warning","message":"old"}',
    ],
)
def test_a_note_of_another_kind_is_no_error(noise: str) -> None:
    told, _, _ = read(sse(noise, HEL, LO, STOP, COUNT, "[DONE]"), EVENTS)
    assert told.text == "Hello wörld"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps({"code": 0, "msg": "ok", "data": ANSWER}).encode(), JSON),
        (json.dumps({"result": ANSWER, "success": True, "errors": [], "messages": []}).encode(), JSON),
        (json.dumps({"output": {"choices": ANSWER["choices"]}, "usage": ANSWER["usage"]}).encode(), JSON),
        (sse(*[json.dumps({"result": json.loads(data)}) for data in (HEL, LO, STOP, COUNT)], "[DONE]"), EVENTS),
        (sse(f"[{HEL},{LO}]", f"[{STOP},{COUNT}]", "[DONE]"), EVENTS),
    ],
)
def test_an_answer_within_something_else_is_found(body: bytes, kind: str) -> None:
    told, gathered, answer = read(body, kind)
    value = json.loads(gathered.text(answer.usage))
    assert (told.text, value["choices"][0]["message"]["content"]) == ("Hello wörld",) * 2
    assert (answer.tokens, value["usage"]["total_tokens"]) == (5, 5)


@pytest.mark.parametrize(
    "members",
    [
        {"usage": [{"prompt_tokens": 3, "completion_tokens": 2}]},
        {"usage": '{"prompt_tokens": 3, "completion_tokens": 2}'},
        {"Usage": {"PromptTokens": 3, "CompletionTokens": 2}},
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}},
        {"response": {"usage": {"input_tokens": 3, "output_tokens": 2}}},
        {"message": {"usage": {"input_tokens": 3, "output_tokens": 2}}},
    ],
)
def test_a_usage_is_found_in_every_shape(members: dict[str, Any]) -> None:
    _, _, answer = read(sse(HEL, LO, STOP, json.dumps({"choices": [], **members}), "[DONE]"), EVENTS)
    assert answer.tokens == 5
    assert (answer.usage["prompt_tokens"], answer.usage["completion_tokens"]) == (3, 2)


def test_zeros_at_the_end_do_not_hide_the_usage_before_them() -> None:
    counts, zeros = {"prompt_tokens": 3, "completion_tokens": 2}, {"prompt_tokens": 0, "total_tokens": 0}
    reader, answer = Body(EVENTS, 1_000_000), Answer(wants_usage=True)
    body = sse(chunk({"content": "a"}, usage=counts), chunk({}, "stop", usage=zeros), "[DONE]")
    shown = [each for piece in reader.feed(body) for each in answer.take(piece)]
    shown += answer.finish(reader.noise, was_cut=False)
    assert shown[-1].value["usage"]["total_tokens"] == 5


def test_a_count_below_zero_is_told_as_none() -> None:
    _, _, answer = read(
        sse(chunk({"content": "a"}, "stop", usage={"prompt_tokens": 3, "completion_tokens": -1})), EVENTS
    )
    assert (answer.usage["completion_tokens"], answer.usage["total_tokens"]) == (0, 3)


@pytest.mark.parametrize(
    "body",
    [
        calling(CALL, call("find", '{"q":"x"}', index=0, id="a")),
        calling(call("find", '{"q":', index=0, id="a"), call(None, '"x"}', index=0), call(None, '{"q":"x"}', index=0)),
        calling(CALL, call(None, "{}", index=0)),
        calling(call("find", {"q": "x"}, index=0, id="a"), call(None, {}, index=0)),
    ],
)
def test_arguments_that_come_once_more_are_not_doubled(body: bytes) -> None:
    told, gathered, answer = read(body, EVENTS)
    (found,) = json.loads(gathered.text(answer.usage))["choices"][0]["message"]["tool_calls"]
    for each in (told.tool_calls[0], found):
        assert [(each["function"]["name"], each["function"]["arguments"])] == CALLED


def test_arguments_that_only_begin_alike_are_kept() -> None:
    parts = call("find", '{"a":', index=0, id="a"), call(None, '{"a":1}', index=0), call(None, "}", index=0)
    told, _, _ = read(calling(*parts), EVENTS)
    assert told.tool_calls[0]["function"]["arguments"] == '{"a":{"a":1}}'


def test_a_call_without_arguments_has_an_empty_text_of_them() -> None:
    body = whole(None, reason="tool_calls", tool_calls=[{"id": "a", "type": "function", "function": {"name": "find"}}])
    _, gathered, answer = read(body, JSON)
    (found,) = json.loads(gathered.text(answer.usage))["choices"][0]["message"]["tool_calls"]
    assert found["function"] == {"name": "find", "arguments": ""}


def test_content_in_parts_with_values_is_text() -> None:
    told, _, _ = read(sse(chunk({"content": [{"type": "text", "text": {"value": "Hi"}}]}), STOP), EVENTS)
    assert told.text == "Hi"
