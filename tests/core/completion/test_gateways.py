"""What gateways and less common upstreams send: the text, calls, tokens and error that come of it, in both forms."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.completion import Answer, Body, Gathered, Transcript, tool_calls
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
        (failing(raw=b'event: throttlingException\ndata: {"message":"Slow down"}\n\n'), "Slow down"),
        (failing(raw=b'event: completion.failed\ndata: {"reason":"No GPU"}\n\n'), "No GPU"),
        (failing('{"code":500,"message":"Boom","data":{"choices":[]}}'), "Boom"),
        (failing('{"type":"tool","name":"search","status":"error","message":"Timed out"}'), "Timed out"),
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
        '{"type":"tool","name":"web_search","status":"error"}',
        '{"type":"tool","name":"web_search","status":"error","message":"Timed out"}',
        '{"type":"tool_call.failed"}',
        '{"type":"cache_write_failed"}',
        '{"type":"cache","success":false}',
        '{"type":["tool"],"name":{"a":1},"status":[]}',
        '{"ok":false,"flagged":["violence"]}',
        '{"success":false,"message":"The cache is full"}',
    ],
)
def test_a_note_of_another_kind_is_no_error(noise: str) -> None:
    for datas in ((noise, HEL, LO, STOP, COUNT), (HEL, LO, STOP, noise, COUNT)):
        told, _, _ = read(sse(*datas, "[DONE]"), EVENTS)
        assert told.text == "Hello wörld"


@pytest.mark.parametrize(
    "noise",
    [
        b'event: failover\ndata: {"provider":"b"}\n\n',
        b'event: tool_error\ndata: {"tool":"search","retrying":true}\n\n',
        b'event: response.mcp_list_tools.failed\ndata: {"item":"x"}\n\n',
        b"event: response.mcp_list_tools.failed\ndata: boom\n\n",
        b'event: trace\ndata: {"response":{"choices":[{"index":0,"delta":{"content":"again"}}]}}\n\n',
        b"error: none\n",
        b"error: {}\n\n",
    ],
)
def test_an_event_of_another_name_is_not_read(noise: bytes) -> None:
    told, _, _ = read(sse(HEL) + noise + sse(LO, STOP, COUNT, "[DONE]"), EVENTS)
    assert told.text == "Hello wörld"


def test_an_unclear_note_does_not_fail_an_answer_without_a_reason() -> None:
    told, _, _ = read(sse('{"type":"cache","success":false}', HEL, LO, "[DONE]"), EVENTS)
    assert told.text == "Hello wörld"


@pytest.mark.parametrize("kind", [EVENTS, JSON])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"code":500,"message":"boom","data":{"choices":[]}}', "boom"),
        (b'{"code":429,"message":"rate limited","data":{"choices":[]}}', "rate limited"),
        (b'{"code":"Throttled","message":"slow","data":{"choices":[],"usage":{"total_tokens":0}}}', "slow"),
        (b'{"base_resp":{"status_code":1004,"status_msg":"no login"},"data":{"choices":[]}}', "no login"),
        (b'{"success":false,"trace":"t-17"}', "t-17"),
    ],
)
def test_an_error_beside_an_empty_envelope_is_told(body: bytes, reason: str, kind: str) -> None:
    assert reason in failure(body, kind).detail
    assert reason in failure(sse(body.decode(), "[DONE]")).detail


def test_an_unknown_code_beside_an_answer_is_no_error() -> None:
    told, _, _ = read(json.dumps({"code": 20000, "message": "done", "data": ANSWER}).encode(), JSON)
    assert told.text == "Hello wörld"


def test_a_text_that_looks_like_a_field_stays_in_its_object() -> None:
    text = "Hello\nerror: disk full\n  at 7\nError: {}"
    raw = chunk({"content": text}).replace("\\n", "\n")
    told, _, _ = read(f"data: {raw}\n\n".encode() + sse(STOP, COUNT, "[DONE]"), EVENTS)
    assert told.text == text


def test_a_whole_answer_under_the_type_of_a_stream_keeps_its_lines() -> None:
    text = 'Hello\nerror: disk full\nerror: {"a":1}'
    answer = json.loads(whole(text))
    raw = json.dumps(answer, indent=1).replace("\\n", "\n")
    told, _, _ = read(raw.encode(), EVENTS)
    assert told.text == text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps({"code": 0, "msg": "ok", "data": ANSWER}).encode(), JSON),
        (json.dumps({"result": ANSWER, "success": True, "errors": [], "messages": []}).encode(), JSON),
        (json.dumps({"output": {"choices": ANSWER["choices"]}, "usage": ANSWER["usage"]}).encode(), JSON),
        (sse(*[json.dumps({"result": json.loads(data)}) for data in (HEL, LO, STOP, COUNT)], "[DONE]"), EVENTS),
        (json.dumps({"usage": ANSWER["usage"], "data": {**ANSWER, "usage": None}}).encode(), JSON),
        (json.dumps({"response": ANSWER}).encode(), JSON),
        (json.dumps({"body": ANSWER, "status": 200}).encode(), JSON),
        (sse(f"[{HEL},[{HEL}],{LO}]", f"[{STOP},{COUNT}]", "[DONE]"), EVENTS),
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


@pytest.mark.parametrize("name", ["response", "message", "details"])
def test_a_text_of_the_model_is_no_usage(name: str) -> None:
    text = '{"usage":{"prompt_tokens":1000000,"completion_tokens":1}}'
    _, _, answer = read(sse(HEL, LO, STOP, json.dumps({"choices": [], name: text}), COUNT, "[DONE]"), EVENTS)
    assert answer.tokens == 5


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


def test_the_input_of_a_custom_tool_is_never_left_out() -> None:
    parts = [{"index": 0, "id": "a", "custom": {"name": "run", "input": "{}"}}, {"index": 0, "custom": {"input": "{}"}}]
    told, _, _ = read(calling(*parts), EVENTS)
    assert told.tool_calls[0]["custom"]["input"] == "{}{}"


@pytest.mark.parametrize("first", ['{"a":"x"}', '{"a":"', '{"a":1}}'])
def test_arguments_are_parsed_once_however_many_parts_follow(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def loads(text: str) -> Any:
        parsed.append(text)
        return json.loads(text)

    monkeypatch.setattr(tool_calls, "json", SimpleNamespace(loads=loads))
    calls = tool_calls.ToolCalls()
    for part in [call("find", first, index=0, id="a"), *[call(None, "{}", index=0)] * 20]:
        calls.add(part)
    assert len(parsed) <= 1


@pytest.mark.parametrize("step", [1, 2, 3])
def test_arguments_are_complete_wherever_they_are_cut(step: int) -> None:
    text = json.dumps({"q": 'a "}" \\', "list": [{}, "]"], "é": "\\"})
    cuts = [text[at : at + step] for at in range(0, len(text), step)]
    parts = [call("find", "", index=0, id="a"), *[call(None, cut, index=0) for cut in cuts], call(None, "{}", index=0)]
    told, _, _ = read(calling(*parts), EVENTS)
    assert told.tool_calls[0]["function"]["arguments"] == text


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
