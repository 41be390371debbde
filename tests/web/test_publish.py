"""The lines of a batch: how they are told apart, and what a batch leaves to others."""

from __future__ import annotations

import gevent
import pytest

from app.core.errors import BelfryError
from app.core.message import Message
from app.core.settings import Settings
from app.realtime.auto_pipeline import AutoPipeline
from app.store.connection import Connection
from app.store.log import ROUND_TRIP_COMMANDS, SCRIPTS, LogStore
from app.store.publisher import Publisher
from app.store.recipients import Recipients
from app.web.publish import Batch, lines


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (b"{}\n{}", [b"{}", b"{}"]),
        (b" {} \r\n\n[]\n", [b"{} \r", b"[]"]),
        ('{"a":"\u2028\x85"}\n'.encode(), ['{"a":"\u2028\x85"}'.encode()]),
    ],
)
def test_only_a_line_feed_ends_a_line_and_blank_ones_do_not_count(text: bytes, found: list[bytes]) -> None:
    assert list(lines(text)) == found


def test_a_batch_of_bad_lines_gives_everybody_else_a_turn() -> None:
    settings = Settings(redis_url="redis://unused.invalid")
    commands = AutoPipeline(Connection.open(settings, SCRIPTS), 1.0, 1)
    store = LogStore(commands, settings)
    publisher = Publisher(store, Recipients(store, commands, settings))

    def refuse(_line: bytes) -> Message:
        raise BelfryError("malformed_json")

    others = gevent.spawn(lambda: None)
    groups = Batch(publisher.publish, refuse)._groups(iter([b"x"] * ROUND_TRIP_COMMANDS))
    assert not others.dead
    next(groups)
    assert others.dead
