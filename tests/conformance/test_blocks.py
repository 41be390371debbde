"""Blocks as they came, cut anywhere: what a decoder hides, a check has to see."""

from __future__ import annotations

import pytest

from app.conformance.blocks import Splitter

STREAM = b'retry: 5\nevent: ready\nid: a.1\ndata: {}\n\n: ping\n\ndata: "\xe2\x80\xa8"\n\nid: a.2\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_blocks_are_the_same_however_the_stream_was_cut(size: int, line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    splitter = Splitter()
    found = [block for at in range(0, len(stream), size) for block in splitter.feed(stream[at : at + size])]
    assert [(block.type, block.id, block.fields) for block in found] == [
        ("ready", "a.1", ["retry", "event", "id", "data"]),
        ("", "", [""]),
        ("message", "", ["data"]),
        ("", "", ["id"]),
    ]
    assert found[2].data == '"\u2028"'
    assert splitter.cursor == "a.2"


def test_an_id_counts_for_the_block_that_carries_it_alone() -> None:
    first, second = Splitter().feed(b"id: a.1\ndata: 1\n\ndata: 2\n\n")
    assert (first.id, second.id) == ("a.1", "")
    assert second.event is not None
    assert second.event.id == "a.1"


def test_half_a_block_is_none() -> None:
    splitter = Splitter()
    assert list(splitter.feed(b"id: a.1\ndata: 1\n")) == []
    assert splitter.cursor == ""
