"""A worker's copy of what was withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import fakeredis
import gevent
import pytest

from app.core.errors import BelfryError
from app.core.identity.revocation import RevocationKind, Revoked
from app.core.identity.tokens import Claims
from app.core.settings import Settings
from app.live.identity import revocation_watch
from app.live.identity.revocation_watch import ENDED_KEPT_SECONDS, RevocationWatch
from app.store.identity.revocations import Revocations, ended
from app.store.keys import Keys
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
    store.revoke(RevocationKind.USER, "alice", 1_000.5)
    assert watch.covers(ALICE)


def test_what_is_withdrawn_later_is_heard_of_by_itself(
    store: Revocations, watch: RevocationWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_watch, "POLL_SECONDS", 0.01)
    heard: list[Revoked] = []
    watch.listeners.append(heard.append)
    assert not watch.covers(ALICE)
    store.revoke(RevocationKind.TOKEN, "t1", 1_000.5)
    with gevent.Timeout(60):
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


def claims(user: str) -> Claims:
    return replace(ALICE, user=user)


def test_old_and_new_workers_agree_however_much_was_withdrawn(
    store: Revocations, watch: RevocationWatch, redis: fakeredis.FakeRedis
) -> None:
    users = [f"user-{number}" for number in range(50)]
    watch.read()
    for user in users:
        store.revoke(RevocationKind.USER, user, 1_000.5)
    watch.read()
    redis.xtrim(Keys("belfry").revoked, maxlen=1, approximate=False)  # as many others would
    new = RevocationWatch(store, clock=lambda: 1_001.0)
    new.read()
    for each in (watch, new):
        assert all(each.covers(claims(user)) for user in users)
    new.stop()


def test_a_worker_that_missed_withdrawals_takes_in_all_and_tells_of_them(
    store: Revocations, watch: RevocationWatch, redis: fakeredis.FakeRedis
) -> None:
    store.revoke(RevocationKind.USER, "first", 1_000.0)
    watch.read()
    heard: list[Revoked] = []
    watch.listeners.append(heard.append)
    for user in ("alice", "bob", "carol"):
        store.revoke(RevocationKind.USER, user, 1_000.5)
    redis.xtrim(Keys("belfry").revoked, maxlen=1, approximate=False)
    watch.read()
    assert all(any(fresh.covers(claims(user)) for fresh in heard) for user in ("alice", "bob", "carol"))


def test_a_withdrawal_is_forgotten_after_its_time_in_whatever_order_it_was_read(store: Revocations) -> None:
    kept = Settings().revocation_seconds
    for user, at in (("zoe", 500.0), ("alice", 1_000.5), ("bob", 400.0)):
        store.revoke(RevocationKind.USER, user, at)
    later = RevocationWatch(store, clock=lambda: 600.0 + kept)
    later.read()
    assert later.covers(ALICE)
    assert not later.covers(replace(claims("zoe"), issued_at=1.0))
    assert not later.covers(replace(claims("bob"), issued_at=1.0))
    later.stop()


def test_an_ended_session_is_forgotten_long_before_a_withdrawal(store: Revocations) -> None:
    """A client that begins and ends sessions without a pause fills no memory."""
    now = 1_000.0
    watch = RevocationWatch(store, clock=lambda: now)
    keys = Keys("belfry")
    store._commands.run(ended(keys, "s1", now))
    store.revoke(RevocationKind.TOKEN, "t1", now)
    watch.read()
    assert len(watch._revoked) == 2
    now += ENDED_KEPT_SECONDS - 1
    watch.read()
    assert len(watch._revoked) == 2
    now += 2
    watch.read()
    assert len(watch._revoked) == 1
    assert watch._revoked.covers(ALICE)


@pytest.mark.parametrize("lost", ["withdrawn", "all"])
def test_withdrawals_that_the_store_lost_are_put_back_for_workers_that_start_later(
    redis: fakeredis.FakeRedis,
    store: Revocations,
    watch: RevocationWatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lost: str,
) -> None:
    monkeypatch.setattr(revocation_watch, "COMPARE_SECONDS", 0.0)
    store.revoke(RevocationKind.USER, "alice", 1_000.5)
    store.revoke(RevocationKind.TOKEN, "t9", 1_000.6)
    assert watch.covers(ALICE)
    redis.flushall() if lost == "all" else redis.delete(Keys("belfry").withdrawn)
    late = RevocationWatch(store, clock=lambda: 1_001.0)
    watch.read()
    assert late.covers(ALICE)
    late.stop()
    assert late.covers(replace(ALICE, user="bob", token_id="t9"))
    late.stop()
    assert "lost 2 of 2 withdrawals" in caplog.text
    caplog.clear()
    watch.read()
    assert not caplog.text


def test_a_running_worker_hears_of_withdrawals_that_another_one_put_back(
    redis: fakeredis.FakeRedis, store: Revocations, watch: RevocationWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover: one worker had read the withdrawal, and the other had not."""
    monkeypatch.setattr(revocation_watch, "COMPARE_SECONDS", 0.0)
    other = RevocationWatch(store, clock=lambda: 1_001.0)
    store.revoke(RevocationKind.USER, "carol", 1_000.1)
    other.read()
    store.revoke(RevocationKind.USER, "alice", 1_000.5)
    watch.read()
    redis.flushall()
    other.read()
    watch.read()
    other.read()
    assert other.covers(ALICE)
    other.stop()


def test_a_withdrawal_that_is_about_to_expire_is_not_missed(
    redis: fakeredis.FakeRedis, store: Revocations, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revocation_watch, "COMPARE_SECONDS", 0.0)
    kept_seconds = store.kept_seconds[RevocationKind.USER]
    watch = RevocationWatch(store, clock=lambda: 1_000.0 + kept_seconds - 1)
    store.revoke(RevocationKind.USER, "alice", 1_000.0)
    watch.read()
    redis.flushall()
    watch.read()
    assert not redis.exists(Keys("belfry").withdrawn)
    assert not caplog.text
