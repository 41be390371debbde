"""Belfry's own checks are at least as strict as PyJWT's: it accepts no token that `jwt.decode` refuses."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core import jws
from app.core.errors import BelfryError
from app.core.identity.tokens import LEEWAY_SECONDS, Claims, Keyring
from app.core.settings import Settings
from tests.examples import examples

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
# PyJWT reads the clock itself. No time of an example is within this distance from now.
FAR_SECONDS = 1_000

Members = dict[str, Any]

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.just(10**400),
    st.floats(),
    st.sampled_from(["", "x", "HS256", "push", "us", "1800000000", "b64", "\ud800"]),
    st.lists(st.sampled_from(["push", "x", "b64", "exp", 7, None]), max_size=2),
    st.dictionaries(st.just("push"), st.just(1), max_size=1),
)
# Seconds from now, or a value that is no time.
times = st.one_of(st.sampled_from([-FAR_SECONDS, FAR_SECONDS]).map(lambda seconds: ("from now", seconds)), odd)
headers = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.one_of(st.sampled_from(["HS256", "HS384", "none", "RS256", "hs256"]), odd),
        "typ": st.one_of(st.sampled_from(["JWT", "at+jwt"]), odd),
        **dict.fromkeys(("kid", "crit", "b64", "exp"), odd),
    },
)
payloads = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("exp", "iat", "nbf"), times),
            "aud": st.one_of(st.sampled_from(["push", ["push", "x"]]), odd),
            "iss": st.one_of(st.just("us"), odd),
            **dict.fromkeys(("sub", "jti", "scope", "topics", "to"), odd),
        },
    ),
    odd,
)
# A forger replaces a character, adds some, or repeats or drops a part.
CHANGES: tuple[Any, ...] = (
    *(None, "=", "==", ".", " ", "\n", "A", "-", "\u00e9"),
    *("payload twice", "no signature", "other signature", "part added"),
)


def written(header: Members, payload: object, now: int) -> str:
    """Return a token with the right signature by HS256, whatever it contains."""
    usual = {"sub": "alice", "exp": ("from now", FAR_SECONDS), "aud": "push", "iss": "us"}
    claims = {**usual, **payload} if isinstance(payload, dict) else payload
    if isinstance(claims, dict):
        claims = {name: now + value[1] if isinstance(value, tuple) else value for name, value in claims.items()}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT", **header}, claims)]
    text = ".".join([jws.encoded(part) for part in parts])
    return f"{text}.{jws.encoded(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


def forged(token: str, change: str | None, at: int) -> str:
    header, payload, signature = token.split(".")
    match change:
        case None:
            return token
        case "payload twice":
            return f"{header}.{payload}.{payload}.{signature}"
        case "no signature":
            return f"{header}.{payload}."
        case "other signature":
            return f"{header}.{payload}.{signature[::-1]}"
        case "part added":
            return f"{token}.{signature}"
    place = at % (len(token) + 1)
    return token[:place] + change + token[place + at % 2 :]


def ours(keyring: Keyring, token: str, now: float) -> Claims | None:
    try:
        return keyring.verify(token, now)
    except BelfryError:
        return None


def theirs(token: str) -> Members:
    decoded: Members = jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        audience="push",
        issuer="us",
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "sub"]},
    )
    return decoded


@settings(max_examples=examples(400), deadline=None)
@given(header=headers, payload=payloads, change=st.sampled_from(CHANGES), at=st.integers(0, 1_000))
@example(header={}, payload={}, change=None, at=0)
@example(header={}, payload={"exp": ("from now", -FAR_SECONDS)}, change=None, at=0)
@example(header={}, payload={"nbf": ("from now", FAR_SECONDS)}, change=None, at=0)
@example(header={"crit": ["exp"], "exp": 1}, payload={}, change=None, at=0)
@example(header={}, payload={}, change="other signature", at=0)
@example(header={}, payload={"aud": None}, change=None, at=0)
def test_every_token_that_belfry_accepts_is_valid_for_pyjwt_and_says_the_same(
    header: Members, payload: object, change: str | None, at: int
) -> None:
    keyring, now = Keyring(Settings(secret=SECRET, jwt_audience="push", jwt_issuer="us")), int(time.time())
    token = forged(written(header, payload, now), change, at)
    accepted = ours(keyring, token, now)
    if accepted is not None:
        found = theirs(token)
        assert (accepted.user, accepted.expires_at) == (found["sub"], found["exp"])
        assert accepted.token_id == found.get("jti", "") or not found.get("jti")


USUAL: list[Members] = [{}, {"jti": "t", "iat": ("from now", -FAR_SECONDS)}, {"aud": ["x", "push"]}]


@pytest.mark.parametrize("claims", USUAL, ids=str)
def test_a_usual_token_is_accepted_by_both(claims: Members) -> None:
    keyring, now = Keyring(Settings(secret=SECRET, jwt_audience="push", jwt_issuer="us")), int(time.time())
    token = written({}, claims, now)
    assert ours(keyring, token, now) is not None
    assert theirs(token)["sub"] == "alice"
