"""Follows an answer piece by piece: whether it is complete, failed or cut off, and how many tokens it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import BelfryError
from ..wire.frames import stream_safe
from .body import not_an_answer
from .failure import doubt_of, failed, failure_of, short
from .finish import reason_of
from .forms import chunks_of, is_whole, usage_chunk, without_messages
from .json_text import written
from .pieces import END, Piece
from .regular import Regular
from .tolerant import object_of, objects_of, place_of, text_of
from .tool_calls import parts_of
from .usage import Usage, as_openai, tokens_of, usage_in

STRANGE_CHARS = 2_000  # kept of the first object that does not belong to a completion, for the error text
_PINGS = frozenset({"ping", "heartbeat", "keepalive"})
_KINDS = ("type", "event", "object")
_SAID = frozenset({"content", "reasoning_content", "reasoning", "refusal", "text"})


def texts_of(choice: dict[str, Any]) -> list[str]:
    """Return all texts of a chunk's choice: answer, reasoning, and tool calls."""
    delta = object_of(choice.get("delta"))
    texts = [text_of(value) for name, value in delta.items() if name in _SAID]
    if "text" in choice:
        texts.append(text_of(choice["text"]))
    if "tool_calls" in delta or "function_call" in delta:
        for call in parts_of(delta):
            texts += [text_of(value) for value in object_of(call.get("function")).values()]
    return texts


def _failed(told: dict[str, Any]) -> BelfryError:
    return failed("upstream_failed", "The upstream failed in mid-answer.", told)


def _is_ping(value: dict[str, Any]) -> bool:
    """Return whether it is a keep-alive, which no client needs to see."""
    return any(str(value.get(name, "")).lower().replace("-", "").replace("_", "") in _PINGS for name in _KINDS)


def _safe(piece: Piece) -> Piece:
    """Return the piece in a form that is safe as data of a stream."""
    text = piece.text
    if text.isascii() and "<" not in text and ">" not in text and "&" not in text:  # as nearly all are
        return piece
    plain = text.encode()
    safe = stream_safe(plain)
    return piece if safe == plain else Piece(safe.decode(), piece.value, piece.event)


