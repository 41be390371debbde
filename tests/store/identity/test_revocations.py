"""Withdrawals in the store: every reader gets each once, in order, from where it stands."""

from __future__ import annotations

import pytest
import redis

from app.core.identity.revocation import Kind
from app.core.settings import Settings
from app.store.identity import revocations
from app.store.identity.revocations import Place, Revocations
from app.transport.connection import Connection


@pytest.fixture
def store(connection: Connection, settings: Settings) -> Revocations:
    return Revocations(connection, settings)


def test_what_was_withdrawn_is_read_once_and_in_order(store: Revocations) -> None:
    store.revoke(Kind.USER, "alice", 10.5)
    store.revoke(Kind.TOKEN, "t1", 11.0)
    found, place, more = store.after(Place())
    assert [(each.kind, each.name, each.at) for each in found] == [(Kind.USER, "alice", 10.5), (Kind.TOKEN, "t1", 11.0)]
    assert not more
    assert store.after(place) == ([], place, False)
    store.revoke(Kind.USER, "bob", 12.0)
    assert [each.name for each in store.after(place)[0]] == ["bob"]


def test_a_long_list_comes_in_pages(store: Revocations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "PAGE_ENTRIES", 2)
    for name in "abcde":
        store.revoke(Kind.USER, name, 1.0)
    place, more, names = Place(), True, []
    while more:
        found, place, more = store.after(place)
        names += [each.name for each in found]
    assert names == list("abcde")


def test_the_lists_end_some_day(store: Revocations, client: redis.Redis, settings: Settings) -> None:
    store.revoke(Kind.USER, "alice", 1.0)
    (key,) = client.keys("*")
    assert 0 < client.ttl(key) <= settings.revocation_seconds
