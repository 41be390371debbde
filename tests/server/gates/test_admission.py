"""The queue has a length in seconds, learned from the pace under load; nobody is refused while there is none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from app.core.errors import BelfryError
from app.core.message import Message
from app.server.gates.admission import FIRST_GUESS_SECONDS, MANY, Admission, MemoryBudget
from app.store.logs.publisher import Posted, Published

WAIT_SECONDS = 0.1
ASKED = (
    ("POST", "/publish"), ("POST", "/%70ubl%69sh"), ("POST", "/mounted/publish"),
    ("HEAD", "/publish"), ("OPTIONS", "/publish"), ("GET", "/feed"), ("POST", "/feed/read"),
)  # fmt: skip
REFUSED = [True] * 3 + [False] * 4


class Worker:
    """A publisher that works on messages one after the other, `seconds_each` on each; a clock that it alone moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seconds_each = 0.0
        self.admission = Admission(self, WAIT_SECONDS, lambda: self.now)
        self.crowd = 0
        self.most = 0

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """Those of a crowd enter one by one, each while the ones before it wait, and leave in the reverse order."""
        self.crowd -= 1
        if self.crowd > 0 and self.admission.is_open:
            self.most += 1
            self.admission.publish(messages)
        self.now += self.seconds_each
        return []

    def post(self, messages: Sequence[Message]) -> Posted:
        return partial(self.publish, messages)

    def admitted(self, seconds_each: float, crowd: int = 10_000) -> int:
        """How many of a crowd that comes at once are let in."""
        self.seconds_each, self.crowd, self.most = seconds_each, crowd, 1
        self.admission.publish([])
        return self.most


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_crowd_that_nothing_is_known_of_is_let_in_up_to_a_guess(worker: Worker) -> None:
    assert worker.admitted(0.0) == pytest.approx(WAIT_SECONDS / FIRST_GUESS_SECONDS, abs=1)


@pytest.mark.parametrize("seconds_each", [0.001, 0.002, 0.004])
def test_under_load_as_many_are_let_in_as_are_served_in_time(worker: Worker, seconds_each: float) -> None:
    worker.admitted(seconds_each)
    assert worker.admitted(seconds_each) == pytest.approx(WAIT_SECONDS / seconds_each, rel=0.1)
    assert worker.admitted(seconds_each) * seconds_each <= 1.1 * WAIT_SECONDS


def test_a_few_are_let_in_however_slow_the_store_is(worker: Worker) -> None:
    worker.admitted(5.0, MANY)
    assert worker.admitted(5.0) == MANY


def test_a_slow_store_is_forgotten_when_the_load_is_over(worker: Worker) -> None:
    worker.admitted(5.0, MANY)
    worker.now += 60
    worker.admitted(0.001, 1)
    assert worker.admitted(0.0) == pytest.approx(WAIT_SECONDS / FIRST_GUESS_SECONDS, abs=1)


def test_one_publisher_after_the_other_teaches_nothing(worker: Worker) -> None:
    """However long each takes, a store that answers all at once would serve a crowd in that time."""
    for _ in range(100):
        worker.admitted(0.05, 1)
    assert worker.admitted(0.0) == pytest.approx(WAIT_SECONDS / FIRST_GUESS_SECONDS, abs=1)


def test_only_publishing_is_refused(worker: Worker) -> None:
    asked: list[list[bool]] = []

    class Store:
        def publish(self, messages: Sequence[Message]) -> list[Published]:  # noqa: ARG002 - it only stands in the way
            if not asked or not asked[-1][0]:
                asked.append([admission.refuses(*each) for each in ASKED])
                admission.publish([])
            return []

        def post(self, messages: Sequence[Message]) -> Posted:
            return partial(self.publish, messages)

    admission = Admission(Store(), WAIT_SECONDS, lambda: worker.now)
    admission.publish([])
    assert asked[0] == [False] * len(ASKED)
    assert asked[-1] == REFUSED, "the refusal lies ready for a POST alone: a HEAD has no body"
    assert not admission.refuses("POST", "/publish"), "all have left"


def test_what_was_posted_is_inside_until_it_was_asked_for(worker: Worker) -> None:
    worker.crowd = 1
    posted = [worker.admission.post([]) for _ in range(MANY)]
    worker.admission._seconds_each = 2 * WAIT_SECONDS
    assert not worker.admission.is_open
    for ask in posted:
        ask()
    assert worker.admission.is_open


def test_what_could_not_be_posted_is_not_inside(worker: Worker) -> None:
    def refuse(_messages: Sequence[Message]) -> Posted:
        raise BelfryError("overloaded")

    worker.post = refuse  # type: ignore[assignment,method-assign]  # as a store that takes nothing more
    for _ in range(MANY):
        with pytest.raises(BelfryError, match="overloaded"):
            worker.admission.post([])
    worker.admission._seconds_each = 2 * WAIT_SECONDS
    assert worker.admission.is_open


def test_batches_share_the_room_and_give_it_back() -> None:
    room = MemoryBudget(100)
    first, second, third = room.place(60), room.place(40), room.place(100)
    first.grow(60)
    second.grow(40)
    for place in (third, first):
        with pytest.raises(BelfryError, match="overloaded") as refused:
            place.grow(1)
        assert refused.value.headers["Retry-After"] == "1"
    first.leave()
    first.leave()  # gives back nothing that it doesn't have
    third.grow(60)
    with pytest.raises(BelfryError, match="overloaded"):
        second.grow(1)


def test_what_is_only_announced_takes_nothing() -> None:
    room = MemoryBudget(100)
    for _ in range(1_000):
        room.place(100)
    room.place(100).grow(100)


def test_what_would_not_fit_beside_what_came_is_refused_at_the_door() -> None:
    room = MemoryBudget(100)
    room.place(60).grow(50)
    room.place(50)
    with pytest.raises(BelfryError, match="overloaded"):
        room.place(51)


def test_a_batch_larger_than_the_room_is_let_in_alone() -> None:
    room = MemoryBudget(100)
    large, small = room.place(100), room.place(1)
    for _ in range(10):
        large.grow(100)
    with pytest.raises(BelfryError, match="overloaded"):
        small.grow(1)
    large.leave()
    small.grow(1_000)
