"""A server that breaks a promise is found out by the whole suite: publishers, recorder and checker together."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from urllib.parse import urlsplit

import pytest

from tests.conftest import starting
from tests.faults.checker import Kind, Verdict
from tests.faults.conftest import StartBelfry
from tests.faults.site import QUICK
from tests.faults.traffic import Traffic
from tests.faulty_proxy import Answer, Asked, Fault, faulty_proxy
from tests.planted_faults import each_block, fits, without
from tests.servers import Belfry, RedisServer

AT = 12  # the message of each stream that the fault happens to
LINE = b'-batches-6"'  # to everyone
MESSAGES = 40
SETTLE_SECONDS = 30.0
NEVER_SECONDS = 1.0  # for what never comes
JSON = Message()
JSON["Content-Type"] = "application/problem+json"
CURSOR = re.compile(rb"id: (.*)\n")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def belfry(redis_server: RedisServer) -> Iterator[Belfry]:
    with starting(redis_server.url, **QUICK) as start:
        yield start()


def each_message(change: Callable[[int, bytes], bytes]) -> Fault:
    """Changes the messages of every stream, which are counted."""

    def blocks(_asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        number = 0
        for block in passing:
            if is_message(block):
                number += 1
                yield change(number, block)
            else:
                yield block

    return Fault(blocks=blocks)


def is_message(block: bytes) -> bool:
    """Whose type is the default one, and which has a place."""
    return b"id: " in block and b"event: " not in block


def swap_two_of_a_log() -> Fault:
    """One is held back until the next one of the same log has passed."""

    def blocks(_asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        before: list[bytes] = []
        held, place, number = b"", -1, 0
        for block in passing:
            if not is_message(block):
                before = cursor(block) or before
                yield block
                continue
            number += 1
            moved = [at for at, (one, other) in enumerate(zip(before, cursor(block), strict=True)) if one != other]
            before = cursor(block)
            if number == AT:
                held, (place,) = block, moved
            elif held and place in moved:
                yield block + held
                held = b""
            else:
                yield block

    return Fault(blocks=blocks)


def cursor(block: bytes) -> list[bytes]:
    found = CURSOR.search(block)
    return found[1].split(b"-") if found else []


def refuse_what_was_taken() -> Fault:
    """The store is said to be full, and has the message."""
    taken = 0

    def change(asked: Asked, answer: Answer) -> None:
        nonlocal taken
        if fits(asked, "POST", "/publish") and answer.status == 201:
            taken += 1
            answer.status = 507 if taken == AT else 201

    return Fault(answer=change)


def reverse_batches() -> Fault:
    """The last line of a batch is published first; each gets its own answer."""

    def ask(asked: Asked) -> None:
        if is_batch(asked):
            asked.body = backwards(asked.body)

    def answer(asked: Asked, answer: Answer) -> None:
        if is_batch(asked):
            answer.body = backwards(answer.body)

    return Fault(ask=ask, answer=answer)


def is_batch(asked: Asked) -> bool:
    return fits(asked, "POST", "/publish") and asked.headers.get_content_type() == "application/x-ndjson"


def backwards(text: bytes) -> bytes:
    return b"".join(reversed(text.splitlines(keepends=True)))


def instead_of_streams(after: int = 0, most: int = sys.maxsize) -> Fault:
    """Turns those away who come after so many others."""
    came = 0

    def answer(asked: Asked) -> Answer | None:
        nonlocal came
        came += asked.route == "/stream"
        turned = asked.route == "/stream" and after < came <= after + most
        return Answer(400, JSON, b'{"code": "bad_cursor"}') if turned else None

    return Fault(instead=answer)


def instead_of(text: bytes, answer: Answer) -> Fault:
    """Publishes nothing that contains it."""
    return Fault(instead=lambda asked: answer if fits(asked, "POST", "/publish") and text in asked.body else None)


PLANTED: dict[str, tuple[Callable[[], Fault], Kind]] = {
    "loses a message": (lambda: each_message(lambda number, block: b"" if number == AT else block), Kind.GAP),
    "doubles a message": (lambda: each_message(lambda number, block: block * (1 + (number == AT))), Kind.DOUBLED),
    "falls silent": (lambda: each_message(lambda number, block: block if number < AT else b""), Kind.LOST),
    "swaps two messages": (swap_two_of_a_log, Kind.INVERTED),
    "delivers what it refused": (refuse_what_was_taken, Kind.REFUSED),
    "loses a line of a batch": (lambda: each_block(lambda block: b"" if LINE in block else block), Kind.GAP),
    "turns a subscriber away": (lambda: instead_of_streams(most=1), Kind.TURNED_AWAY),
}


def judged(
    belfry: Belfry,
    fault: Fault,
    meanwhile: Callable[[Traffic], None] = lambda _traffic: None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Verdict:
    """What the records show of traffic through a server that does this."""
    with faulty_proxy(belfry.port, fault) as url:
        port = urlsplit(url).port
        assert port is not None
        with Traffic(belfry, users=2, tabs=1, port=port) as traffic:
            traffic.run(MESSAGES)
            meanwhile(traffic)
            traffic.run(MESSAGES)
            traffic.wait(lambda: traffic.book.answers["201"] > 2 * AT, what="single messages to be published as well")
            return traffic.finish(settle_seconds)


@pytest.mark.parametrize("name", PLANTED)
def test_the_suite_finds_a_server_that(belfry: Belfry, name: str) -> None:
    make, kind = PLANTED[name]
    verdict = judged(belfry, make(), settle_seconds=NEVER_SECONDS if kind is Kind.LOST else SETTLE_SECONDS)
    assert verdict.kinds == {kind}, verdict


def test_the_suite_finds_a_server_that_publishes_a_batch_in_another_order(belfry: Belfry) -> None:
    with pytest.raises(AssertionError, match="batches failed") as found:
        judged(belfry, reverse_batches())
    assert "offset" in str(found.value.__cause__)


def test_the_suite_finds_nothing_in_a_sound_one(belfry: Belfry) -> None:
    verdict = judged(belfry, Fault())
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_the_suite_finds_a_server_that_lets_somebody_never_in(belfry: Belfry) -> None:
    def come_late(traffic: Traffic) -> None:
        late = traffic.reader(traffic.users[0], "late")
        traffic.invite([late])
        traffic.wait(lambda: late.turned_away, what="the late one to be turned away")

    verdict = judged(belfry, instead_of_streams(after=2), come_late)
    assert verdict.kinds == {Kind.TURNED_AWAY}, verdict
    assert "no `ready` ever came" in [breach.subject for breach in verdict.breaches]


def test_the_suite_finds_a_server_that_takes_no_more_messages_at_the_end(belfry: Belfry) -> None:
    with pytest.raises(AssertionError, match="bad_ttl"):
        judged(belfry, instead_of(b"-checkpoint-", Answer(422, JSON, b'{"code": "bad_ttl"}')))


def test_the_suite_finds_a_message_that_is_never_answered(belfry: Belfry) -> None:
    def give_up(traffic: Traffic) -> None:
        traffic.wait(lambda: traffic.book.answers["503"], what="a message to be put off")
        traffic.publishers[0].sender.give_up()

    with pytest.raises(AssertionError, match=r"[1-9][0-9]* unknown"):
        judged(belfry, instead_of(b'-p0-12"', Answer(503, Message())), give_up)


@pytest.mark.parametrize("fault", [Fault(), without("reset")], ids=["sound", "silent"])
def test_the_suite_finds_a_server_that_tells_nobody_that_the_history_was_erased(
    start_belfry: StartBelfry, own_redis: RedisServer, fault: Fault
) -> None:
    def flush(traffic: Traffic) -> None:
        with traffic.erasing(), own_redis.client() as client:
            client.flushall()

    verdict = judged(start_belfry(), fault, flush)
    if fault == Fault():
        assert verdict.kept, verdict
        assert not verdict.untold
    else:
        assert Kind.INVERTED in verdict.kinds, verdict  # offsets begin anew
        assert len(verdict.untold) == verdict.subscribers
