"""A request that goes to the upstream unchanged: embeddings, images, audio and all others that are not chat.

Belfry reads only what it needs: the model, which selects the upstream, and the approximate number of tokens in the
request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import BelfryError
from ..wire import strict_json
from . import form
from .request import MODEL_MAX_CHARS
from .tolerant import text_of
from .usage import BYTES_PER_TOKEN

FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
# The members that the upstream reads and answers.
_ASKED: Final = ("input", "prompt", "suffix", "instructions")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """One valid request. `path` is relative to the upstream's URL. `model` is empty if the request names none."""

    path: str
    model: str
    content_type: str
    body: bytes = field(repr=False)
    prompt_tokens: int
    headers: Mapping[str, str] = field(default_factory=dict)  # of the client, with lower-case names


def parse_forwarded(
    path: str, content_type: str, body: bytes, *, model: str = "", headers: Mapping[str, str] | None = None
) -> Forwarded:
    """Read a request. `model` is the model that the URL names, as Azure's URLs do.

    Raises `BelfryError` `malformed_json` or `invalid_completion`.
    """
    is_form = content_type.partition(";")[0].strip().lower() == FORM
    fields = _of_form(content_type, body) if is_form else _of_json(body)
    own = _model(fields.get("model"))
    named = _model(model or None)
    if named and own and own != named:
        raise _invalid("model", f"{named!r}, as in the address", own)
    if named and not own:
        with_model = json.dumps({**fields, "model": named}).encode()
        body = form.with_field(content_type, body, "model", named) if is_form else with_model
    tokens = sum([_tokens(fields.get(name)) for name in _ASKED])
    return Forwarded(path, named or own, content_type if is_form else JSON, body, tokens, headers or {})


def _of_json(body: bytes) -> dict[str, Any]:
    given = strict_json.read(body)
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    return given


def _of_form(content_type: str, body: bytes) -> dict[str, Any]:
    fields = form.fields_of(content_type, body)
    if len(fields.get("model", ())) > 1:
        raise _invalid("model", "one", fields["model"])
    return {name: values[0] for name, values in fields.items()}


def _model(value: object) -> str:
    if value is None:
        return ""
    if not (isinstance(value, str) and value):
        raise _invalid("model", "a name", value)
    if len(value) > MODEL_MAX_CHARS:
        raise _invalid("model", f"at most {MODEL_MAX_CHARS} characters", f"{len(value)} characters")
    return value


def _tokens(asked: object) -> int:
    """Return the approximate number of tokens of a text, a list of texts, or a list of tokens."""
    if isinstance(asked, str):
        return -(-len(asked.encode(errors="replace")) // BYTES_PER_TOKEN)
    if isinstance(asked, list):
        return sum([_tokens(part) for part in asked])
    return _tokens(text_of(asked)) if isinstance(asked, dict) else isinstance(asked, int)


def _invalid(name: str, expected: str, got: object) -> BelfryError:
    return BelfryError("invalid_completion", f"{name}: expected {expected}, got {json.dumps(got)[:40]}.", param=name)
