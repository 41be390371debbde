"""Who asks the same again is answered by what was found out for that very request, and for no other."""

from __future__ import annotations

from functools import partial

from app.realtime.parking import Answered
from app.realtime.regular import MISSES_MAX, Regular

Fields = list[tuple[str, str]]


def asked(token: str, body: bytes = b"{}") -> tuple[bytes, Fields]:
    head = f"POST /publish HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body, [("AUTHORIZATION", f"Bearer {token}"), ("CONTENT-LENGTH", str(len(body)))]


def answered(who: str, body: bytes) -> Answered | None:
    return who, "", body


def parse(regular: Regular, fields: Fields, who: str | None) -> None:
    """What the worker does with a request that gunicorn parsed, answered to `who`, or refused."""
    sent = regular.next_parsed()
    if who is not None:
        regular.offered = partial(answered, who)
        regular.learn(sent, fields)


def come(regular: Regular, token: str, who: str | None) -> str | None:
    """A request comes in; the status tells whose answer was repeated, None that gunicorn had to parse it."""
    sent, fields = asked(token)
    answer = regular.answer(sent)
    if answer is None:
        parse(regular, fields, who)
        return None
    return answer[0]


def test_the_third_of_the_same_is_answered_at_once() -> None:
    regular = Regular()
    parse(regular, asked("a")[1], "a")
    assert [come(regular, "a", "a") for _ in range(3)] == [None, "a", "a"]


def test_another_publisher_on_the_connection_is_never_taken_for_the_first() -> None:
    """As behind a proxy that sends many callers' requests over one connection."""
    regular = Regular()
    parse(regular, asked("a")[1], "a")
    for token in "aabbabaaabbb" * 3:
        assert come(regular, token, token) in (None, token)


def test_a_refused_request_is_not_known_by_the_next_one_that_is_answered() -> None:
    """`bad` came in and was refused; gunicorn read `a` by itself: what `a` may do says nothing of `bad`."""
    regular = Regular()
    parse(regular, asked("a")[1], "a")
    assert come(regular, "bad", None) is None
    parse(regular, asked("a")[1], "a")
    assert come(regular, "bad", None) is None


def test_heads_that_are_always_new_are_not_learned_for_ever() -> None:
    regular = Regular()
    parse(regular, asked("0")[1], "0")
    for number in range(MISSES_MAX):
        assert come(regular, str(number), str(number)) is None
    assert [come(regular, "x", "x") for _ in range(2)] == [None, None]
    # What is known still is, with the right it came with.
    assert come(regular, str(MISSES_MAX - 2), "") == str(MISSES_MAX - 2)


def test_a_failure_is_kept_for_flask() -> None:
    regular = Regular()
    failure = ZeroDivisionError()

    def fail(_: bytes) -> Answered | None:
        raise failure

    sent, fields = asked("a")
    assert regular.answer(sent) is None
    regular.offered = fail
    regular.learn(regular.next_parsed(), fields)
    assert regular.answer(sent) is None
    assert regular.failure is failure
    assert regular.next_parsed() == b""
