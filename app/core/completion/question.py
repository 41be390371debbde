"""A question in a conversation: the client's question, and what the model gets of the earlier turns.

A *turn* is one question with its answer. The server keeps the turns, so a client sends only the new question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import BelfryError
from ..wire import strict_json
from .request import TITLE_MAX_CHARS, CompletionRequest, check_run_id, digest_of, request_of, title_of

LAST = object()  # replaces `after`: the question follows the last turn


class Said(Protocol):
    """The part of a turn that a model sees."""

    @property
    def content(self) -> Any: ...
    @property
    def answer(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """One valid question.

    `id` is the client's id for it, empty if there is none. `after` is the id of the turn before it, None if it becomes
    the first turn, or `LAST`. `revision` is the revision that the client knows, None if it sent none. `others` are
    further members of the request to the model.
    """

    id: str
    model: Any
    content: Any
    after: object
    revision: int | None
    others: dict[str, Any]
    digest: str

    @property
    def title(self) -> str:
        return title_of([{"role": "user", "content": self.content}])

    def request(self, conversation: str, turns: Sequence[Said], headers: Mapping[str, str]) -> CompletionRequest:
        """Return the request to the model after these turns. Raises `BelfryError` `invalid_completion`."""
        messages = [message for turn in turns for message in _messages(turn)]
        asked = {"role": "user", "content": self.content}
        fields = {**self.others, "model": self.model, "messages": [*messages, asked]}
        return request_of(fields, run_id=self.id, digest=f"{conversation} {self.digest}", headers=headers)


def parse_question(text: bytes, key: str = "") -> Question:
    """Read a question. `key` is its id if the body has none.

    Raises `BelfryError` `malformed_json`, `invalid_completion` or `bad_run_id`.
    """
    given = strict_json.read(text, lone_surrogate="invalid_completion")
    if not isinstance(given, dict):
        raise _invalid("the body", "one JSON object", given)
    digest = digest_of({name: value for name, value in given.items() if name not in ("id", "revision")})
    if "messages" in given:
        told = "messages: expected `content`, the new question alone. The server keeps what was said before."
        raise BelfryError("invalid_completion", told, param="messages")
    return Question(
        id=check_run_id(given.pop("id", None) or key),
        model=given.pop("model", None),
        content=_content(given.pop("content", None)),
        after=_after(given.pop("after", LAST)),
        revision=_revision(given.pop("revision", None)),
        others=given,
        digest=digest,
    )


def parse_title(text: bytes) -> str:
    """Return the new title of a conversation. Raises `BelfryError` `malformed_json` or `invalid_conversation`."""
    given = strict_json.read(text, lone_surrogate="invalid_conversation")
    if not (isinstance(given, dict) and given.keys() == {"title"} and isinstance(given["title"], str)):
        raise BelfryError("invalid_conversation", 'Expected {"title": "…"} and no other member.')
    title = " ".join(given["title"].split())
    if not title or len(title) > TITLE_MAX_CHARS:
        told = f"title: expected 1 to {TITLE_MAX_CHARS} characters besides white space, got {len(title)}."
        raise BelfryError("invalid_conversation", told)
    return title


def _messages(turn: Said) -> list[dict[str, Any]]:
    """Return the messages of a turn: the question, and the text or the refusal of the answer.

    Models need neither the reasoning nor open tool calls.
    """
    asked = {"role": "user", "content": turn.content}
    answer = turn.answer or {}
    said = answer.get("text") or answer.get("refusal")
    return [asked, {"role": "assistant", "content": said}] if said else [asked]


def _content(given: object) -> object:
    if isinstance(given, str) and given.strip():
        return given
    if isinstance(given, list) and given and all(isinstance(part, dict) and "type" in part for part in given):
        return given
    raise _invalid("content", "a text, or a list of parts that each have a `type`", given)


def _after(given: object) -> object:
    if given is LAST or given is None:
        return given
    if isinstance(given, str) and given:
        return check_run_id(given)
    raise _invalid("after", "the id of a turn, or null", given)


def _revision(given: object) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    raise _invalid("revision", "a whole number", given)


def _invalid(name: str, expected: str, got: object) -> BelfryError:
    shown = repr(got)[:40]
    return BelfryError("invalid_completion", f"{name}: expected {expected}, got {shown}.", param=name)
