"""Checks of a proxy, on streams whose every byte is given."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.conformance.checks.proxy import read_timeout
from app.conformance.probe import Options
from app.conformance.stream import Stream
from app.conformance.verdict import FailedError

READY = b"event: ready\ndata: {}\n\n"
HEARTBEAT = b"event: heartbeat\ndata: {}\n\n"


def probe_of(chunks: Sequence[bytes]) -> Any:
    """A probe whose only stream tells these chunks and ends."""
    left = [*chunks, b""]
    raw = SimpleNamespace(read1=lambda _size: left.pop(0))
    answer: Any = SimpleNamespace(raw=raw, headers={}, close=lambda: None)
    return SimpleNamespace(options=Options(silence=60), stream=lambda **_: Stream(answer, "prefix", 60))


@pytest.mark.parametrize("before", [[], [HEARTBEAT]], ids=["at once", "after the first heartbeat, which comes early"])
def test_a_silent_stream_that_ends_before_a_whole_interval_shows_a_read_timeout(before: list[bytes]) -> None:
    with pytest.raises(FailedError) as failure:
        read_timeout(probe_of([READY, *before]))
    assert failure.value.fault == "read_timeout"


@pytest.mark.parametrize("chunks", [[READY, HEARTBEAT, HEARTBEAT], [READY + HEARTBEAT + HEARTBEAT]])
def test_two_heartbeats_show_that_there_is_none(chunks: list[bytes]) -> None:
    assert "two heartbeats" in (read_timeout(probe_of(chunks)) or "")
