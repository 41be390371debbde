"""Requests and chunks of a completion: what passes, what is kept, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.completion import MODEL_MAX_CHARS, Answer, Body, Transcript, openai_error, parse, tokens_of
from app.core.errors import BelfryError

MESSAGES = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": MESSAGES} | fields).encode()


def sent(text: bytes, *, stream: bool) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(parse(text).body(stream=stream))
    return fields


def chunk(**delta: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta}]})


class TestARequest:
    def test_goes_upstream_with_fields_that_nobody_knows(self) -> None:
        assert sent(body(temperature=1, made_up={"a": [1]}), stream=False) == {
            "model": "m", "messages": MESSAGES, "temperature": 1, "made_up": {"a": [1]}, "stream": False,
        }  # fmt: skip

    def test_always_asks_for_usage_when_it_streams(self) -> None:
        options = sent(body(stream_options={"other": 1}), stream=True)["stream_options"]
        assert options == {"other": 1, "include_usage": True}

    def test_keeps_its_own_id_from_the_upstream_where_it_names_a_run(self) -> None:
        request = parse(body(id="run-1"), takes_id=True, key="other")
        assert (request.id, "id" in request.fields) == ("run-1", False)
        assert parse(body(), takes_id=True, key="other").id == "other"
        assert parse(body(id="theirs")).fields["id"] == "theirs"

    @pytest.mark.parametrize(
        "fields", [{"model": "m\ud800"}, {"messages": [{"role": "user", "content": "\udc00"}]}, {"\udfff": 1}]
    )
    def test_is_refused_with_half_of_a_pair(self, fields: dict[str, Any]) -> None:
        with pytest.raises(BelfryError, match="invalid_completion") as caught:
            parse(body(**fields))
        assert "lone surrogate U+D" in caught.value.detail
        assert parse(body(model="\U0001f514")).model == "\U0001f514"

    def test_has_the_same_digest_in_any_order_of_fields(self) -> None:
        first, second = parse(body(a=1, b=2)), parse(body(b=2, a=1))
        assert first.digest == second.digest
        assert first.digest != parse(body(a=1, b=3)).digest

    @pytest.mark.parametrize(
        ("messages", "title"),
        [
            (MESSAGES, "hi"),
            ([*MESSAGES, {"role": "assistant", "content": "yes?"}], "hi"),
            ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], "a"),
            ([{"role": "user", "content": " two\n lines " * 100}], ("two lines " * 12)),
            ([{"role": "system", "content": "x"}], ""),
            ([{"role": "user", "content": None}], ""),
        ],
    )
    def test_is_titled_by_what_the_user_said_last(self, messages: list[Any], title: str) -> None:
        assert parse(body(messages=messages)).title == title

    @pytest.mark.parametrize("run_id", ["a b", "ü", "x" * 65, 7, ["x"], "a/b", "{x}", "a\n"])
    def test_with_an_id_that_could_name_something_else_is_refused(self, run_id: Any) -> None:
        with pytest.raises(BelfryError, match="bad_run_id"):
            parse(body(id=run_id), takes_id=True)


def answer(*, wants_usage: bool = False, **options: Any) -> Answer:
    return Answer(wants_usage=wants_usage, **options)


def passed(data: str, judge: Answer | None = None, *, wants_usage: bool = False) -> list[str]:
    """What goes on of one event of a stream."""
    judge = judge or answer(wants_usage=wants_usage)
    pieces = Body("text/event-stream", 1_000_000).feed(f"data: {data}\n\n".encode(errors="surrogatepass"))
    return [chunk.text for piece in pieces for chunk in judge.take(piece)]


class TestAnAnswerThatPassesBy:
    def test_is_finished_when_a_choice_says_why(self) -> None:
        judge = answer()
        for data in (
            chunk(content="x"),
            '{"choices":[{"finish_reason":null}]}',
            '{"choices":[{"finish_reason":"null"}]}',
        ):
            passed(data, judge)
            assert not judge.finished
        passed('{"choices":[{"finish_reason":"stop"}]}', judge)
        assert judge.finished

    def test_shows_the_usage_chunk_only_to_who_asked_for_it(self) -> None:
        usage = '{"choices":[],"usage":{"total_tokens":5}}'
        for wanted in (True, False):
            judge = answer(wants_usage=wanted)
            assert passed(usage, judge) == ([usage] if wanted else [])
            assert judge.tokens == tokens_of(judge.usage) == 5

    def test_keeps_usage_that_comes_with_content(self) -> None:
        data = '{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"total_tokens":5}}'
        assert passed(data) == [data]

    def test_lies_on_one_line(self) -> None:
        assert passed('{\ndata: "choices": []\ndata: }') == ['{ "choices": [] }']

    def test_is_safe_in_a_stream(self) -> None:
        data = '{"choices":[{"index":0,"delta":{"content":"<p>\u2028"}}]}'
        assert passed(data) == [r'{"choices":[{"index":0,"delta":{"content":"\u003cp\u003e\u2028"}}]}']

    @pytest.mark.parametrize("data", ["{", '{"choices": [', "[" * 100_000])
    def test_is_refused_where_it_was_an_object_and_is_broken(self, data: str) -> None:
        with pytest.raises(BelfryError, match="upstream_malformed"):
            passed(f"{data}\n\ndata: [DONE]")

    @pytest.mark.parametrize("data", ["", "[]", "7", "nonsense", "null"])
    def test_leaves_out_what_is_no_object(self, data: str) -> None:
        assert passed(data) == []

    @pytest.mark.parametrize(
        ("error", "detail"), [({"message": "no", "code": 7}, "no"), ("no", "no"), ({"x": 1}, "mid-answer")]
    )
    def test_fails_with_what_the_upstream_said(self, error: Any, detail: str) -> None:
        with pytest.raises(BelfryError, match="upstream_failed") as caught:
            passed(json.dumps({"error": error}))
        assert detail in openai_error(caught.value)["error"]["message"]

    def test_counts_as_a_token_until_the_usage_is_told(self) -> None:
        judge = answer()
        for text in ("a", "b"):
            passed(chunk(content=text), judge)
        assert judge.tokens == 2
        assert judge.usage["estimated"]
        passed('{"choices":[],"usage":{"total_tokens":5}}', judge)
        assert judge.usage == {"total_tokens": 5}
        assert judge.tokens == 5

    def test_counts_by_its_length_where_it_comes_in_large_pieces(self) -> None:
        judge = answer(prompt_tokens=10)
        passed(chunk(content="x" * 400), judge)
        assert judge.tokens == 110

    def test_leaves_no_half_of_a_pair_in_what_is_kept_of_it(self) -> None:
        judge = answer()
        passed('{"choices":[],"usage":{"total_tokens":5,"x":["\\ud800"]}}', judge)
        assert judge.usage == {"total_tokens": 5, "x": ["?"]}
        for error in ({"message": "no \ud800", "code": 7}, "no \ud800"):
            with pytest.raises(BelfryError) as caught:
                passed(json.dumps({"error": error}))
            assert caught.value.detail == "no ?"
            assert openai_error(caught.value)["error"]["message"] == "no ?"


class TestATranscript:
    def test_puts_the_text_of_the_first_choice_together(self) -> None:
        transcript = Transcript()
        for data in (
            chunk(role="assistant", content=""),
            chunk(content="He"),
            '{"choices":[{"index":1,"delta":{"content":"other"}}]}',
            chunk(content=None),
            chunk(content="y"),
            '{"choices":[]}',
            '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}',
        ):
            transcript.add(data)
        assert (transcript.text, transcript.finish_reason, transcript.tool_calls) == ("Hey", "length", [])

    @pytest.mark.parametrize(
        "odd",
        [
            '{"choices":7}', '{"choices":{"a":1}}', '{"choices":[7,null,"x"]}', '{"choices":[{"delta":7}]}',
            '{"choices":[{"delta":{"content":[7],"tool_calls":7}}]}', '{"choices":[{"delta":{"tool_calls":[7]}}]}',
            '{"choices":[{"delta":{"tool_calls":[{"index":[],"function":7}]}}]}',
            '{"choices":[{"delta":{"tool_calls":[{"index":null,"function":{"name":7}}]}}]}',
        ],
    )  # fmt: skip
    def test_leaves_out_what_no_api_should_send(self, odd: str) -> None:
        transcript = Transcript()
        for data in (chunk(content="He"), odd, chunk(content="y")):
            transcript.add(data)
            (told,) = passed(data)
            for choice in json.loads(told)["choices"]:  # official clients read these without a check
                assert choice["index"] == 0
                assert isinstance(choice["delta"], dict)
        assert (transcript.text, transcript.finish_reason) == ("Hey", None)
        assert json.dumps(transcript.tool_calls)

    def test_merges_tool_calls_by_their_index(self) -> None:
        transcript = Transcript()
        for call in (
            {"index": 1, "id": "b", "type": "function", "function": {"name": "second", "arguments": ""}},
            {"index": 0, "id": "a", "type": "function", "function": {"name": "first", "arguments": "{"}},
            {"index": 0, "function": {"arguments": "}"}},
        ):
            transcript.add(chunk(tool_calls=[call]))
        assert [(call["id"], call["function"]) for call in transcript.tool_calls] == [
            ("a", {"name": "first", "arguments": "{}"}),
            ("b", {"name": "second", "arguments": ""}),
        ]


@pytest.mark.parametrize("usage", [None, 7, {}, {"total_tokens": "five"}, {"total_tokens": -5}, {"total_tokens": True}])
def test_a_usage_that_tells_nothing_counts_nothing(usage: object) -> None:
    assert tokens_of(usage) == 0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("token_missing", "authentication_error"),
        ("scope_missing", "permission_error"),
        ("rate_limited", "rate_limit_error"),
        ("invalid_completion", "invalid_request_error"),
        ("upstream_failed", "server_error"),
    ],
)
def test_an_error_has_openais_members(code: str, kind: str) -> None:
    error = openai_error(BelfryError(code, "Because."))["error"]
    assert error == {"message": "Because.", "type": kind, "param": None, "code": code}


def test_the_name_of_a_model_has_a_bound() -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert parse(json.dumps({"model": "m" * MODEL_MAX_CHARS, "messages": messages}).encode()).model
    with pytest.raises(BelfryError, match="model: expected at most 256 characters") as refusal:
        parse(json.dumps({"model": "m" * (MODEL_MAX_CHARS + 1), "messages": messages}).encode())
    assert (refusal.value.code, refusal.value.extra["param"]) == ("invalid_completion", "model")


@pytest.mark.parametrize("number", ["1e999", "-1e999", '[{"a":1e400}]'])
def test_a_number_that_no_json_can_repeat_is_refused(number: str) -> None:
    text = f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"x":{number}}}'
    with pytest.raises(BelfryError) as refusal:
        parse(text.encode())
    assert refusal.value.code == "malformed_json"


def test_the_title_of_a_long_question_is_its_beginning() -> None:
    question = " \n" * 2_000 + "word " * 500_000
    assert parse(body(messages=[{"role": "user", "content": question}])).title == ("word " * 24)
