"""A request of the Responses API comes to the chat completion that asks the same, or is refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.dialects.responses_request import ECHO_MAX_CHARS, METADATA_MAX_CHARS, read, translated
from app.core.errors import BelfryError

GIVEN = {"model": "m", "input": "hi"}
ODD: tuple[Any, ...] = (["x"], {"a": []}, 7)  # in place of a text, also what Python cannot hash


def chat_of(**given: Any) -> dict[str, Any]:
    return translated({**GIVEN, **given}).chat.fields


def test_a_text_is_what_the_user_says_and_instructions_come_before_it() -> None:
    assert chat_of(instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_items_become_messages_in_their_order() -> None:
    items = [
        {"role": "developer", "content": "a"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "d"},
        {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "e"}]},
    ]
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert chat_of(input=items)["messages"] == [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "d"},
        {"role": "tool", "tool_call_id": "2", "content": "e"},
    ]


def test_pictures_become_parts() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:x", "detail": "low"}]
    (message,) = chat_of(input=[{"role": "user", "content": parts}])["messages"]
    assert message["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
    ]


def test_tools_formats_and_limits_have_the_names_of_chat() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    chat = chat_of(
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "low"},
        max_output_tokens=7,
        top_logprobs=2,
        temperature=0.5,
        seed=3,
        store=None,
        include=["reasoning.encrypted_content"],
        metadata={"a": "b"},
    )
    del chat["messages"]
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert chat == {
        "model": "m",
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "verbosity": "low",
        "reasoning_effort": "low",
        "max_tokens": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "temperature": 0.5,
        "seed": 3,
    }


def test_a_stream_and_a_response_in_the_background_ask_for_usage() -> None:
    assert chat_of(stream=True)["stream_options"] == {"include_usage": True}
    assert chat_of(background=True)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"store": True}, "store"),
        ({"background": True, "store": False}, "store"),
        ({"background": "yes"}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": {}}, None),
        ({"tools": "f"}, "tools"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hi"]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ({"instructions": []}, "instructions"),
        ({"model": None}, "model"),
        *[({"input": [{"role": "user", "content": [{"type": odd}]}]}, "input[0].content[0]") for odd in ODD],
        *[({"input": [{"role": odd, "content": "a"}]}, "input[0].role") for odd in ODD],
        *[({"input": [{"type": odd, "role": "user"}]}, "input[0].type") for odd in ODD],
        *[({name: odd}, name) for name in ("stream", "background", "store") for odd in ODD],
        ({"metadata": {"a": "b" * METADATA_MAX_CHARS}}, "metadata"),
    ],
)
def test_what_cannot_be_said_in_chat_is_refused(given: dict[str, Any], param: str | None) -> None:
    if param is None:
        assert "tools" not in chat_of(**given)
        return
    with pytest.raises(BelfryError) as refused:
        chat_of(**given)
    assert (refused.value.code, refused.value.extra["param"]) == ("invalid_completion", param)


def test_a_response_tells_again_only_so_much_of_its_request() -> None:
    """It is kept with a run, and told three times in each of its streams."""
    metadata = {"a": "b" * (METADATA_MAX_CHARS - 20)}
    tools = [{"type": "function", "name": "f", "description": "d" * ECHO_MAX_CHARS}]
    asked = translated({**GIVEN, "metadata": metadata, "tools": tools, "user": "u", "temperature": 0.5})
    assert asked.echo == {"metadata": metadata, "user": "u", "temperature": 0.5}
    assert asked.chat.fields["tools"][0]["function"]["description"] == tools[0]["description"]


@pytest.mark.parametrize("name", ["metadata", "temperature", "top_p", "max_output_tokens", "user", "anything"])
def test_a_number_that_json_cannot_repeat_is_refused(name: str) -> None:
    """Also one that no upstream gets: the response would tell it again."""
    text = json.dumps({**GIVEN, "background": True}).removesuffix("}")
    with pytest.raises(BelfryError) as refused:
        translated(read(f'{text},"{name}":[1e999]}}'.encode()))
    assert (refused.value.code, "64 bits" in refused.value.detail) == ("malformed_json", True)


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(BelfryError, match="one JSON object"):
        read(json.dumps([1]).encode())
