"""A worker's copy of what was withdrawn."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import gevent
import pytest

from app.core.errors import BelfryError
from app.core.identity.revocation import Kind, Revoked
from app.core.identity.tokens import Claims
from app.core.settings import Settings
from app.live.identity import revocation_watch
from app.live.identity.revocation_watch import RevocationWatch
from app.store.identity.revocations import Revocations
from app.transport.connection import Connection

ALICE = Claims("alice", frozenset(), (), None, 2_000.0, "t1", issued_at=1_000.0)


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as fake:
        yield fake


@pytest.fixture
def store(redis: fakeredis.FakeRedis) -> Revocations:
    return Revocations(Connection(redis, ()), Settings())


@pytest.fixture
def watch(store: Revocations) -> Iterator[RevocationWatch]:
    watch = RevocationWatch(store, clock=lambda: 1_001.0)
    yield watch
    watch.stop()


def test_what_was_withdrawn_before_the_worker_started_counts_at_once(
    store: Revocations, watch: RevocationWatch
) -> None:
    store.revoke(Kind.USER, "alice", 1_000.5)
    assert watch.covers(ALICE)


def test_what_is_withdrawn_later_is_heard_of_by_itself(
    store: Revocations, watch: RevocationWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_watch, "POLL_SECONDS", 0.01)
    heard: list[Revoked] = []
    watch.listeners.append(heard.append)
    assert not watch.covers(ALICE)
    store.revoke(Kind.TOKEN, "t1", 1_000.5)
    with gevent.Timeout(5):
        while not heard:
            gevent.sleep(0.01)
    assert heard[0].covers(ALICE)
    assert watch.covers(ALICE)


def test_nobody_is_let_in_before_the_list_could_be_read() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    with fakeredis.FakeRedis(server=server) as redis:
        watch = RevocationWatch(Revocations(Connection(redis, ()), Settings()), clock=lambda: 1_001.0)
        with pytest.raises(BelfryError) as refused:
            watch.covers(ALICE)
        assert refused.value.code == "store_unavailable"
        server.connected = True
        assert not watch.covers(ALICE)
        watch.stop()
