"""A merged chunk says what all of its chunks said, wherever a viewer begins and wherever pages of history end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.completion import Body, Piece, Transcript
from app.core.completion.answer import Answer
from app.core.completion.forms import Gathered
from app.core.completion.snapshot import Snapshot
from app.core.errors import BelfryError
from app.core.log.cursor import Position, parse
from app.core.wire.sse import Decoder
from tests.habits import HABITS

LIMIT = 1_048_576


def record(chunk: dict[str, Any]) -> bytes:
    return b"message " + json.dumps(chunk, separators=(",", ":")).encode()


def chunk(delta: dict[str, Any], index: int = 0, **others: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, **others.pop("choice", {})}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **others}


def blocks_of(records: list[bytes], *, after: int = 0, pages: int = 1_000, limit: int = LIMIT) -> bytes:
    """What a viewer gets of the records after the offset `after`, if it reads them in pages."""
    snapshot = Snapshot(limit)
    found = b""
    for offset, each in enumerate(records[after:], after + 1):
        found += snapshot.take(Position("e", offset), each)
        if offset % pages == 0:
            found += snapshot.flush()
    return found + snapshot.flush()


def events_of(blocks: bytes) -> list[tuple[int, str, str]]:
    """The offset, type and data of each event."""
    return [(parse(event.id)[0].offset, event.event, event.data) for event in Decoder().feed(blocks)]


def state_of(datas: list[str]) -> tuple[object, ...]:
    """All that a reader knows after these chunks."""
    transcript, gathered = Transcript(), Gathered()
    usage = None
    for data in datas:
        value = json.loads(data)
        transcript.add(data)
        gathered.add(Piece(data, value))
        usage = value.get("usage") or usage
    seen = transcript.text, transcript.refusal, transcript.reasoning, transcript.tool_calls, transcript.finish_reason
    return (*seen, json.loads(gathered.text(usage or {})))


def plain(records: list[bytes]) -> list[str]:
    return [each.partition(b" ")[2].decode() for each in records]


TEXTS = st.text(max_size=8)
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({}, optional={"name": st.sampled_from(["f", "g", ""]), "arguments": TEXTS})},
    optional={
        "index": st.sampled_from([0, 1, None]),
        "id": st.sampled_from(["a", "b", ""]),
        "type": st.just("function"),
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.one_of(TEXTS, st.none(), st.just([{"type": "text", "text": "part"}])),
        "refusal": st.one_of(TEXTS, st.none()),
        "reasoning_content": TEXTS,
        "reasoning": TEXTS,
        "tool_calls": st.lists(CALLS, min_size=1, max_size=3),
        "annotations": st.lists(st.integers(), max_size=2),
        "unknown": st.one_of(TEXTS, st.integers(), st.none()),
    },
)
CHOICES = st.fixed_dictionaries(
    {"delta": DELTAS},
    optional={
        "index": st.integers(0, 2),
        "finish_reason": st.sampled_from([None, "null", "stop", "length"]),
        "logprobs": st.one_of(st.none(), st.just({"content": [{"token": "a", "logprob": -0.1}]})),
        "stop_reason": st.sampled_from([None, 7]),
    },
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=2)},
    optional={
        "id": st.just("c1"),
        "model": st.sampled_from(["m", "n"]),
        "usage": st.sampled_from([None, {"total": 5}]),
    },
)


@given(st.lists(CHUNKS, max_size=12), st.integers(1, 6), st.sampled_from([1, 10, LIMIT]))
def test_a_viewer_ends_in_the_same_state_from_wherever_it_begins(
    chunks: list[dict[str, Any]], pages: int, limit: int
) -> None:
    records = [record(each) for each in chunks]
    for after in range(len(records) + 1):
        events = events_of(blocks_of(records, after=after, pages=pages, limit=limit))
        assert state_of([data for _, _, data in events]) == state_of(plain(records[after:]))


@example(
    chunks=[
        {"choices": []},
        chunk(
            {
                "tool_calls": [
                    {"index": 0, "function": {"arguments": ""}},
                    {"function": {"name": "f"}},
                    {"index": 0, "function": {"name": "", "arguments": "0"}},
                ]
            }
        ),
    ],
    pages=2,
)
@given(st.lists(CHUNKS, min_size=1, max_size=12), st.integers(1, 6))
def test_each_event_is_a_place_to_resume_from(chunks: list[dict[str, Any]], pages: int) -> None:
    records = [record(each) for each in chunks]
    events = events_of(blocks_of(records, pages=pages))
    assert events[-1][0] == len(records)
    for place, (offset, _, _) in enumerate(events):
        rest = events_of(blocks_of(records, after=offset))
        before = [data for _, _, data in events[: place + 1]]
        assert state_of([*before, *[data for _, _, data in rest]]) == state_of(plain(records))


def chunks_of_habit(habit: Any) -> list[bytes]:
    answer, body, found = Answer(choices=habit.choices), Body(habit.type, LIMIT), []
    try:
        for piece in [*body.feed(habit.body), *body.end()]:
            found += [b"message " + part.text.encode() for part in answer.take(piece)]
    except BelfryError:
        pass
    return found


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)
def test_what_upstreams_really_send_is_merged_without_a_loss(habit: Any) -> None:
    records = chunks_of_habit(habit)
    for after in range(len(records) + 1):
        events = events_of(blocks_of(records, after=after))
        assert state_of([data for _, _, data in events]) == state_of(plain(records[after:]))


def test_a_usual_answer_is_one_event() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"q"'}}
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm"}),
        *[chunk({"content": word}) for word in ("Hello ", "wörld")],
        chunk({"refusal": "no"}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [more]}),
        chunk({"tool_calls": [more]}),
        chunk({}, choice={"finish_reason": "stop"}),
        {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": {"total_tokens": 5}},
    ]
    ((offset, kind, data),) = events_of(blocks_of([record(each) for each in chunks]))
    assert (offset, kind) == (len(chunks), "message")
    merged = {**call, "function": {"name": "f", "arguments": '{"q"{"q"'}}
    delta = {"role": "assistant", "content": "Hello wörld", "reasoning_content": "Hm", "refusal": "no"}
    choice = {"index": 0, "delta": {**delta, "tool_calls": [merged]}, "finish_reason": "stop"}
    head = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "usage": {"total_tokens": 5}}
    assert json.loads(data) == {**head, "choices": [choice]}


@pytest.mark.parametrize("more", [{"id": "b"}, {"function": {"name": "g", "arguments": "{}"}}])
def test_two_calls_with_one_index_stay_two(more: dict[str, Any]) -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    second = {"index": 0, "function": {"arguments": "{}"}, **more}
    records = [record(chunk({"tool_calls": [call]})) for call in (first, second)]
    ((_, _, data),) = events_of(blocks_of(records))
    assert len(json.loads(data)["choices"][0]["delta"]["tool_calls"]) == 2


def test_one_chunk_alone_stays_as_it_is() -> None:
    only = b'message {"choices": [{"index":0,"delta":{"content":"a"}}], "odd" : 1.0}'
    ((_, _, data),) = events_of(blocks_of([only]))
    assert data == only.decode().partition(" ")[2]


def test_what_tells_the_end_stays_behind_the_chunks_before_it() -> None:
    records = [record(chunk({"content": "a"})), record(chunk({"content": "b"})), b"stopped {}", b"message [DONE]"]
    events = events_of(blocks_of(records))
    assert [(offset, kind) for offset, kind, _ in events] == [(2, "message"), (3, "stopped"), (4, "message")]
    assert state_of([events[0][2]])[0] == "ab"


def test_an_event_has_as_much_text_as_the_limit_and_one_chunk_more() -> None:
    records = [record(chunk({"content": "x" * 100})) for _ in range(100)]
    events = events_of(blocks_of(records, limit=1_000))
    sizes = [len(str(state_of([data])[0])) for _, _, data in events]
    assert sum(sizes) == 10_000
    assert max(sizes) == 1_000


def test_a_merged_answer_costs_little_more_than_its_text() -> None:
    text = "A belfry is the part of a tower. "
    records = [record(chunk({"content": text})) for _ in range(10_000)]
    assert len(blocks_of(records)) < 1.1 * len(text) * 10_000
