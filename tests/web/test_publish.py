"""The lines of a batch: how they are told apart, and what a batch leaves to others."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cursor import Position
from app.core.errors import BelfryError
from app.core.frames import compact
from app.core.message import Message, parse
from app.core.settings import Settings
from app.realtime.auto_pipeline import AutoPipeline
from app.store.connection import Connection
from app.store.log import ROUND_TRIP_COMMANDS, SCRIPTS, Appended, LogStore, Status
from app.store.publisher import Published, Publisher
from app.store.recipients import Recipients
from app.web.publish import Batch, line, lines, result


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


OUTCOMES = st.builds(
    Appended, st.sampled_from(Status), st.builds(Position, st.just("abcdef"), st.integers(0, 3)), st.booleans()
)
TARGETS: tuple[dict[str, Any], ...] = (
    {"to": "alice"},
    {"to": ['"quoted"', "back\\slash", "\N{SNOWMAN}\N{BELL}"]},
    {"topic": "news"},
    {"everyone": True},
)


@given(st.sampled_from(TARGETS), st.lists(OUTCOMES, min_size=3, max_size=3))
def test_a_line_written_by_hand_is_the_result_to_the_byte(target: dict[str, Any], outcomes: list[Appended]) -> None:
    body = json.dumps({**target, "title": "t"}).encode()
    message = parse(body, now=0.0, new_id="a.b:c-d_1", max_recipients=3)
    published = Published(message, tuple(outcomes[: len(message.logs)]))
    assert line(published) == compact(result(published)) + "\n"
