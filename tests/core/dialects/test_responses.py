"""The events of a response follow from its chunks, and OpenAI's own types and accumulator take them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from app.core.dialects.responses import Event, Response, ResponseStream, encoded
from app.core.wire import frames
from app.core.wire.sse import Decoder

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: dict[str, Any], reason: str | None = None, **others: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **others}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return chunk({"tool_calls": [{"index": index, "function": function, **more}]})


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm"}),
    chunk({"reasoning_content": "m."}),
    chunk({"content": "Hello "}),
    chunk({"content": "wörld \u2028 </script>"}),
    call(0, "", id="call_a", name="f", type="function"),
    call(1, "{", id="call_b", name="g", type="function"),
    call(0, '{"q":1}'),
    call(1, "}"),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": USAGE},
]


def new() -> Response:
    return Response("resp_1", 7, "m", {"temperature": 0.5}, background=True)


def events_of(chunks: list[dict[str, Any]], **end: Any) -> list[Event]:
    response = new()
    return [*response.begin(), *[event for each in chunks for event in response.take(each)], *response.end(**end)]


def blocks_of(chunks: list[dict[str, Any]], *endings: bytes) -> list[bytes]:
    first = frames.run_ready((), 1_000, "resp_1", "running")
    records = [b"message " + json.dumps(each).encode() for each in chunks]
    return [first, *[frames.live_only(record) for record in [*records, *endings]], frames.HEARTBEAT]


def test_each_event_is_one_of_openai_s_and_their_numbers_have_no_gap() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    events = events_of(CHUNKS)
    for event in events:
        constructed = construct_type(value=event, type_=ResponseStreamEvent)
        assert type(constructed).__name__ != "dict"
        if not event["type"].startswith(("response.created", "response.in_progress", "response.completed")):
            adapter.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_openai_s_accumulator_ends_with_the_whole_response() -> None:
    state: Any = ResponseStreamState(text_format=omit, input_tools=omit)
    for event in events_of(CHUNKS):
        state.handle_event(construct_type(value=event, type_=ResponseStreamEvent))
    final = state._completed_response
    assert final.output_text == "Hello wörld \u2028 </script>"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert [(item.call_id, item.name, item.arguments) for item in final.output[2:]] == [
        ("call_a", "f", '{"q":1}'),
        ("call_b", "g", "{}"),
    ]
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.total_tokens) == (3, 2, 5)
    assert final.temperature == 0.5


def test_the_order_is_added_then_deltas_then_done() -> None:
    kinds = [event["type"].removeprefix("response.") for event in events_of([chunk({"content": "a"}, "stop")])]
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_the_last_event_says_how_it_ended(reason: str, kind: str, details: Any) -> None:
    last = events_of([chunk({"content": "a"}, reason)])[-1]
    assert last["type"] == f"response.{kind}"
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == (kind, details)


def test_a_refusal_is_a_part_of_its_own() -> None:
    last = events_of([chunk({"refusal": "I "}), chunk({"refusal": "won't"}, "stop")])[-1]
    assert last["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I won't"}]


@pytest.mark.parametrize(
    ("ending", "kind", "status"),
    [
        (b"stopped {}", "incomplete", "cancelled"),
        (b'failed {"code":"producer_lost","detail":"It is gone."}', "failed", "failed"),
        (b"reset {}", "failed", "failed"),
    ],
)
def test_a_stream_that_was_stopped_or_failed_ends_once(ending: bytes, kind: str, status: str) -> None:
    stream = ResponseStream(new())
    said = b"".join([stream.translate(block) for block in blocks_of(CHUNKS[:5], ending, frames.END)])
    events = [json.loads(event.data) for event in Decoder().feed(said)]
    assert (events[-1]["type"], events[-1]["response"]["status"]) == (f"response.{kind}", status)
    assert [event["type"] for event in events].count(events[-1]["type"]) == 1
    if kind == "failed":
        assert events[-1]["response"]["error"]["message"]


@pytest.mark.parametrize("together", [False, True])
def test_a_client_goes_on_after_any_event(together: bool) -> None:
    blocks = blocks_of(CHUNKS, frames.END)
    whole = encoded(events_of(CHUNKS))
    events = Decoder().feed(whole)
    numbers = [json.loads(event.data)["sequence_number"] for event in events]
    for after in range(-1, numbers[-1] + 1):
        stream = ResponseStream(new(), after)
        said = b"".join([stream.translate(block) for block in ([b"".join(blocks)] if together else blocks)])
        assert said.count(b": ping\n\n") == 1
        assert list(Decoder().feed(said)) == list(events)[after + 1 :]


def test_what_is_open_shows_in_the_object() -> None:
    response = new()
    response.take(chunk({"content": "Hel"}))
    shown = response.object("in_progress")
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("in_progress", "Hel")
