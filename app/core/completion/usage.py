"""Reads token counts in every shape that upstreams send, and estimates them if there are none.

An estimate has the member `estimated`, to distinguish it from the upstream's number.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, Final

from .json_text import cleaned, read, written
from .tolerant import object_of, objects_of, text_of

BYTES_PER_TOKEN: Final = 4  # for English text and code; tokens of other scripts have fewer bytes
TOKEN_MAX_BYTES: Final = 32  # a chunk with more bytes has several tokens
IMAGE_TOKENS: Final = 85  # the least that OpenAI charges for one image
USAGE_MAX_CHARS: Final = 2_000  # as JSON, kept with a run
COUNT_NAME_MAX_CHARS: Final = 40
COUNTS_MAX: Final = 20  # of a usage that is longer than that
NUMBER_MAX_CHARS: Final = 16
_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?", re.ASCII)
_MAX: Final = 10**15  # a larger number is nonsense

# Names without `_` and in lower case, so that `promptTokens`, `prompt_tokens` and `PROMPT_TOKENS` are the same.
_TOTAL: Final = frozenset({"totaltokens", "totaltokencount"})
_INPUT: Final = frozenset(
    {
        "prompttokens",
        "inputtokens",
        "prompttokencount",
        "inputtokencount",
        "promptevalcount",
        "tokensevaluated",
        "promptn",
        "inputlength",
    }
)
_OUTPUT: Final = frozenset(
    {
        "completiontokens", "outputtokens", "candidatestokencount", "outputtokencount", "generatedtokens", "evalcount",
        "tokenspredicted", "predictedn", "generatedtokencount",
    }
)  # fmt: skip
# Anthropic counts these in addition to `input_tokens`, and Gemini these in addition to its other counts.
_MORE_INPUT: Final = frozenset({"cachecreationinputtokens", "cachereadinputtokens", "tooluseprompttokencount"})
_MORE_OUTPUT: Final = frozenset({"thoughtstokencount"})
_PLACES: Final = (
    "usage", "Usage", "usageMetadata", "usage_metadata", "token_usage", "tokenUsage", "x_groq", "meta", "details",
    "timings", "tokens", "metrics", "amazon-bedrock-invocationMetrics", "message", "response",
)  # fmt: skip
# Members that may be a text of JSON. A text under another name may be the model's, which must not decide on costs.
_TEXTS: Final = frozenset({"usage", "Usage", "usageMetadata", "usage_metadata", "token_usage", "tokenUsage"})
# Members of a chunk with counts that are not in a usage object, from Ollama and llama.cpp.
_BARE: Final = ("prompt_eval_count", "eval_count", "tokens_evaluated", "tokens_predicted")
_MEMBERS: Final = frozenset({*_PLACES, *_BARE})


def tokens_of(usage: object) -> int:
    """Return the number of tokens in a usage object, or 0 if it has none."""
    return max(_counts(usage))


def _counts(usage: object) -> tuple[int, int, int]:
    """Return the tokens of the prompt, of the answer, and of both. A count that is missing is 0."""
    given = object_of(usage)
    nested = {**object_of(given.get("billed_units")), **object_of(given.get("tokens"))}  # Cohere's
    named = {
        name.replace("_", "").replace("-", "").lower(): _number(value) for name, value in {**nested, **given}.items()
    }
    total, asked, said, more_asked, more_said = (
        [value for name, value in named.items() if name in names]
        for names in (_TOTAL, _INPUT, _OUTPUT, _MORE_INPUT, _MORE_OUTPUT)
    )
    more = (0, 0) if any(total) else (sum(more_asked), sum(more_said))
    prompt, answer = max([0, *asked]) + more[0], max([0, *said]) + more[1]
    return prompt, answer, max([prompt + answer, *total])


def as_openai(usage: dict[str, Any]) -> dict[str, Any]:
    """Return a usage object with the counts under OpenAI's names too, because its clients read only those."""
    prompt, answer, total = _counts(usage)
    counts = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}
    wrong = {name: count for name, count in counts.items() if not _says(usage.get(name), count)}
    return {**usage, **wrong} if wrong and (prompt or answer) else usage


