"""The lines of a batch: how they are told apart, and what a batch leaves to others."""

from __future__ import annotations

import json
from collections.abc import Sequence

import gevent
import pytest
from gevent.event import Event

from app.core.errors import BelfryError
from app.core.log.cursor import Position
from app.core.message import Message, parse
from app.core.settings import Settings
from app.live import turns
from app.store.logs.log import SCRIPTS, Appended, LogStore, Status
from app.store.logs.publisher import Posted, Published, Publisher
from app.store.logs.recipients import Recipients
from app.transport.auto_pipeline import AutoPipeline
from app.transport.connection import Connection, SilentError
from app.web.api.publish import (
    GROUP_BYTES,
    GROUPS_UNDER_WAY,
    LINES_PER_GROUP,
    REFUSALS_TOLD,
    PublishBatch,
    lines,
    new_id,
)


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


def test_the_refusals_of_a_batch_are_told_in_full_at_first_and_then_in_short() -> None:
    def refuse(_line: bytes) -> Message:
        raise BelfryError("malformed_json", "x" * 300)

    bell, count = Bell(), 10 * LINES_PER_GROUP
    for answered in bell.answered:
        answered.set()
    told = [
        json.loads(line) for line in b"".join(PublishBatch(bell, refuse).results(iter([b"x"] * count))).splitlines()
    ]
    assert len(told) == count
    assert {len(each) for each in told[:REFUSALS_TOLD]} == {5}
    assert told[REFUSALS_TOLD:] == [{"status": 400, "code": "malformed_json"}] * (count - REFUSALS_TOLD)


def test_a_batch_of_bad_lines_gives_everybody_else_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SLICE_SECONDS", 0)
    settings = Settings(redis_url="redis://unused.invalid")
    commands = AutoPipeline(Connection.open(settings, SCRIPTS).dedicated, 1.0, 1)
    store = LogStore(commands, settings)
    publisher = Publisher(store, Recipients(store, commands, settings))

    def refuse(_line: bytes) -> Message:
        raise BelfryError("malformed_json")

    others = gevent.spawn(lambda: None)
    groups = PublishBatch(publisher, refuse)._groups(iter([b"x"]))
    assert not others.dead
    next(groups)
    assert others.dead


class Bell:
    """A publisher that answers a group when it is told to, and fails where it is to."""

    def __init__(self) -> None:
        self.posted: list[list[str]] = []
        self.answered = [Event() for _ in range(20)]
        self.refused: dict[int, str] = {}  # group → "post" or "answer", the step that fails

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        return self.post(messages)()

    def post(self, messages: Sequence[Message]) -> Posted:
        number = len(self.posted)
        self.posted.append([message.id for message in messages])
        if self.refused.get(number) == "post":
            raise BelfryError("overloaded")

        def answer() -> list[Published]:
            self.answered[number].wait()
            if self.refused.get(number) == "answer":
                raise BelfryError("store_unavailable")
            if self.refused.get(number) == "silence":
                raise SilentError("store_unavailable")
            appended = Appended(Status.APPENDED, Position("e", 1), online=False)
            return [Published(message, (appended,) * len(message.logs)) for message in messages]

        return answer


@pytest.fixture
def bell() -> Bell:
    return Bell()


def read(line: bytes) -> Message:
    return parse(line, now=1.0, new_id="", max_recipients=1_000)


def line_of(number: int, **fields: object) -> bytes:
    return json.dumps({"to": "alice", "id": f"{number}", **fields}).encode()


class TestGroups:
    """Of a batch."""

    def test_two_are_under_way_and_no_more(self, bell: Bell) -> None:
        texts = iter([line_of(number) for number in range(5 * LINES_PER_GROUP)])
        results = PublishBatch(bell, read).results(texts)
        first = gevent.spawn(next, results)
        with gevent.Timeout(60):
            while len(bell.posted) < GROUPS_UNDER_WAY:
                gevent.sleep(0)
        for _ in range(100):
            gevent.sleep(0)
        assert len(bell.posted) == GROUPS_UNDER_WAY
        bell.answered[1].set()
        assert not first.ready()
        bell.answered[0].set()
        assert first.get(timeout=60).count(b"\n") == LINES_PER_GROUP
        for answered in bell.answered:
            answered.set()
        assert sum(result.count(b"\n") for result in results) == 4 * LINES_PER_GROUP
        posted = [message_id for group in bell.posted for message_id in group]
        assert posted == [f"{number}" for number in range(5 * LINES_PER_GROUP)]

    @pytest.mark.parametrize("step", ["post", "answer"])
    def test_one_that_fails_is_answered_so_and_the_next_one_goes_on(self, bell: Bell, step: str) -> None:
        bell.refused[0] = step
        for answered in bell.answered:
            answered.set()
        texts = [line_of(number) for number in range(2 * LINES_PER_GROUP)]
        told = [json.loads(line) for line in b"".join(PublishBatch(bell, read).results(iter(texts))).splitlines()]
        assert [result["id"] for result in told] == [f"{number}" for number in range(2 * LINES_PER_GROUP)]
        assert {result["status"] for result in told[:LINES_PER_GROUP]} == {503}
        assert {result["status"] for result in told[LINES_PER_GROUP:]} == {201}

    def test_after_a_silence_of_the_store_the_rest_is_refused_each_line_by_itself_and_not_posted(
        self, bell: Bell
    ) -> None:
        bell.refused[2] = "silence"
        for answered in bell.answered:
            answered.set()
        texts = [line_of(number) for number in range(15 * LINES_PER_GROUP)]
        texts[-2] = b"{"
        told = [json.loads(line) for line in b"".join(PublishBatch(bell, read).results(iter(texts))).splitlines()]
        assert [result.get("id") for result in told] == [
            None if number == len(texts) - 2 else f"{number}" for number in range(len(texts))
        ]
        assert {result["status"] for result in told[: 2 * LINES_PER_GROUP]} == {201}
        assert {result["code"] for result in told[4 * LINES_PER_GROUP : -2]} == {"store_unavailable"}
        assert [result["code"] for result in told[-2:]] == ["malformed_json", "store_unavailable"]
        assert len(bell.posted) <= 4, "what was under way"

    def test_a_line_that_takes_more_than_a_round_trip_is_alone(self, bell: Bell) -> None:
        """Its further round trips may overtake the first one, so nothing else is to be among them."""
        many = [f"user-{number}" for number in range(LINES_PER_GROUP + 1)]
        groups = PublishBatch(bell, read)._groups(iter([line_of(0), line_of(1, to=many), line_of(2), line_of(3)]))
        assert [len(group) for group in groups] == [1, 1, 2]

    def test_one_holds_a_megabyte_and_a_line(self, bell: Bell) -> None:
        texts = [line_of(number, body="x" * 60_000) for number in range(40)]
        groups = list(PublishBatch(bell, read)._groups(iter(texts)))
        sizes = [sum(len(item.record) for item in group if isinstance(item, Message)) for group in groups]
        assert len(groups) == 3
        assert max(sizes) < GROUP_BYTES + 66_000


def test_ids_that_are_made_here_are_all_different_and_have_96_bits() -> None:
    made = [new_id() for _ in range(1_000)]
    assert len(set(made)) == len(made)
    assert {len(bytes.fromhex(each)) for each in made} == {12}
