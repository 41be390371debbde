"""The tokens of an answer that passes: told in every shape, or estimated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.completion.meter import KEPT_BYTES, Meter

VECTORS = {"object": "list", "data": [{"embedding": [0.125] * (KEPT_BYTES // 4)}]}
USAGE = {"prompt_tokens": 7}
TRICK = 'a \\"usage\\": {"total_tokens": 1} "usage": {"total_tokens": 2}'


def events(*values: Any) -> bytes:
    return "".join([f"event: x\ndata: {json.dumps(value)}\n\n" for value in values]).encode()


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("content_type", "body", "tokens"),
    [
        ("application/json", text({"usage": {"prompt_tokens": 7, "total_tokens": 9}}), 9),
        ("application/json; charset=utf-8", text({"usage": {"input_tokens": 7, "output_tokens": 1}}), 8),
        ("application/json", text(VECTORS | {"usage": USAGE}), 7),
        ("application/json", text({"usage": USAGE, "model": TRICK} | VECTORS), 7),
        ("application/json", text(VECTORS), 3),
        ("application/json", text(VECTORS | {"model": TRICK}), 3),
        ("application/json", text({"choices": [{"text": "x" * 400}]}), 103),
        ("application/json", text({"choices": [{"text": "x" * 4 * KEPT_BYTES}]}), 3 + KEPT_BYTES),
        ("application/json", text({"text": "x" * 400, "usage": {"type": "duration", "seconds": 9}}), 103),
        ("application/json", b"{", 3),
        ("application/json", b"[1]", 3),
        ("text/plain", b"x" * 400, 103),
        ("audio/mpeg", b"x" * 400, 3),
        ("", b"x" * 400, 3),
        ("text/event-stream", events({"choices": [{"text": "a"}]}, {"choices": [{"text": "b"}]}), 5),
        ("text/event-stream", events({"choices": [{"text": "a"}]}, {"choices": [], "usage": {"total_tokens": 9}}), 9),
        ("text/event-stream", events({"type": "transcript.text.delta", "delta": "a"}), 4),
        ("text/event-stream", events({"type": "speech.audio.done", "usage": {"total_tokens": 9}}), 9),
        ("text/event-stream", b"data: {\n\n" + b"x" * 50, 3),
    ],
)
def test_tokens_are_told_or_estimated(content_type: str, body: bytes, tokens: int) -> None:
    for size in (65_536, 1_000_000_000):
        meter = Meter(content_type, 3)
        for at in range(0, len(body), size):
            meter.feed(body[at : at + size])
        assert abs(meter.tokens - tokens) <= tokens // 1_000
        assert meter.tokens == meter.tokens


def test_comments_of_a_stream_say_nothing() -> None:
    meter = Meter("text/event-stream", 0)
    assert not meter.feed(b": keep-alive\n\n")
    assert meter.feed(events({"choices": [{"text": "a"}]}))
    assert Meter("audio/mpeg", 0).feed(b"x")
