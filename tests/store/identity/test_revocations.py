"""Withdrawals in the store: every reader gets each once, in order, from where it stands."""

from __future__ import annotations

import pytest
import redis

from app.core.identity.revocation import RevocationKind
from app.core.settings import Settings
from app.store.identity import revocations
from app.store.identity.revocations import Revocations, StreamPositions
from app.store.keys import Keys
from app.transport.connection import Connection


@pytest.fixture
def store(connection: Connection, settings: Settings) -> Revocations:
    return Revocations(connection, settings)


def test_what_was_withdrawn_is_read_once_and_in_order(store: Revocations) -> None:
    store.revoke(RevocationKind.USER, "alice", 10.5)
    store.revoke(RevocationKind.TOKEN, "t1", 11.0)
    found, place, more = store.after(StreamPositions())
    assert [(each.kind, each.name, each.at) for each in found] == [
        (RevocationKind.USER, "alice", 10.5),
        (RevocationKind.TOKEN, "t1", 11.0),
    ]
    assert not more
    assert store.after(place) == ([], place, False)
    store.revoke(RevocationKind.USER, "bob", 12.0)
    assert [each.name for each in store.after(place)[0]] == ["bob"]


def test_a_long_list_comes_in_pages(store: Revocations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "PAGE_ENTRIES", 2)
    for name in "abcde":
        store.revoke(RevocationKind.USER, name, 1.0)
    place, more, names = StreamPositions(), True, []
    while more:
        found, place, more = store.after(place)
        names += [each.name for each in found]
    assert names == list("abcde")


def everything(store: Revocations) -> dict[str, float]:
    return {each.name: each.at for page in store.remembered() for each in page}


def test_the_lists_end_some_day(store: Revocations, client: redis.Redis, settings: Settings) -> None:
    store.revoke(RevocationKind.USER, "alice", 1.0)
    lives = [client.ttl(key) for key in client.keys("*")]
    assert len(lives) == 2
    assert all(0 < seconds <= settings.revocation_seconds for seconds in lives)


def test_as_many_withdrawals_are_remembered_as_there_are(
    store: Revocations, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "KEPT_ENTRIES", 10)
    monkeypatch.setattr(revocations, "PAGE_ENTRIES", 100)
    for number in range(500):
        store.revoke(RevocationKind.USER, f"user-{number}", 1_000.0 + number)
    assert client.xlen(Keys("belfry").revoked) < 300  # Redis trims whole nodes of a hundred
    assert everything(store) == {f"user-{number}": 1_000.0 + number for number in range(500)}


def test_a_name_that_is_withdrawn_again_takes_no_further_room_and_keeps_its_latest_time(
    store: Revocations, client: redis.Redis
) -> None:
    for at in (10.0, 30.0, 20.0):
        store.revoke(RevocationKind.USER, "alice", at)
    store.revoke(RevocationKind.TOKEN, "alice", 1.0)
    assert client.zcard(Keys("belfry").withdrawn) == 2
    assert sorted((each.kind.value, each.at) for page in store.remembered() for each in page) == [
        ("token", 1.0),
        ("user", 30.0),
    ]


def test_a_withdrawal_is_dropped_after_its_time(store: Revocations, settings: Settings) -> None:
    store.revoke(RevocationKind.USER, "alice", 1_000.0)
    store.revoke(RevocationKind.USER, "bob", 1_000.0 + settings.revocation_seconds)
    assert set(everything(store)) == {"alice", "bob"}
    store.revoke(RevocationKind.USER, "carol", 1_001.0 + settings.revocation_seconds)
    assert set(everything(store)) == {"bob", "carol"}


def test_a_reader_whose_place_was_trimmed_away_is_sent_back_to_the_start(
    store: Revocations, client: redis.Redis
) -> None:
    store.revoke(RevocationKind.USER, "alice", 1.0)
    _, place, _ = store.after(StreamPositions())
    store.revoke(RevocationKind.USER, "bob", 2.0)
    client.xtrim(Keys("belfry").revoked, maxlen=1, approximate=False)
    assert store.after(place) == ([], StreamPositions(), True)
    client.delete(Keys("belfry").revoked)
    assert store.after(place) == ([], StreamPositions(), True)


def test_what_a_former_version_wrote_to_the_stream_alone_is_remembered_too(
    store: Revocations, client: redis.Redis
) -> None:
    client.xadd(Keys("belfry").revoked, {"kind": "user", "name": "a:b", "at": 7.5})
    store.after(StreamPositions())
    assert everything(store) == {"a:b": 7.5}
