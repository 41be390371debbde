"""A completion as OpenAI's chat API speaks of it: the request, each chunk of the answer, and the answer as a whole.

Unknown fields pass through both ways. Nothing here knows how chunks travel or where they are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from app.core.errors import BelfryError
from app.core.wire.frames import compact, stream_safe

DONE = "[DONE]"  # the data of the last block of a stream
TITLE_MAX_CHARS = 120
DIGEST_BYTES = 16

_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
# A chunk lies on one line of the store and of the wire. Between the tokens of JSON any line end is a space.
_LINE_ENDS = str.maketrans("\r\n", "  ")


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

    def body(self, *, stream: bool) -> bytes:
        """What goes upstream. Usage is always asked for, since it is counted."""
        options: Any = self.fields.get("stream_options")
        asked = {"stream_options": {**(options or {}), "include_usage": True}} if stream else {}
        return json.dumps({**self.fields, **asked, "stream": stream}).encode()


def parse(text: bytes, *, takes_id: bool = False, key: str = "") -> CompletionRequest:
    """Read a request; with `takes_id`, its member `id`, or else `key`, is Belfry's and doesn't go upstream.

    Raises `BelfryError` `malformed_json`, `invalid_completion` or `bad_run_id`.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BelfryError("malformed_json", f"Expected one JSON object: {error}.") from None
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    _require_unicode(given)
    run_id = check_run_id(given.pop("id", None) or key) if takes_id else ""
    _check(given)
    options = given.get("stream_options") or {}
    return CompletionRequest(
        id=run_id,
        model=given["model"],
        stream=bool(given.get("stream")),
        wants_usage=bool(options.get("include_usage")),
        title=_title(given["messages"]),
        digest=hashlib.blake2b(json.dumps(given, sort_keys=True).encode(), digest_size=DIGEST_BYTES).hexdigest(),
        fields=given,
    )


def check_run_id(text: object) -> str:
    """Return `text` if it can name a run; empty names none. Raises `BelfryError` `bad_run_id`."""
    if text and not (isinstance(text, str) and _RUN_ID.fullmatch(text)):
        raise BelfryError("bad_run_id", f"An id is 1 to 64 of A-Z a-z 0-9 . _ : -, got {str(text)[:40]!a}.")
    return str(text)


def _require_unicode(given: dict[str, Any]) -> None:
    """JSON may escape half of a surrogate pair, which is no character: neither a store nor an upstream can have it."""
    try:
        compact(given).encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise BelfryError("invalid_completion", f"Expected Unicode text, got the lone surrogate {half}.") from None


def _check(given: dict[str, Any]) -> None:
    model, messages, stream = given.get("model"), given.get("messages"), given.get("stream")
    if not (isinstance(model, str) and model):
        raise _invalid("model", "a name", model)
    if not (isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)):
        raise _invalid("messages", "a list of at least one object", messages)
    if not (stream is None or isinstance(stream, bool)):
        raise _invalid("stream", "true or false", stream)
    if not isinstance(given.get("stream_options") or {}, dict):
        raise _invalid("stream_options", "an object", given["stream_options"])


def _invalid(field: str, expected: str, got: object) -> BelfryError:
    shown = json.dumps(got, separators=(",", ":"))[:40]
    return BelfryError("invalid_completion", f"{field}: expected {expected}, got {shown}.", param=field)


def _title(messages: list[dict[str, Any]]) -> str:
    """The beginning of what the user said last, for a list of runs."""
    said = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), "")
    if isinstance(said, list):  # parts; images have no text
        said = " ".join([str(part.get("text", "")) for part in said if isinstance(part, dict)])
    return " ".join(str(said or "").split())[:TITLE_MAX_CHARS]


class Answer:
    """Watches an answer pass by, chunk by chunk. Keeps what must be known at its end, not its text."""

    def __init__(self) -> None:
        self.finished = False
        self.usage: dict[str, Any] | None = None
        self._chunks = 0

    @property
    def tokens(self) -> int:
        """What counts against a limit: as the usage chunk told, or where none came, a token for each chunk."""
        return self._chunks if self.usage is None else tokens_of(self.usage)

    def take(self, data: str, *, wants_usage: bool) -> str | None:
        """The line to pass on for one chunk, `stream_safe`; None for a usage chunk that the client did not ask for.

        Raises `BelfryError` `upstream_malformed` for what is no chunk, `upstream_failed` for an error in mid-stream.
        """
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise BelfryError("upstream_malformed", "The upstream sent a chunk that is not JSON.") from None
        if not isinstance(chunk, dict):
            raise BelfryError("upstream_malformed", "The upstream sent a chunk that is no JSON object.")
        if chunk.get("error"):
            raise _failure(chunk["error"])
        choices = chunk.get("choices")
        if chunk.get("usage"):
            self.usage = cleaned(chunk["usage"])
            if not choices and not wants_usage:
                return None
        for choice in _objects(choices):
            self.finished = self.finished or bool(choice.get("finish_reason"))
        self._chunks += 1
        line = data.translate(_LINE_ENDS) if "\n" in data else data
        return stream_safe(line.encode()).decode()


def _failure(error: object) -> BelfryError:
    told = error if isinstance(error, dict) else {"message": str(error)}
    kept = error_members(told)
    detail = str(kept.get("message") or "The upstream failed in mid-answer.")
    return BelfryError("upstream_failed", detail, upstream=kept)


def error_members(told: dict[str, Any]) -> dict[str, Any]:
    """The members of OpenAI's error object, as far as there are any."""
    return {name: cleaned(told[name]) for name in ("message", "type", "param", "code") if told.get(name) is not None}


def cleaned(value: Any) -> Any:
    """A value out of JSON, with a question mark for every lone surrogate."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def tokens_of(usage: object) -> int:
    """The number of tokens that a usage object stands for; 0 where it tells none."""
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total > 0 else 0


class Transcript:
    """Puts chunks together again: the text so far of the first choice, and its tool calls."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return [self._tool_calls[index] for index in sorted(self._tool_calls)]

    def add(self, data: str) -> None:
        """One chunk, which `Answer.take` let pass."""
        for choice in _objects(json.loads(data).get("choices")):
            if choice.get("index", 0) == 0:
                delta = _object(choice.get("delta"))
                self._text.append(_text(delta.get("content")))
                for call in _objects(delta.get("tool_calls")):
                    self._merge(call)
                self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _merge(self, part: dict[str, Any]) -> None:
        """A call comes in parts: first its id and name, then its arguments piece by piece."""
        index = part.get("index", 0)
        place = index if isinstance(index, int) else 0
        call = self._tool_calls.setdefault(place, {"function": {"name": "", "arguments": ""}})
        call.update({name: part[name] for name in ("id", "type") if part.get(name)})
        for name, piece in _object(part.get("function")).items():
            call["function"][name] = call["function"].get(name, "") + _text(piece)


# An upstream may put anything anywhere; what is not as OpenAI has it passes through, and counts as absent here.


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def openai_error(error: BelfryError) -> dict[str, Any]:
    """The error as OpenAI's clients expect it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    told = {"message": error.detail, "type": kind, "param": error.extra.get("param"), "code": error.code}
    return {"error": {**told, **error.extra.get("upstream", {})}}
