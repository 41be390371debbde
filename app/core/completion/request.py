"""A request for a completion: what the client asks, and the request to the upstream that follows from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BelfryError
from ..wire import strict_json
from .usage import prompt_tokens

TITLE_MAX_CHARS = 120
TITLE_READ_CHARS = 1_000  # of what was said: the others would seldom fit into a title
MODEL_MAX_CHARS = 256
DIGEST_BYTES = 16

_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One valid request. `id` is the client's own name for it, empty where it gave none."""

    id: str
    model: str
    stream: bool
    wants_usage: bool
    title: str
    digest: str
    fields: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)  # of the client, by names in small letters
    response: str = ""  # what its response tells again of it, as JSON, where it came by the Responses API

    @property
    def choices(self) -> int:
        """How many answers it asks for."""
        number = self.fields.get("n")
        return number if isinstance(number, int) and number > 0 else 1

    @property
    def prompt_tokens(self) -> int:
        """About how many tokens its messages have."""
        return prompt_tokens(self.fields["messages"])

    def body(self, *, stream: bool, with_options: bool = True) -> bytes:
        """What goes upstream. Usage is asked for, since it is counted, unless the upstream takes no such options."""
        fields = {name: value for name, value in self.fields.items() if with_options or name != "stream_options"}
        options = self.fields.get("stream_options") or {}
        asked = {"stream_options": {**options, "include_usage": True}} if stream and with_options else {}
        return json.dumps({**fields, **asked, "stream": stream}).encode()


def parse(
    text: bytes, *, takes_id: bool = False, key: str = "", headers: Mapping[str, str] | None = None, model: str = ""
) -> CompletionRequest:
    """Read a request; with `takes_id`, its member `id`, or else `key`, is Belfry's and doesn't go upstream.

    `model` is the one that the address names, as Azure's do.

    Raises `BelfryError` `malformed_json`, `invalid_completion` or `bad_run_id`.
    """
    given = strict_json.read(text, lone_surrogate="invalid_completion")
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    if model and given.setdefault("model", model) != model:
        raise _invalid("model", f"{model!r}, as in the address", given["model"])
    run_id = check_run_id(given.pop("id", None) or key) if takes_id else ""
    return request_of(given, run_id=run_id, digest=digest_of(given), headers=headers)


def request_of(
    given: dict[str, Any], *, run_id: str, digest: str, headers: Mapping[str, str] | None = None
) -> CompletionRequest:
    """The request with these members. Raises `BelfryError` `invalid_completion`."""
    _check(given)
    options = given.get("stream_options") or {}
    return CompletionRequest(
        id=run_id,
        model=given["model"],
        stream=bool(given.get("stream")),
        wants_usage=bool(options.get("include_usage")),
        title=title_of(given["messages"]),
        digest=digest,
        fields=given,
        headers=headers or {},
    )


def digest_of(given: dict[str, Any]) -> str:
    """Same members, same digest. Raises `BelfryError` `malformed_json` for a number that no upstream could read."""
    return hashlib.blake2b(finite_json(given, sort_keys=True).encode(), digest_size=DIGEST_BYTES).hexdigest()


def finite_json(value: Any, *, sort_keys: bool = False) -> str:
    """`value` as JSON. Raises `BelfryError` `malformed_json` for a number that JSON cannot repeat.

    1e999 is JSON by its grammar, and infinite as a float: nobody could read what Python makes of it.
    """
    try:
        return json.dumps(value, sort_keys=sort_keys, allow_nan=False)
    except ValueError:
        raise BelfryError("malformed_json", "Expected numbers that fit into 64 bits, got a larger one.") from None


def check_run_id(text: object) -> str:
    """Return `text` if it can name a run; empty names none. Raises `BelfryError` `bad_run_id`."""
    if text and not (isinstance(text, str) and _RUN_ID.fullmatch(text)):
        raise BelfryError("bad_run_id", f"An id is 1 to 64 of A-Z a-z 0-9 . _ : -, got {str(text)[:40]!a}.")
    return str(text)


def _check(given: dict[str, Any]) -> None:
    model, messages, stream = given.get("model"), given.get("messages"), given.get("stream")
    if not (isinstance(model, str) and model):
        raise _invalid("model", "a name", model)
    if len(model) > MODEL_MAX_CHARS:
        raise _invalid("model", f"at most {MODEL_MAX_CHARS} characters", f"{len(model)} characters")
    if not (isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)):
        raise _invalid("messages", "a list of at least one object", messages)
    if not (stream is None or isinstance(stream, bool)):
        raise _invalid("stream", "true or false", stream)
    options = given.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _invalid("stream_options", "an object", options)
    if not isinstance(options.get("include_usage") or False, bool):
        raise _invalid("stream_options.include_usage", "true or false", options["include_usage"])


def _invalid(name: str, expected: str, got: object) -> BelfryError:
    shown = json.dumps(got, separators=(",", ":"))[:40]
    return BelfryError("invalid_completion", f"{name}: expected {expected}, got {shown}.", param=name)


def title_of(messages: list[dict[str, Any]]) -> str:
    """The beginning of what the user said last, for a list of runs."""
    said = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), "")
    if isinstance(said, list):  # parts; images have no text
        said = " ".join([str(part.get("text", "")) for part in said if isinstance(part, dict)])
    begins = str(said or "").lstrip()[:TITLE_READ_CHARS]  # to part all of it could take as long as to read the request
    return " ".join(begins.split())[:TITLE_MAX_CHARS]
