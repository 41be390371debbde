"""A worker that stops takes no completions on, and sees to those that it was taking on."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event
from pydantic import ValidationError

from app.core.completion import parse
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstreams
from app.live.runs.relay import ACTIVE_RENEWAL_SECONDS, Relay
from app.store.runs.runs import LOST, Ending, RunName

NAME = RunName("alice", "r1")
REQUEST = parse(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')


class Store:
    """Answers late."""

    def __init__(self) -> None:
        self.asked, self.go = Event(), Event()
        self.released: list[tuple[object, ...]] = []
        self.starts = False
        self.taken_back: list[RunName] = []
        self.ends: list[tuple[RunName, Ending]] = []

    def start(self, *_: object) -> bool:
        self.asked.set()
        self.go.wait()
        return self.starts

    def admit(self, *_: object) -> None:
        self.start()

    def take_back(self, name: RunName) -> None:
        self.taken_back.append(name)

    def end(self, name: RunName, ending: Ending) -> None:
        self.ends.append((name, ending))

    def release(self, *of: object) -> None:
        self.released.append(of)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def relay(store: Store) -> Relay:
    return make_relay(store, 60)


def make_relay(store: Store, drain_seconds: float) -> Relay:
    settings = Settings(
        redis_url="redis://unused.invalid", upstream_url="http://unused.invalid", drain_seconds=drain_seconds
    )
    kept: Any = store
    unused: Any = None
    return Relay(kept, unused, Upstreams(settings), unused, settings)


def test_no_setting_lets_a_run_under_way_expire_before_it_was_renewed_twice() -> None:
    with pytest.raises(ValidationError):
        Settings(redis_url="redis://unused.invalid", run_seconds=int(2 * ACTIVE_RENEWAL_SECONDS))


def test_who_drains_waits_for_a_run_that_the_store_is_asked_to_start(relay: Relay, store: Store) -> None:
    beginning = gevent.spawn(relay.begin, NAME, REQUEST)
    assert store.asked.wait(60)
    drain = gevent.spawn(relay.drain)
    drain.join(0.2)
    assert not drain.ready()
    store.go.set()
    beginning.join(60)
    drain.join(60)
    assert (beginning.value, drain.ready()) == (False, True)


def test_after_that_nothing_is_begun(relay: Relay, store: Store) -> None:
    relay.drain()
    for begin in (lambda: relay.begin(NAME, REQUEST), lambda: relay.admit(NAME)):
        with pytest.raises(BelfryError) as refusal:
            begin()
        assert (refusal.value.code, refusal.value.headers) == ("shutting_down", {"Retry-After": "5"})
    assert not store.asked.is_set()


def test_who_drains_waits_for_what_the_store_is_asked_to_admit(relay: Relay, store: Store) -> None:
    admitting = gevent.spawn(relay.admit, NAME)
    assert store.asked.wait(60)
    drain = gevent.spawn(relay.drain)
    drain.join(0.2)
    assert not drain.ready()
    store.go.set()
    admitting.get(timeout=60)
    drain.join(0.2)
    assert not drain.ready(), "it passes through now"
    relay.release(NAME, 3)
    relay.release(NAME, 3)
    drain.join(60)
    assert (drain.ready(), store.released) == (True, [("alice", "r1", 3)])


def test_what_the_store_admits_when_the_time_is_over_is_released_and_refused(store: Store) -> None:
    relay = make_relay(store, 0.1)

    def refused() -> BelfryError:
        with pytest.raises(BelfryError) as refusal:
            relay.admit(NAME)
        return refusal.value

    admitting = gevent.spawn(refused)
    assert store.asked.wait(60)
    relay.drain()
    store.go.set()
    assert admitting.get(timeout=60).code == "shutting_down"
    assert store.released == [("alice", "r1", 0)]


def test_a_run_that_the_store_starts_when_the_time_is_over_is_taken_back_and_refused(store: Store) -> None:
    """Nobody would produce it: it ended as `producer_lost` where the client can simply ask again."""
    relay = make_relay(store, 0.1)
    store.starts = True

    def refused() -> BelfryError:
        with pytest.raises(BelfryError) as refusal:
            relay.begin(NAME, REQUEST)
        return refusal.value

    beginning = gevent.spawn(refused)
    assert store.asked.wait(60)
    relay.drain()
    store.go.set()
    error = beginning.get(timeout=60)
    assert (error.code, error.status, error.headers) == ("shutting_down", 503, {"Retry-After": "5"})
    assert (store.taken_back, len(relay)) == ([NAME], 0)


def test_a_question_that_the_store_keeps_when_the_time_is_over_is_told_as_kept_and_failed(store: Store) -> None:
    """A refusal would be wrong: the question is in its conversation, and a client would ask it again."""
    relay = make_relay(store, 0.1)
    store.starts = True
    asked: Any = object()
    beginning = gevent.spawn(relay.begin, NAME, REQUEST, asked)
    assert store.asked.wait(60)
    relay.drain()
    store.go.set()
    assert beginning.get(timeout=60) is True
    assert (store.ends, store.taken_back, len(relay)) == ([(NAME, LOST)], [], 0)
    assert not relay.is_producing(NAME), "the answer to the client does not call it running"
