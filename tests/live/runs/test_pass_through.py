"""An answer that passes as it is: what is held for a slow taker, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from app.core.completion import parse_forwarded
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream as Address
from app.live.runs.body_bytes import READ_BYTES
from app.live.runs.buffered import BUFFER_BYTES
from app.live.runs.pass_through import PassThrough
from app.live.runs.upstream_client import UpstreamClient
from tests.upstream import Conversation, Upstream, refusing, running_upstream

BODY = b'{"model":"m","input":"12345678"}'
PIECE = b"x" * 65_536


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def call(upstream: Upstream) -> Iterator[PassThrough]:
    """Not started yet: its greenlet runs when the test first waits."""
    request = parse_forwarded("/audio/speech", "application/json", BODY)
    call = PassThrough(UpstreamClient(Address(url=upstream.url), Settings(upstream_retries=1)), request)
    yield call
    call.close()
    gevent.sleep(0)


def taken(call: PassThrough) -> bytes:
    """Everything until the end."""
    pieces: list[bytes] = []
    with gevent.Timeout(20):
        while not call.over:
            pieces += call.take(1)
    return b"".join(pieces)


def speak(conversation: Conversation, *, cut: bool = False) -> None:
    conversation.answer(b"", "audio/mpeg")
    for _ in range(50):
        conversation.send(PIECE)
    conversation.cut() if cut else conversation.end()


def test_a_taker_that_sleeps_finds_a_buffer_that_did_not_outgrow_its_bound(
    upstream: Upstream, call: PassThrough
) -> None:
    upstream.play = speak
    with gevent.Timeout(20):
        while call._size < BUFFER_BYTES:
            gevent.sleep(0.01)
    held = b"".join(call.take(0))
    assert BUFFER_BYTES <= len(held) < BUFFER_BYTES + READ_BYTES
    assert held + taken(call) == PIECE * 50


def test_a_refusal_is_repeated_with_the_same_body_and_nothing_after_that(upstream: Upstream, call: PassThrough) -> None:
    upstream.play = refusing(503, {"error": {"message": "busy"}}, times=1, then=speak)
    assert taken(call) == PIECE * 50
    assert [conversation.raw for conversation in upstream.conversations] == [BODY, BODY]
    assert call.tokens == 2


def test_an_answer_that_is_cut_is_told(upstream: Upstream, call: PassThrough) -> None:
    upstream.play = lambda conversation: speak(conversation, cut=True)
    with pytest.raises(BelfryError, match="upstream_truncated"):
        taken(call)
    assert len(upstream.conversations) == 1
