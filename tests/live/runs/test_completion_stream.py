"""A streamed completion: what it holds for a slow taker, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from app.core.completion import parse
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream as Address
from app.live.runs.buffered import BUFFER_BYTES
from app.live.runs.completion_stream import CompletionStream
from app.live.runs.upstream_client import UpstreamClient
from tests.upstream import Upstream, content, running_upstream, saying, sending, text_of

REQUEST = parse(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
KILOBYTE = "x" * 1_000


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def stream(upstream: Upstream) -> Iterator[CompletionStream]:
    """Not started yet: its greenlet runs when the test first waits."""
    stream = CompletionStream(UpstreamClient(Address(url=upstream.url), Settings(upstream_retries=0)), REQUEST)
    yield stream
    stream.close()
    gevent.sleep(0)


def taken(stream: CompletionStream) -> list[str]:
    """Everything until the end."""
    chunks: list[str] = []
    with gevent.Timeout(60):
        while not stream.over:
            chunks += stream.take(1)
    return chunks


def test_all_chunks_come_in_order(upstream: Upstream, stream: CompletionStream) -> None:
    texts = [f"{number} " for number in range(500)]
    upstream.play = saying(*texts, usage={"total_tokens": 5})
    assert text_of(taken(stream)) == "".join(texts)
    assert stream.answer.usage == {"total_tokens": 5}


def test_a_taker_that_sleeps_finds_a_buffer_that_did_not_outgrow_its_bound(
    upstream: Upstream, stream: CompletionStream
) -> None:
    upstream.play = saying(*[KILOBYTE] * 1_000)
    gevent.sleep(0)  # the reader runs until it has to wait for room
    held = stream.take(0)
    assert BUFFER_BYTES <= sum(map(len, held)) < BUFFER_BYTES + 2 * len(content(KILOBYTE))
    assert text_of(held + taken(stream)) == KILOBYTE * 1_000


def test_what_came_before_a_failure_is_taken_first(upstream: Upstream, stream: CompletionStream) -> None:
    upstream.play = sending(f"data: {content('Hel')}\n\n".encode(), end=False)
    assert text_of(stream.take(5)) == "Hel"
    with pytest.raises(BelfryError, match="upstream_truncated"):
        stream.take(5)
    assert not stream.over


def test_an_upstream_that_is_not_there_is_told() -> None:
    settings = Settings(upstream_retries=1, upstream_connect_seconds=1)
    stream = CompletionStream(UpstreamClient(Address(url="http://127.0.0.1:1/v1"), settings), REQUEST)
    with pytest.raises(BelfryError, match="upstream_unreachable"):
        stream.take(5)
