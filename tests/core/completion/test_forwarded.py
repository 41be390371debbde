"""Requests that pass as they are: the model is found, the tokens are estimated, and the body stays."""

from __future__ import annotations

from functools import partial

import pytest

from app.core.completion import parse_forwarded
from app.core.completion.form import MAX_PARTS, fields_of, with_field
from app.core.errors import BelfryError
from tests.hostile import growth

FORM = 'multipart/form-data; charset=utf-8; boundary="xYz"'


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FILE = part("file", b"RIFF\r\n--xY\r\n--xYzz\r\n\0", '; filename="a.wav"\r\nContent-Type: audio/wav')
END = b"--xYz--\r\n"


def refusal(content_type: str, body: bytes, model: str = "") -> str:
    with pytest.raises(BelfryError) as caught:
        parse_forwarded("/x", content_type, body, model=model)
    assert caught.value.status == 400
    return caught.value.detail


@pytest.mark.parametrize(
    "body",
    [part("model", b"m") + FILE + END, FILE + part("model", b"m") + END, b"preamble\r\n" + part("model", b"m") + END],
)
def test_the_model_of_a_form_is_found_wherever_it_stands(body: bytes) -> None:
    asked = parse_forwarded("/audio/transcriptions", FORM, body)
    assert (asked.model, asked.body, asked.content_type) == ("m", body, FORM)


def test_a_file_is_no_field() -> None:
    assert fields_of(FORM, FILE + END) == {}
    assert fields_of(FORM, part("model", b"m", '; filename="m"') + END) == {}


def test_the_model_of_an_address_is_added_where_the_body_has_none() -> None:
    with_model = parse_forwarded("/x", FORM, FILE + END, model="m")
    assert fields_of(FORM, with_model.body) == {"model": ["m"]}
    assert with_model.body.endswith(FILE + END)
    assert parse_forwarded("/x", "", b'{"input":"a"}', model="m").body == b'{"input": "a", "model": "m"}'
    assert "as in the address" in refusal("application/json", b'{"model":"other"}', "m")


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("multipart/form-data", FILE + END, "boundary"),
        (FORM, b"", "last boundary"),
        (FORM, FILE, "last boundary"),
        (FORM, part("model", b"a") + part("model", b"b") + END, "expected one"),
        (FORM, part("x", b"") * (MAX_PARTS + 1) + END, f"at most {MAX_PARTS} parts"),
        (FORM, part("model", b"m" * 300) + END, "at most 256 characters"),
        ("application/json", b"[]", "one JSON object"),
        ("", b'{"model":7}', "a name"),
        ("", b"{", "JSON"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(content_type: str, body: bytes, told: str) -> None:
    assert told in refusal(content_type, body)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b'{"input":"12345678"}', 2),
        (b'{"input":["12345678","a"]}', 3),
        (b'{"input":[[1,2,3],[4]]}', 4),
        (b'{"prompt":"1234","suffix":"1234"}', 2),
        (b'{"input":[{"type":"text","text":"12345678"}]}', 2),
        (b"{}", 0),
    ],
)
def test_what_is_asked_is_estimated(text: bytes, tokens: int) -> None:
    assert parse_forwarded("/x", "application/json", text).prompt_tokens == tokens


@pytest.mark.parametrize("atom", [b"\r\n--xYz", b"--xYz\r\n", b"\r\n\r\n", b"\r\n--xYz\r\na:", b";name=", b"-", b"\r"])
def test_a_form_is_read_in_time_proportional_to_its_length(atom: bytes) -> None:
    def read(size: int) -> object:
        return fields_of(FORM, b"--xYz" + atom * (size // len(atom)) + b"\r\n--xYz--")

    few, many = growth.seconds(partial(read, 500_000)), growth.seconds(partial(read, 2_000_000))
    assert many < growth.CHEAP_SECONDS or many < growth.GROWTH_MAX * few


def test_a_field_is_added_before_all_others() -> None:
    assert fields_of(FORM, with_field(FORM, part("a", b"1") + END, "model", "m")) == {"model": ["m"], "a": ["1"]}