def _says(value: object, count: int) -> bool:
    """Return whether a member has a count, and not 0 in its place."""
    return type(value) is int and (value > 0 or value == count)


def _number(value: object) -> int:
    """Return a number of tokens in any notation, or 0 if the value is none."""
    if isinstance(value, str) and len(value) <= NUMBER_MAX_CHARS and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX else 0


def usage_in(value: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the usage object of a chunk or of a whole answer with these choices, or None if there is none."""
    for choice in choices:
        if "usage" in choice and tokens_of(choice["usage"]):
            return dict(cleaned(choice["usage"]))
        delta = choice.get("delta")
        if isinstance(delta, dict) and "usage" in delta and tokens_of(delta["usage"]):
            return dict(cleaned(delta["usage"]))
    if _MEMBERS.isdisjoint(value):  # most chunks have none
        return None
    for place in _PLACES:
        found = _object_in(value.get(place), may_be_text=place in _TEXTS)
        found = object_of(found.get("usage") or found.get("tokens")) or found
        if found and tokens_of(found):
            return dict(cleaned(found))
    bare = {name: value[name] for name in _BARE if value.get(name)}
    return dict(cleaned(bare)) if tokens_of(bare) else None


def _object_in(value: object, *, may_be_text: bool) -> dict[str, Any]:
    """Return an object, also if it is in a list, or is a text of JSON."""
    if may_be_text and isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            value, _ = read(value)
    return object_of(value[-1]) if isinstance(value, list) and value else object_of(value)


class Usage:
    """Counts the tokens of one answer, whose prompt has about `prompt_tokens` tokens."""

    def __init__(self, prompt_tokens: int = 0) -> None:
        self._prompt_tokens = prompt_tokens
        self._told: dict[str, Any] | None = None
        self._most = 0
        self._said = 0

    def take(self, told: dict[str, Any]) -> None:
        """Take usage that the upstream sent. Some send it in parts, and some send the sum so far with each chunk."""
        self._told = {**(self._told or {}), **{name: value for name, value in told.items() if value is not None}}
        self._most = max(self._most, tokens_of(self._told), tokens_of(told))

    def say(self, texts: list[str]) -> None:
        """Count a chunk of the answer: usually one token, or several if the upstream sends large pieces."""
        size = 0
        for text in texts:
            size += len(text) if text.isascii() else len(text.encode(errors="replace"))
        self.say_bytes(size)

    def say_bytes(self, size: int) -> None:
        """Count a text of `size` bytes."""
        self._said += size // BYTES_PER_TOKEN if size > TOKEN_MAX_BYTES else bool(size)

    @property
    def is_told(self) -> bool:
        return self._told is not None

    @property
    def tokens(self) -> int:
        """The number of tokens that count against a limit."""
        return self._most if self._told is not None else self._prompt_tokens + self._said

    def shown(self) -> dict[str, Any]:
        """Return the upstream's usage, or an estimate that is marked as one."""
        if self._told is not None:
            return as_openai(self._told)
        counted = {"prompt_tokens": self._prompt_tokens, "completion_tokens": self._said}
        return {**counted, "total_tokens": self.tokens, "estimated": True}


def kept_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Return `usage` as a run keeps it. If it has more than `USAGE_MAX_CHARS`, only its first counts stay."""
    if len(written(usage)) <= USAGE_MAX_CHARS:
        return usage
    counts = [(name, _number(value)) for name, value in usage.items() if len(name) <= COUNT_NAME_MAX_CHARS]
    return dict([(name, number) for name, number in counts if number][:COUNTS_MAX])


def prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """Return the approximate number of tokens of a request's messages."""
    contents = [message.get("content") for message in messages]
    texts = sum([len(text_of(content).encode(errors="replace")) for content in contents])
    images = sum(["image" in str(part.get("type", "")) for content in contents for part in objects_of(content)])
    return texts // BYTES_PER_TOKEN + images * IMAGE_TOKENS
