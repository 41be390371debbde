"""What a withdrawal covers, and how long it is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.identity.revocation import Revocation, RevocationKind, Revoked
from app.core.identity.tokens import Claims

ALICE = Claims("alice", frozenset({"feed"}), (), None, 2_000.0, "t1", issued_at=1_000.0, session="s1")


@pytest.mark.parametrize(
    "revocation",
    [
        Revocation(RevocationKind.USER, "alice", 1_000.5),
        Revocation(RevocationKind.TOKEN, "t1", 0),
        Revocation(RevocationKind.SESSION, "s1", 0),
    ],
    ids=str,
)
def test_a_credential_is_covered_by_its_user_its_token_and_its_session(revocation: Revocation) -> None:
    assert Revoked([revocation]).covers(ALICE)


@pytest.mark.parametrize(
    "revocation",
    [
        Revocation(RevocationKind.USER, "bob", 1_000.5),
        Revocation(RevocationKind.TOKEN, "alice", 0),
        Revocation(RevocationKind.SESSION, "t1", 0),
    ],
    ids=str,
)
def test_a_credential_is_not_covered_by_what_names_something_else(revocation: Revocation) -> None:
    assert not Revoked([revocation]).covers(ALICE)


def test_what_is_issued_after_a_user_was_withdrawn_counts_again() -> None:
    revoked = Revoked([Revocation(RevocationKind.USER, "alice", 1_000.0)])
    assert revoked.covers(ALICE)
    assert not revoked.covers(replace(ALICE, issued_at=1_001.0))


def test_a_token_that_does_not_say_when_it_was_issued_is_covered_by_its_user() -> None:
    assert Revoked([Revocation(RevocationKind.USER, "alice", 1.0)]).covers(replace(ALICE, issued_at=0.0))


@pytest.mark.parametrize("moments", [(900.0, 1_100.0), (1_100.0, 900.0)], ids=["in order", "in no order, as a SCAN"])
def test_a_later_withdrawal_of_the_same_user_counts_from_then(moments: tuple[float, float]) -> None:
    revoked = Revoked([Revocation(RevocationKind.USER, "alice", at) for at in moments])
    assert revoked.covers(ALICE)
    assert len(revoked) == 1


def test_the_withdrawn_is_forgotten_kind_by_kind_once_it_has_expired_anyway() -> None:
    revoked = Revoked(
        [
            Revocation(RevocationKind.USER, "alice", 10.0),
            Revocation(RevocationKind.USER, "bob", 20.0),
            Revocation(RevocationKind.SESSION, "s1", 10.0),
        ]
    )
    revoked.forget(RevocationKind.USER, 15.0)
    assert len(revoked) == 2
    assert not revoked.covers(replace(ALICE, session=""))
    assert revoked.covers(ALICE)


def test_a_token_without_a_session_is_covered_by_the_end_of_none() -> None:
    assert not Revoked([Revocation(RevocationKind.SESSION, "s2", 1.0)]).covers(replace(ALICE, session=""))


def test_a_user_who_was_withdrawn_under_another_spelling_is_withdrawn() -> None:
    revoked = Revoked([Revocation(RevocationKind.USER, "Jo\u0308rg", 100.0)])
    assert revoked.covers(Claims("J\u00f6rg", frozenset(), (), None, 900.0, "t", issued_at=99.0))


def test_the_reason_names_what_was_withdrawn_and_what_the_token_lacks() -> None:
    revoked = Revoked([Revocation(RevocationKind.USER, "alice", 1_500.0)])
    assert "until 1970-01-01T00:25:00" in revoked.reason(ALICE)
    assert "issued at 1970-01-01T00:16:40" in revoked.reason(ALICE)
    assert "has no 'iat'" in revoked.reason(replace(ALICE, issued_at=0.0))
    assert "token was withdrawn" in Revoked([Revocation(RevocationKind.TOKEN, "t1", 0)]).reason(ALICE)
    assert "session was ended" in Revoked([Revocation(RevocationKind.SESSION, "s1", 0)]).reason(ALICE)
    assert not Revoked().reason(ALICE)
