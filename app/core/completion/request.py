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
TITLE_READ_CHARS = 1_000  # of the user's text; the rest would seldom fit into a title
MODEL_MAX_CHARS = 256
DIGEST_BYTES = 16

_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One valid request. `id` is the client's own id for it, empty if there is none."""

    id: str
    model: str
    stream: bool
    wants_usage: bool
    title: str
    digest: str
    fields: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)  # of the client, with lower-case names
    # The members that the response repeats, as JSON, if the Responses API was used.
    response: str = ""

    @property
    def choices(self) -> int:
        """The number of answers that it asks for."""
        number = self.fields.get("n")
        return number if isinstance(number, int) and number > 0 else 1

    @property
    def prompt_tokens(self) -> int:
        """The approximate number of tokens of its messages."""
        return prompt_tokens(self.fields["messages"])

    def body(self, *, stream: bool, with_options: bool = True) -> bytes:
        """Return the body for the upstream.

        A stream asks for usage, because Belfry counts it, unless the upstream does not support `stream_options`.
        """
        fields = {name: value for name, value in self.fields.items() if with_options or name != "stream_options"}
        options = self.fields.get("stream_options") or {}
        asked = {"stream_options": {**options, "include_usage": True}} if stream and with_options else {}
        return json.dumps({**fields, **asked, "stream": stream}).encode()


def parse(
    text: bytes, *, takes_id: bool = False, key: str = "", headers: Mapping[str, str] | None = None, model: str = ""
) -> CompletionRequest:
    """Read a request.

    With `takes_id`, its member `id`, otherwise `key`, is the run's id and doesn't go to the upstream. `model` is the
    model that the URL names, as Azure's URLs do. Raises `BelfryError` `malformed_json`, `invalid_completion` or
    `bad_run_id`.
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
    """Return the request with these members. Raises `BelfryError` `invalid_completion`."""
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
    """Return a digest, which is the same for the same members.

    Raises `BelfryError` `malformed_json` for a number that no upstream could read.
    """
    return hashlib.blake2b(finite_json(given, sort_keys=True).encode(), digest_size=DIGEST_BYTES).hexdigest()


def finite_json(value: Any, *, sort_keys: bool = False) -> str:
    """Return `value` as JSON. Raises `BelfryError` `malformed_json` for a number that is infinite as a float.

    1e999 is valid JSON, but Python reads it as infinity and would write it in a way that no parser accepts.
    """
    try:
        return json.dumps(value, sort_keys=sort_keys, allow_nan=False)
    except ValueError:
        raise BelfryError("malformed_json", "Expected numbers that fit into 64 bits, got a larger one.") from None


def check_run_id(text: object) -> str:
    """Return `text` if it can be a run's id. An empty text means no id. Raises `BelfryError` `bad_run_id`."""
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
    """Return the beginning of the user's last message, for a list of runs."""
    said = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), "")
    if isinstance(said, list):  # a list of parts; images have no text
        said = " ".join([str(part.get("text", "")) for part in said if isinstance(part, dict)])
    # Splitting the whole text could take as long as reading the request.
    begins = str(said or "").lstrip()[:TITLE_READ_CHARS]
    return " ".join(begins.split())[:TITLE_MAX_CHARS]