class Answer:
    """Judges the pieces of one answer. It keeps what its end requires, but not the text.

    `choices` is the number of choices that the request asked for. `wants_usage` is whether the client asked for usage
    in its stream.
    """

    def __init__(self, *, choices: int = 1, wants_usage: bool = False, prompt_tokens: int = 0) -> None:
        self._choices = choices
        self._wants_usage = wants_usage
        self._has_reason: dict[int, bool] = {}
        self._ended = False  # whether the upstream marked the end
        self._came_whole = False  # whether it came as one piece
        self._is_last = False  # whether the last piece was a usage without choices
        self._talks_on = False  # whether text came after a finish reason
        self._shown_usage = False
        self._strange = ""
        self._doubt: dict[str, Any] | None = None  # what is an error if the answer does not complete
        self._head: dict[str, Any] = {}
        self._regular = Regular()
        self.counted = Usage(prompt_tokens)
        self.started = False

    @property
    def finished(self) -> bool:
        """Whether each choice has its finish reason, or the upstream marked the end."""
        reasons = self._has_reason.values()
        return self._ended or (len(reasons) >= self._choices and all(reasons))

    @property
    def may_end(self) -> bool:
        """Whether the answer may end here. The upstream may still send usage."""
        return self.finished and not self._talks_on

    @property
    def ended(self) -> bool:
        """Whether the upstream marked the end of the answer."""
        return self._ended

    @property
    def tokens(self) -> int:
        return self.counted.tokens

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's usage, or an estimate that is marked as one."""
        return self.counted.shown()

    def take(self, piece: Piece) -> Iterator[Piece]:
        """Judge one piece, and yield the chunks to pass on for it.

        These are the piece itself, several chunks for a whole answer, and none for pieces that the client did not ask
        for. Raises `BelfryError` for an error in the middle of the answer.
        """
        if piece is END:
            self._ended = True
            return
        failure = failure_of(piece)
        if failure is not None:
            raise _failed(failure)
        if is_whole(piece) and not self._regular.by_messages:
            yield from self._take_whole(piece.value)
        elif "choices" in piece.value or self._is_note(piece):
            value = self._regular.of(piece.value)
            if self._counts(value):
                yield self._shown(piece, value)

    def _is_note(self, piece: Piece) -> bool:
        """Return whether the client gets an object without choices. Remember it if it may be an error."""
        if not piece.value or _is_ping(piece.value):
            return False
        self._doubt = self._doubt or doubt_of(piece.value)
        if self._doubt is not None and piece.is_body:  # nothing else follows
            raise _failed(self._doubt)
        return True

    def _take_whole(self, whole: dict[str, Any]) -> Iterator[Piece]:
        # Some upstreams repeat the whole text after its chunks.
        repeats = self.started
        for chunk in [without_messages(whole)] if repeats else chunks_of(whole):
            value = self._regular.of(chunk)
            if self._counts(value):
                yield self._shown(Piece("", chunk), value)
        if not repeats:
            self._ended = self._came_whole = True

    def _shown(self, piece: Piece, value: dict[str, Any]) -> Piece:
        """Return a piece with `value` as the client gets it. A piece without a text is written."""
        if "usage" in value:
            value = self._with_openai_s_counts(value)
        return _safe(piece if value is piece.value and piece.text else Piece(written(value), value, piece.event))

    def _with_openai_s_counts(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the chunk with a usage that OpenAI's clients understand. A part of a usage stays unchanged."""
        usage = value.get("usage")
        if not (usage and isinstance(usage, dict) and tokens_of(usage) >= self.counted.tokens):
            return value
        counted = as_openai(usage)
        return value if counted is usage else {**value, "usage": counted}

    def _counts(self, value: dict[str, Any]) -> bool:
        """Judge and count one chunk. Return whether the client gets it."""
        choices = objects_of(value.get("choices"))
        told = usage_in(value, choices)
        if told is not None:
            self.counted.take(told)
        self._is_last = told is not None and not choices
        for choice in choices:
            self._judge(choice)
        if choices:
            self.started = True
            # The client sees this usage, unless it has only a part of the counts or is in another member. Of several
            # usages, clients take the last one.
            if told is not None or value.get("usage"):
                self._shown_usage = tokens_of(value.get("usage")) >= self.counted.tokens
            if not self._head:
                self._head = {name: value[name] for name in ("id", "created", "model") if name in value}
        elif not value.get("usage"):
            self._strange = self._strange or written(value)[:STRANGE_CHARS]
        else:
            if not self._wants_usage or told is None:  # an estimate is better than zeros
                return False
            self._shown_usage = True
        return True

    def _judge(self, choice: dict[str, Any]) -> None:
        texts, place = texts_of(choice), place_of(choice)
        had_reason = self._has_reason.get(place, False)
        if had_reason and any(texts):
            self._talks_on = True
        self._has_reason[place] = had_reason or bool(reason_of(choice))
        self.counted.say(texts)

    def finish(self, noise: str, *, was_cut: bool) -> Iterator[Piece]:
        """End the answer, because the body ended or the time limit passed. `noise` is the text that was not JSON.

        Yields the usage that the client asked for and the upstream did not send. Raises `BelfryError` unless the answer
        is complete.
        """
        self._require_whole(noise, was_cut=was_cut)
        if self._wants_usage and not self._shown_usage:
            chunk = usage_chunk(self._head, self.usage)
            yield _safe(Piece(written(chunk), chunk))

    def _require_whole(self, noise: str, *, was_cut: bool) -> None:
        reasons = self._has_reason.values()
        if self._came_whole:
            return
        if self._doubt is not None and not any(reasons):
            raise _failed(self._doubt)
        if reasons and (self.finished or (self._is_last and any(reasons))):
            if noise.strip() and not any(reasons):  # a text instead of the rest, followed by [DONE]
                raise failed("upstream_failed", f"The upstream failed in mid-answer: {short(noise)}")
            return
        if not reasons and not was_cut:
            raise not_an_answer(noise if noise.strip() else self._strange)
        if noise.strip() and not was_cut:
            raise failed("upstream_malformed", f"The upstream's answer broke off with: {short(noise)}")
        detail = "The connection to the upstream broke in mid-answer." if was_cut else ""
        raise BelfryError("upstream_truncated", detail, retry=False)
