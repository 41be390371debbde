"""Every habit of upstreams, read as one piece and byte by byte: the same pieces, whatever the network makes of them."""

from __future__ import annotations

import json

import pytest

from app.core.completion import Answer, Body, Gathered
from app.core.completion.body import TORN_MAX
from app.core.completion.coding import decoded
from app.core.errors import BelfryError
from tests.habits import HABITS, Habit

OF_HTTP = ("br", "more headers than anybody takes")  # what never reaches the reader
READ = [habit for habit in HABITS if habit.head == 200 and not habit.hangs and habit.name not in OF_HTTP]


def outcome(habit: Habit, size: int) -> tuple[list[str], str]:
    """The chunks of a stream, and the code of the error that ends it."""
    body = b"".join(decoded([habit.body], habit.headers.get("Content-Encoding", "")))
    reader, answer = Body(habit.type, 1_000_000), Answer(choices=habit.choices)
    chunks: list[str] = []
    try:
        for at in range(0, len(body), size):
            for piece in reader.feed(body[at : at + size]):
                chunks += [chunk.text for chunk in answer.take(piece)]
        for piece in reader.end():
            chunks += [chunk.text for chunk in answer.take(piece)]
        chunks += [chunk.text for chunk in answer.finish(reader.noise, was_cut=habit.cut)]
    except BelfryError as error:
        return chunks, error.code
    return chunks, ""


@pytest.mark.parametrize("habit", READ, ids=lambda habit: habit.name)
def test_bytes_may_be_split_anywhere(habit: Habit) -> None:
    chunks, code = outcome(habit, 1_000_000)
    assert bool(code) == habit.fails
    assert all("\n" not in chunk and isinstance(json.loads(chunk), dict) for chunk in chunks)
    for size in (1, 7):
        assert outcome(habit, size) == (chunks, code)


@pytest.mark.parametrize("body", [b"data: " + b"x" * 2_000, b"data: {\n" * 400, b'{"a":"' + b"x" * 2_000])
def test_what_never_ends_is_given_up(body: bytes) -> None:
    reader = Body("text/event-stream", 1_000)

    def feed() -> None:
        for _ in range(4):
            list(reader.feed(body))

    with pytest.raises(BelfryError, match="answer_too_large"):
        feed()


def test_a_body_of_one_message_is_a_whole_answer_although_it_has_no_kind_and_no_reason() -> None:
    reader, answer = Body("application/json", 1_000), Answer()
    list(reader.feed(b'{"choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":null}]}'))
    chunks = [chunk.value["choices"][0] for piece in reader.end() for chunk in answer.take(piece)]
    assert [(each["delta"].get("content"), each["finish_reason"]) for each in chunks] == [("a", None), (None, "stop")]
    assert list(answer.finish("", was_cut=False)) == []


def test_counts_that_are_no_whole_numbers_are_written_as_such() -> None:
    usage = '{"prompt_tokens":5.0,"completion_tokens":1}'
    text = f'{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}'
    reader, gathered = Body("application/json", 1_000), Gathered()
    list(reader.feed(text.encode()))
    for piece in reader.end():
        gathered.whole(piece)
    assert '"prompt_tokens":5,' in gathered.text({})


@pytest.mark.parametrize("index", ["0.0", "false"])
def test_an_index_that_only_equals_a_number_is_written_as_one(index: str) -> None:
    (piece,) = Body("text/event-stream", 1_000).feed(
        b'data: {"choices":[{"index":%b,"delta":{}}]}\n\n' % index.encode()
    )
    (shown,) = Answer().take(piece)
    assert '"index":0,' in shown.text


def test_an_object_can_be_torn_into_a_few_parts_only() -> None:
    reader = Body("text/event-stream", 1_000_000)
    part = b'data: {"a":"b","c":[\n\n'
    for _ in range(1 + TORN_MAX):
        assert not list(reader.feed(part))
    with pytest.raises(BelfryError, match="upstream_malformed"):
        list(reader.feed(part))


def test_a_whole_answer_stays_as_the_upstream_sent_it() -> None:
    text = '{ "choices" : [ {"message":{"content":"<b> \\u00fc"},"finish_reason":"stop"} ], "more": 1 }'
    reader, gathered = Body("application/json", 1_000), Gathered()
    list(reader.feed(text.encode()))
    for piece in reader.end():
        gathered.whole(piece)
    assert gathered.text({}) == text
