"""What a client sent as JSON is read, or refused with the reason that helps."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib

import pytest

from app.core import completion, message
from app.core.errors import BelfryError
from app.core.log import change
from app.core.wire.strict_json import DEPTH_MAX, read

REFUSED = {
    "compressed by gzip": (gzip.compress(b'{"to":"a"}'), "unsupported_media_type", "gzip"),
    "compressed by deflate": (zlib.compress(b'{"to":"a"}'), "unsupported_media_type", "deflate"),
    "compressed by deflate, quickly": (zlib.compress(b'{"to":"a"}', 5), "unsupported_media_type", "deflate"),
    "compressed by bzip2": (bz2.compress(b'{"to":"a"}'), "unsupported_media_type", "bzip2"),
    "compressed by xz": (lzma.compress(b'{"to":"a"}'), "unsupported_media_type", "xz"),
    "a UTF-8 mark": (b'\xef\xbb\xbf{"to":"a"}', "malformed_json", "leave out the first three bytes"),
    "UTF-16": ('{"to":"a"}'.encode("utf-16"), "malformed_json", "got UTF-16: encode the text as UTF-8"),
    "UTF-16 without a mark": ('{"to":"a"}'.encode("utf-16-le"), "malformed_json", "got UTF-16"),
    "UTF-16, big-endian": ('{"to":"a"}'.encode("utf-16-be"), "malformed_json", "got UTF-16"),
    "UTF-32": ('{"to":"a"}'.encode("utf-32"), "malformed_json", "got UTF-32"),
    "UTF-32 without a mark": ('{"to":"a"}'.encode("utf-32-be"), "malformed_json", "got UTF-32"),
    "half a pair, escaped": (b'{"title":"\\ud83d"}', "malformed_json", "surrogate U+D83D"),
    "the other half": (b'{"title":"x\\uDE00y"}', "malformed_json", "surrogate U+DE00"),
    "a half before a letter": (b'{"title":"\\ud83dx"}', "malformed_json", "surrogate U+D83D"),
    "a half before another": (b'{"title":"\\ud83d\\ud83d\\ude00"}', "malformed_json", "surrogate U+D83D"),
    "half a pair as bytes": (b'{"title":"\xed\xa0\xbd"}', "malformed_json", "UTF-8"),
    "a member twice": (b'{"to":"alice","to":"bob"}', "malformed_json", '"to"'),
    "a member twice, deeper": (b'{"to":"a","data":[{"x":1,"y":2,"x":1}]}', "malformed_json", '"x"'),
    "a member twice, escaped": (b'{"to":"alice","t\\u006f":"bob"}', "malformed_json", '"to"'),
    "too deep": (b"[" * (DEPTH_MAX + 1) + b"1" + b"]" * (DEPTH_MAX + 1), "malformed_json", str(DEPTH_MAX)),
    "far too deep": (b'{"a":' * 50_000, "malformed_json", str(DEPTH_MAX)),
    "NaN": (b"[NaN]", "malformed_json", "a number that JSON does not have: send null or a string"),
    "minus infinity": (b'{"a":[-Infinity]}', "malformed_json", "a number that JSON does not have"),
    "Python's None": (b'{"to":"a",\n "data":None}', "malformed_json", "write null"),
    "Python's True": (b'{"transient":True}', "malformed_json", "write true"),
    "single quotes": (b"{'to':'a'}", "malformed_json", "double quotes"),
    "a name without quotes": (b'{to:"a"}', "malformed_json", "a name without quotes"),
    "a comment": (b'{"to":"a" /* x */}', "malformed_json", "a comment"),
    "a comment of a line": (b'{\n  // to whom\n  "to":"a"}', "malformed_json", "a comment"),
    "a form": (b"to=alice&body=Hello+you", "malformed_json", "a form (name=value)"),
    "a form with several parts": (
        b'--x\r\nContent-Disposition: form-data; name="to"\r\n\r\nalice\r\n--x--\r\n',
        "malformed_json",
        "multipart/form-data",
    ),
    "a page": (b"<!doctype html><p>", "malformed_json", "got HTML or XML"),
    "XML": (b"<?xml version='1.0'?><a/>", "malformed_json", "got HTML or XML"),
    "a text sequence": (b'\x1e{"to":"a"}\n', "malformed_json", "RFC 7464"),
    "an event": (b'data: {"to":"a"}\n\n', "malformed_json", "a stream of events"),
    "zip": (b"PK\x03\x04\x00", "unsupported_media_type", "zip"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "malformed_json", "no text"),
    "MessagePack": (b"\x82\xa2to\xa5alice", "malformed_json", "no text"),
    "nothing": (b"", "malformed_json", "an empty body"),
    "blanks": (b" \r\n", "malformed_json", "an empty body"),
    "two objects": (b'{"to":"a"}\n{"to":"b"}\n', "malformed_json", "application/x-ndjson"),
    "the first line of an object": (b'{"to":"a",', "malformed_json", "a line of NDJSON is a whole object"),
    "a long name twice": (b'{"%b":1,"%b":1}' % (b"x" * 9_000, b"x" * 9_000), "malformed_json", "column"),
}


@pytest.mark.parametrize(("text", "code", "told"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_what_came(text: bytes, code: str, told: str) -> None:
    with pytest.raises(BelfryError) as caught:
        read(text)
    assert caught.value.code == code
    assert told in caught.value.detail
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    "value", [{}, {"a": {"a": {"a": 1}}}, ["\U0001f600", "\\ud83d"], 10**40, 0.1, [None, True], {"": ""}]
)
def test_what_is_json_is_read_as_python_reads_it(value: object) -> None:
    for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        assert read(text) == json.loads(text)


def test_the_deepest_that_is_taken_can_be_written_again() -> None:
    deep = b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1)
    body = b'{"to":"a","data":' + deep + b"}"
    assert deep in message.parse(body, now=0.0, new_id="x", max_recipients=1).record
    asked = completion.parse(b'{"model":"m","messages":[{}],"x":' + deep + b"}")
    assert json.loads(asked.body(stream=True))["x"] == json.loads(deep)


@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 958, 5_000])
def test_a_deeper_completion_is_refused(depth: int) -> None:
    text = b'{"model":"m","messages":[{}],"x":' + b"[" * depth + b"1" + b"]" * depth + b"}"
    with pytest.raises(BelfryError, match="malformed_json"):
        completion.parse(text)


@pytest.mark.parametrize("value", [1, 1.0, "true", False, 0, [True]])
def test_only_true_is_true(value: object) -> None:
    """1 == True in Python, and in what checks a `Literal[True]`."""
    with pytest.raises(BelfryError, match="invalid_message"):
        message.parse(json.dumps({"everyone": value}).encode(), now=0.0, new_id="x", max_recipients=1)
    with pytest.raises(BelfryError, match="invalid_change"):
        change.parse_read(json.dumps({"all": value}).encode())


def test_true_is_true() -> None:
    assert message.parse(b'{"everyone":true}', now=0.0, new_id="x", max_recipients=1).logs == ("everyone",)
    assert change.parse_read(b'{"all":true}').ids is None


@pytest.mark.parametrize("name", ["transient", "everyone"])
def test_a_number_is_no_yes(name: str) -> None:
    with pytest.raises(BelfryError, match="invalid_message"):
        message.parse(json.dumps({"to": "a", name: 1}).encode(), now=0.0, new_id="x", max_recipients=1)


def test_the_options_of_a_completion_are_told_by_true_and_false() -> None:
    for options in ({"include_usage": 1}, {"include_usage": "no"}):
        with pytest.raises(BelfryError, match="include_usage"):
            completion.parse(json.dumps({"model": "m", "messages": [{}], "stream_options": options}).encode())
