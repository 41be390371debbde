"""Who asks the same again is answered by what was found out for that very request, and for no other."""

from __future__ import annotations

from functools import partial

import gevent
import pytest

from app.core.errors import BelfryError
from app.server.repeats import MISSES_MAX, RepeatedRequest
from app.server.sockets import Answered, Repeat

Fields = list[tuple[str, str]]
MOST = 100
SECONDS = 0.05


def asked(token: str, body: bytes = b"{}") -> tuple[bytes, Fields]:
    head = f"POST /publish HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body, [("AUTHORIZATION", f"Bearer {token}"), ("CONTENT-LENGTH", str(len(body)))]


def answered(who: str, body: bytes) -> Answered | None:
    return Answered(who, "", body)


def failed(error: Exception) -> Answered:
    assert isinstance(error, BelfryError)
    return Answered(error.code, "", b"", last=True)


def never(_: int) -> bytes:
    raise AssertionError("all of it came")


def known(token: str = "a") -> RepeatedRequest:
    """A connection over which the request of `token` was answered twice."""
    repeated = RepeatedRequest()
    parse(repeated, asked(token)[1], token)
    assert come(repeated, token, token) is None
    return repeated


def parse(repeated: RepeatedRequest, fields: Fields, who: str | None) -> None:
    """What the worker does with a request that gunicorn parsed, answered to `who`, or refused."""
    sent = repeated.next_parsed()
    if who is not None:
        repeated.offered = Repeat(partial(answered, who), failed, MOST, SECONDS)
        repeated.learn(sent, fields)


def come(repeated: RepeatedRequest, token: str, who: str | None) -> str | None:
    """A request comes in; the status tells whose answer was repeated, None that gunicorn had to parse it."""
    sent, fields = asked(token)
    answer = repeated.answer(sent, never)
    if answer is None:
        parse(repeated, fields, who)
        return None
    return answer[0]


def test_the_third_of_the_same_is_answered_at_once() -> None:
    repeated = RepeatedRequest()
    parse(repeated, asked("a")[1], "a")
    assert [come(repeated, "a", "a") for _ in range(3)] == [None, "a", "a"]


def test_another_publisher_on_the_connection_is_never_taken_for_the_first() -> None:
    """As behind a proxy that sends many callers' requests over one connection."""
    repeated = RepeatedRequest()
    parse(repeated, asked("a")[1], "a")
    for token in "aabbabaaabbb" * 3:
        assert come(repeated, token, token) in (None, token)


def test_a_refused_request_is_not_known_by_the_next_one_that_is_answered() -> None:
    """`bad` came in and was refused; gunicorn read `a` by itself: what `a` may do says nothing of `bad`."""
    repeated = RepeatedRequest()
    parse(repeated, asked("a")[1], "a")
    assert come(repeated, "bad", None) is None
    parse(repeated, asked("a")[1], "a")
    assert come(repeated, "bad", None) is None


def test_heads_that_are_always_new_are_not_learned_for_ever() -> None:
    repeated = RepeatedRequest()
    parse(repeated, asked("0")[1], "0")
    for number in range(MISSES_MAX):
        assert come(repeated, str(number), str(number)) is None
    assert [come(repeated, "x", "x") for _ in range(2)] == [None, None]
    # What is known still is, with the right it came with.
    assert come(repeated, str(MISSES_MAX - 2), "") == str(MISSES_MAX - 2)


def test_what_was_answered_is_not_kept() -> None:
    """A connection may be idle for long, and there may be thousands."""
    repeated = known()
    assert come(repeated, "a", "a") == "a"
    assert repeated.came == b""


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_body_that_comes_after_its_head_is_read_and_no_byte_more(at: int) -> None:
    repeated = known()
    sent, _ = asked("a", b"12345")
    split = len(sent) - 5 + at
    rest = iter([sent[split : split + 2], sent[split + 2 :]])
    wanted: list[int] = []

    def receive(size: int) -> bytes:
        wanted.append(size)
        return next(rest)

    assert repeated.answer(sent[:split], receive) == ("a", "", b"12345", False)
    assert wanted == [size for size in (5 - at, 3 - at) if size > 0]


@pytest.mark.parametrize("came", [b"", b"12"])
def test_what_a_client_sent_before_it_hung_up_is_left_to_gunicorn(came: bytes) -> None:
    repeated = known()
    sent, _ = asked("a", b"12345")
    rest = iter([came, b""])
    assert repeated.answer(sent[:-5], lambda _: next(rest)) is None
    assert repeated.came == sent[:-5] + came


def test_a_body_that_never_comes_is_given_up_and_the_client_is_told() -> None:
    repeated = known()
    sent, _ = asked("a", b"12345")

    def wait(_: int) -> bytes:
        gevent.sleep(10)
        raise AssertionError("nobody gave up")

    assert repeated.answer(sent[:-5], wait) == ("body_late", "", b"", True)
    assert repeated.came == b""


@pytest.mark.parametrize("sent", [asked("a", b"1" * (MOST + 1))[0], asked("a")[0] + b"P", asked("a")[0] * 2])
def test_a_body_that_is_too_long_and_what_follows_one_are_left_to_gunicorn(sent: bytes) -> None:
    repeated = known()
    assert repeated.answer(sent, never) is None
    assert repeated.came == sent
    assert come(repeated, "a", "a") == "a", "it is still known"
