"""Whom a run acts as: users of its own where it can sign, else whom the given tokens name."""

from __future__ import annotations

import jwt
import pytest

from app.conformance.credentials import GivenCredentials, SignedCredentials
from app.conformance.verdict import SkippedError


def token(user: str, scope: str) -> str:
    return jwt.encode({"sub": user, "scope": scope}, "a-key-of-more-than-32-bytes-for-tests")


def test_signed_users_are_of_the_run_alone() -> None:
    signed: list[tuple[str, list[str], int]] = []

    def sign(user: str, scopes: list[str], seconds: int) -> str:
        signed.append((user, scopes, seconds))
        return "token"

    first, second = SignedCredentials(sign), SignedCredentials(sign)
    users = {first.user(), first.user(), second.user()}
    assert len(users) == 3
    assert all(user.startswith("conformance-") for user in users)
    assert {*first.made, *second.made} == users
    assert first.token("u", "publish") == "token"
    assert signed == [("u", ["publish"], 900)]


def test_the_reader_of_given_tokens_is_the_one_that_reads_a_feed() -> None:
    shop, alice = token("shop", "publish"), token("alice", "feed complete")
    given = GivenCredentials([shop, alice])
    assert given.user() == "alice"
    assert given.made == [], "alice is somebody, and not the run's to forget"
    assert given.token("alice", "publish") == shop
    assert given.token("alice", "feed") == alice


def test_what_no_given_token_allows_is_skipped_with_the_reason() -> None:
    given = GivenCredentials([token("alice", "feed")])
    with pytest.raises(SkippedError, match="needs a token with the scope publish"):
        given.token("alice", "publish")
    with pytest.raises(SkippedError, match="needs a token with the scope feed of bob"):
        given.token("bob", "feed")
    with pytest.raises(SkippedError, match="needs the secret"):
        given.sign("bob", "feed")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.W10.c"])
def test_what_is_no_token_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        GivenCredentials([text]).user()
