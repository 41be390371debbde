"""The short way agrees with PyJWT about every token, and is taken by the tokens that people send."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.identity import hs256
from app.core.identity.tokens import Claims, Keyring
from app.core.settings import Settings
from tests.examples import examples

NOW = 1_800_000_000.0
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
# PyJWT doesn't take these for secrets.
NO_SECRETS = [
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    '{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}',
]
TEXT = st.one_of(st.text(max_size=3), st.sampled_from(["here", "alice"]))
CLAIM = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(TEXT, max_size=2))
NAMES = st.sampled_from(["sub", "exp", "jti", "aud", "iss", "scope", "iat", "nbf", "topics", "to"])
GOOD = {"sub": "alice", "exp": NOW + 60}
PAYLOAD = st.one_of(
    st.dictionaries(NAMES, CLAIM).map(lambda claims: json.dumps({**GOOD, **claims}).encode()),
    st.dictionaries(NAMES, CLAIM).map(lambda claims: json.dumps(claims).encode()),
    st.dictionaries(NAMES, CLAIM).map(lambda claims: json.dumps({**GOOD, **claims}).encode("utf-16")),
    st.sampled_from([b"", b"null", b"[]", b"[" * 100_000, b'{"sub":"alice","exp":NaN}', b'{"sub":"alice"}{}', b"\xff"]),
    st.binary(max_size=8),
)
HEADER = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "zip"]),
    st.sampled_from(["HS256", "HS512", "none", "JWT", "k", True, False, None, 1, ["b64"], ["exp"]]),
).map(lambda fields: {"alg": "HS256", **fields})


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def signed(payload: bytes, header: dict[str, Any], secret: str = SECRET) -> str:
    text = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.digest(secret.encode(), text.encode(), 'sha256'))}"


def verdict(settings: Settings, token: str) -> Claims | tuple[str, str]:
    try:
        return Keyring(settings).verify(token, NOW)
    except BelfryError as error:
        return error.code, error.detail


def verdicts(settings: Settings, token: str) -> tuple[Claims | tuple[str, str], Claims | tuple[str, str]]:
    """With the short way, and with PyJWT alone."""
    with pytest.MonkeyPatch.context() as patch:
        quick = verdict(settings, token)
        patch.setattr(hs256, "payload_of", lambda *_: None)
        return quick, verdict(settings, token)


@hypothesis_settings(max_examples=examples(300), deadline=None)
@example(json.dumps(GOOD).encode(), {"alg": "HS256", "crit": ["b64"], "b64": False}, "", "")
@given(PAYLOAD, HEADER, st.sampled_from(["", "here"]), st.sampled_from(["", "here"]))
def test_it_agrees_with_pyjwt_about_whatever_was_signed(
    payload: bytes, header: dict[str, Any], audience: str, issuer: str
) -> None:
    quick, slow = verdicts(Settings(secret=SECRET, jwt_audience=audience, jwt_issuer=issuer), signed(payload, header))
    assert quick == slow


@hypothesis_settings(max_examples=examples(300), deadline=None)
@given(st.data())
def test_it_agrees_with_pyjwt_about_a_token_that_was_tampered_with(data: st.DataObject) -> None:
    token = signed(json.dumps({**GOOD, "jti": "t"}).encode(), {"alg": "HS256", "typ": "JWT"})
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(token)))
        dropped = data.draw(st.integers(0, 2))
        token = token[:at] + data.draw(st.text("aZ09-_.=+/ \n\0é", max_size=2)) + token[at + dropped :]
    quick, slow = verdicts(Settings(secret=SECRET), token)
    assert quick == slow


@hypothesis_settings(max_examples=examples(300), deadline=None)
@given(st.text("aZ09-_.=+/ ", max_size=4), st.sampled_from([0, 1, 2]))
@example("=", 1)
@example("..", 1)
def test_it_agrees_with_pyjwt_about_parts_that_are_written_otherwise_before_they_are_signed(
    more: str, part: int
) -> None:
    parts = signed(json.dumps(GOOD).encode(), {"alg": "HS256"}).split(".")
    parts[part] += more
    text = ".".join(parts[:2])
    mac = encoded(hmac.digest(SECRET.encode(), text.encode(), "sha256"))
    quick, slow = verdicts(Settings(secret=SECRET), f"{text}.{mac}{more if part == 2 else ''}")
    assert quick == slow


@pytest.mark.parametrize("secret", NO_SECRETS)
def test_what_pyjwt_takes_for_no_secret_opens_nothing_here(secret: str) -> None:
    header = {"alg": "HS256"}
    token = signed(json.dumps(GOOD).encode(), header, secret)
    assert hs256.payload_of(token, header, secret, None, None) is None
    with pytest.raises(jwt.InvalidKeyError):
        jwt.decode(token, secret, ["HS256"])


@pytest.mark.parametrize(
    ("audience", "issuer", "more"),
    [
        ("", "", {}),
        ("here", "", {"aud": "here"}),
        ("", "here", {"iss": "here"}),
        ("", "", {"jti": "t", "topics": ["a"]}),
    ],
)
def test_ordinary_tokens_go_the_short_way(audience: str, issuer: str, more: dict[str, Any]) -> None:
    claims = {**GOOD, **more}
    for header in ({"alg": "HS256"}, {"alg": "HS256", "typ": "JWT"}, {"alg": "HS256", "kid": "k"}):
        token = signed(json.dumps(claims).encode(), header)
        assert hs256.payload_of(token, header, SECRET, audience or None, issuer or None) == claims
