"""A head is known again only where gunicorn's parser, asked again, would have read the very same request."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.server.repeats import KnownHead
from tests.examples import examples

LINES = ("POST /publish HTTP/1.1", "Host: localhost", "Authorization: Bearer a.b.c", "Content-Type: application/json")
BODY = b'{"to":"alice"}'


def head(*further: str, length: str = "14", name: str = "Content-Length: ") -> bytes:
    return "\r\n".join([*LINES, *further, f"{name}{length}", "", ""]).encode()


def parsed(sent: bytes) -> Request:
    """What gunicorn makes of it. Raises `ParseException`."""
    return Request(Config(), IterUnreader([sent]), ("192.0.2.1", 1))


def known(sent: bytes) -> KnownHead | None:
    return KnownHead.of(sent, parsed(sent).headers)


def test_the_same_head_with_bodies_of_other_lengths_is_known() -> None:
    found = known(head("X-Trace: 1") + BODY)
    assert found is not None
    for body in (b"", b"{", BODY, b"x" * 12_345):
        sent = head("X-Trace: 1", length=str(len(body))) + body
        assert found.body(sent) == (len(sent) - len(body), len(sent))


@pytest.mark.parametrize(
    "sent",
    [
        head()[:-1],
        head(length="+14") + BODY,
        head(length="-14") + BODY,
        head(length=" 14") + BODY,
        head(length="14 ") + BODY,
        head(length="1_4") + BODY,
        head(length="") + BODY,
        head(length="14, 14") + BODY,
        head(length="14\r\nContent-Length: 14") + BODY,
        head(length="14\r\nTransfer-Encoding: chunked") + BODY,
        head(length="00000014") + BODY,
        head("Authorization: Bearer d") + BODY,
        head().replace(b"publish", b"Publish") + BODY,
        head().replace(b"\r\n", b"\n") + BODY,
        b"\r\n" + head() + BODY,
        b"",
    ],
)
def test_anything_else_is_not(sent: bytes) -> None:
    found = known(head() + BODY)
    assert found is not None
    assert found.body(sent) is None


@pytest.mark.parametrize(
    "sent",
    [
        head("Expect: 100-continue") + BODY,
        head("X-Other: 1", name="Content-Length:\t") + BODY,
        "\r\n".join([*LINES, "Transfer-Encoding: chunked", "", ""]).encode() + b"e\r\n" + BODY + b"\r\n0\r\n\r\n",
        "\r\n".join([*LINES, "", ""]).encode(),
        # The length that a body holds is none of the head's.
        "\r\n".join([*LINES, "Transfer-Encoding: chunked", "", ""]).encode() + b"1\r\nContent-Length: 1\r\n",
    ],
)
def test_a_head_whose_body_ends_otherwise_is_never_known(sent: bytes) -> None:
    assert known(sent) is None


def test_a_head_is_known_only_by_what_was_parsed_from_it() -> None:
    assert KnownHead.of(head(), parsed(head(length="15")).headers) is None
    assert KnownHead.of(head()[:-4], parsed(head()).headers) is None


FIELD = st.sampled_from(
    ["Content-Length", "content-length", "Host", "Expect", "X", "Transfer-Encoding", "X_Y", "", " X"]
)
VALUE = st.text("0123456789, \t\r\n:chunked", max_size=12)
HEADS = st.lists(st.tuples(FIELD, st.sampled_from([":", ": ", ":  ", ""]), VALUE).map("".join), max_size=3).map(
    lambda fields: "\r\n".join(["POST /publish HTTP/1.1", "Host: x", *fields, "Content-Length: 2", "", ""]).encode()
)


@settings(max_examples=examples(400), deadline=None)
@given(first=HEADS, again=HEADS, length=st.text("0123456789 +-_\r\n", max_size=9), body=st.binary(max_size=8))
@example(first=head(length="2"), again=head(length="2"), length="4", body=b"xxxx")
def test_what_is_known_is_what_gunicorn_would_have_read(first: bytes, again: bytes, length: str, body: bytes) -> None:
    try:
        one = parsed(first + b"{}")
    except ParseException:
        return
    found = KnownHead.of(first + b"{}", one.headers)
    for sent in (first, again):
        text = sent.replace(b"Length: 2\r\n", b"Length: " + length.encode() + b"\r\n") + body
        span = found.body(text) if found is not None else None
        if span is not None:
            other = parsed(text)
            assert (other.method, other.uri, other.version) == (one.method, one.uri, one.version)
            assert without_length(other) == without_length(one)
            assert other.body is not None
            assert other.body.read() == text[slice(*span)]
            assert other.unreader.take_buffered() == text[span[1] :]


def without_length(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.headers if name != "CONTENT-LENGTH"]
