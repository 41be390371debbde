"""A request of OpenAI's Responses API, and the equivalent request for a chat completion.

Members without an equivalent are refused with a reason. Nothing that a client relies on is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..completion import CompletionRequest, finite_json, parse
from ..completion.json_text import written
from ..completion.tolerant import object_of, text_of
from ..errors import BelfryError
from ..wire import strict_json

_KEPT: Final = (
    "Belfry keeps responses that are created with background: true. Send the whole conversation in input instead."
)
_REFUSED: Final = {"previous_response_id": _KEPT, "conversation": _KEPT, "prompt": "Send the prompt's text in input."}
# Members that have no meaning here, or that are translated in another way.
_DROPPED: Final = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "top_logprobs",
        "store", "background", "include", "truncation", "max_tool_calls", "stream_options", "metadata",
        "previous_response_id", "conversation", "prompt", "context_management", "prompt_cache_options", "moderation",
    }
)  # fmt: skip
# Members that the response repeats.
_ECHOED: Final = (
    "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "temperature", "top_p",
    "parallel_tool_calls", "metadata", "top_logprobs", "user", "max_tool_calls", "service_tier",
)  # fmt: skip
# Limit of the repeated metadata, as JSON. It is kept with a run, and sent in several events of each of its streams.
METADATA_MAX_CHARS: Final = 16_384
# Limit of all repeated members. A larger member is left out, as if the client had sent its default.
ECHO_MAX_CHARS: Final = 32_768
# A tuple, because a JSON member may have any type, also one that can't be hashed.
_PARTS: Final = ("input_text", "output_text", "text")


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """One valid request: the equivalent chat completion, and the members that its response repeats."""

    chat: CompletionRequest
    background: bool
    echo: dict[str, Any]


def is_background(given: Any) -> bool:
    """Return whether the request asks for a response that continues without its client."""
    return isinstance(given, dict) and given.get("background") is True


def read(text: bytes) -> dict[str, Any]:
    """Return the request as the client sent it. Raises `BelfryError` `malformed_json` or `invalid_completion`."""
    given = strict_json.read(text, lone_surrogate="invalid_completion")
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    return given


def translated(given: dict[str, Any], headers: Mapping[str, str] | None = None) -> ResponseRequest:
    """Turn a request into one for a chat completion. Raises `BelfryError` `invalid_completion`."""
    for name in ("stream", "background", "store"):
        if not (given.get(name) is None or isinstance(given[name], bool)):
            raise _invalid(name, "true or false", given[name])
    _require_supported(given)
    chat = {name: value for name, value in given.items() if name not in _DROPPED and value is not None}
    chat |= {"messages": _messages(given), **_tools(given), **_format(given), **_limits(given)}
    if given.get("stream") or given.get("background"):
        chat["stream_options"] = {"include_usage": True}
    asked = parse(finite_json(chat).encode(), headers=headers)
    return ResponseRequest(asked, bool(given.get("background")), _echo(given))


def _echo(given: dict[str, Any]) -> dict[str, Any]:
    """Return the members that the response repeats.

    These are the metadata, and the smallest other members that fit into `ECHO_MAX_CHARS`.
    """
    sizes = {name: len(finite_json(given[name])) for name in _ECHOED if given.get(name) is not None}
    if sizes.get("metadata", 0) > METADATA_MAX_CHARS:
        expected = f"at most {METADATA_MAX_CHARS} characters of JSON"
        raise _invalid("metadata", expected, f"{sizes['metadata']} characters")
    found: dict[str, Any] = {}
    left = ECHO_MAX_CHARS
    for name in sorted(sizes, key=lambda name: (name != "metadata", sizes[name])):
        if sizes[name] > left:
            break
        found[name] = given[name]
        left -= sizes[name]
    return found


def _require_supported(given: dict[str, Any]) -> None:
    for name, told in _REFUSED.items():
        if given.get(name) is not None:
            raise BelfryError("invalid_completion", f"{name} is not supported. {told}", param=name)
    if given.get("store") and not given.get("background"):
        told = "store: true is supported with background: true only: Belfry keeps no other responses."
        raise BelfryError("invalid_completion", told, param="store")
    if given.get("background") and given.get("store") is False:
        told = "background: true needs store: true, which is its default: the response is kept to be read later."
        raise BelfryError("invalid_completion", told, param="store")
    if given.get("truncation") not in (None, "disabled"):
        raise _invalid("truncation", '"disabled"', given["truncation"])


def _messages(given: dict[str, Any]) -> list[dict[str, Any]]:
    instructions, asked = given.get("instructions"), given.get("input")
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        if not isinstance(instructions, str):
            raise _invalid("instructions", "a text", instructions)
        messages.append({"role": "system", "content": instructions})
    if isinstance(asked, str):
        return [*messages, {"role": "user", "content": asked}]
    if not (isinstance(asked, list) and asked and all(isinstance(item, dict) for item in asked)):
        raise _invalid("input", "a text or a list of at least one object", asked)
    for number, item in enumerate(asked):
        _add(messages, item, f"input[{number}]")
    return messages


def _add(messages: list[dict[str, Any]], item: dict[str, Any], place: str) -> None:
    """Add one item of the input to the messages."""
    kind = item.get("type") or "message"
    if kind == "message":
        messages.append({"role": _role(item, place), "content": _content(item.get("content"), place)})
    elif kind == "function_call":
        call = {"id": item.get("call_id"), "type": "function", "function": _named(item, place)}
        if not (messages and messages[-1].get("role") == "assistant"):
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else text_of(output)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    elif kind != "reasoning":  # reasoning of an earlier response, which no chat API accepts
        raise _invalid(f"{place}.type", "message, function_call, function_call_output or reasoning", kind)


def _named(item: dict[str, Any], place: str) -> dict[str, Any]:
    name, arguments = item.get("name"), item.get("arguments")
    if not (isinstance(name, str) and isinstance(arguments, str)):
        raise _invalid(place, "a function_call with name and arguments as texts", item)
    return {"name": name, "arguments": arguments}


def _role(item: dict[str, Any], place: str) -> str:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise _invalid(f"{place}.role", "user, assistant, system or developer", role)
    return "system" if role == "developer" else str(role)  # most chat APIs do not know the role developer


def _content(content: Any, place: str) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _invalid(f"{place}.content", "a text or a list", content)
    parts = [_part(object_of(part), f"{place}.content[{number}]") for number, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts):
        return "".join([part["text"] for part in parts])  # every chat API accepts a text
    return parts


def _part(part: dict[str, Any], place: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _PARTS:
        return {"type": "text", "text": text_of(part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": text_of(part.get("refusal"))}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if name in part}}
    raise _invalid(place, "input_text, input_image with image_url, input_file with file_data or input_audio", part)


def _tools(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tools = given.get("tools") or []
    if not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise _invalid("tools", "a list of objects", tools)
    for number, tool in enumerate(tools):
        if tool.get("type") != "function":
            raise _invalid(f"tools[{number}].type", "function, the only type that is supported", tool.get("type"))
    if tools:
        found["tools"] = [{"type": "function", "function": _without(tool, "type")} for tool in tools]
    choice = given.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise _invalid("tool_choice", "none, auto, required or a function", choice)
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return found | ({"tool_choice": choice} if choice is not None else {})


def _format(given: dict[str, Any]) -> dict[str, Any]:
    text = object_of(given.get("text"))
    form = object_of(text.get("format"))
    found = {"verbosity": text["verbosity"]} if text.get("verbosity") else {}
    if form.get("type") == "json_schema":
        return {**found, "response_format": {"type": "json_schema", "json_schema": _without(form, "type")}}
    return {**found, "response_format": form} if form.get("type") == "json_object" else found


def _limits(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if given.get("max_output_tokens") is not None:
        found["max_tokens"] = given["max_output_tokens"]
    if given.get("top_logprobs"):
        found |= {"logprobs": True, "top_logprobs": given["top_logprobs"]}
    effort = object_of(given.get("reasoning")).get("effort")
    return found | ({"reasoning_effort": effort} if effort else {})


def _without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def _invalid(name: str, expected: str, got: object) -> BelfryError:
    return BelfryError("invalid_completion", f"{name}: expected {expected}, got {written(got)[:60]}.", param=name)
