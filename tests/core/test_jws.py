"""One signed thing has one name: no other spelling of a token verifies, and what verifies has the same id."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.core import jws
from app.core.errors import BelfryError
from app.core.identity.tokens import TOKEN_ID_MAX, Keyring
from app.core.settings import Settings

NOW = 1_800_000_000.0
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
BASE64URL = string.ascii_letters + string.digits + "-_"
FOREIGN = "=+/. \n\t\0~é"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 section 2.4.2
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def keyring() -> Keyring:
    """One that checks tokens of every algorithm."""
    pems = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in PRIVATE_KEYS.values()
    ]
    return Keyring(Settings(secret=SECRET, jwt_public_key=b"".join(pems).decode()))


KEYRING = keyring()


def signed(algorithm: str, **claims: Any) -> str:
    payload = {"sub": "alice", "scope": "feed", "iat": int(NOW), "exp": int(NOW) + 60, **claims}
    return jwt.encode(payload, PRIVATE_KEYS.get(algorithm, SECRET), algorithm)


def name(token: str) -> str | None:
    """The id of a token that verifies, None for one that is refused."""
    try:
        return KEYRING.verify(token, NOW).token_id
    except BelfryError as error:
        return None if error.code == "token_invalid" else error.code


def other_last_characters(part: str) -> Iterator[str]:
    for character in BASE64URL + FOREIGN:
        if character != part[-1]:
            yield part[:-1] + character


def other_spellings(token: str) -> Iterator[str]:
    """The token with each part padded, extended, with another last character, and with foreign characters in it."""
    parts = token.split(".")
    for at, part in enumerate(parts):
        middle = len(part) // 2
        changed = [part + more for more in ("=", "==", "===", "A", "AAAA", *FOREIGN)]
        changed += [part[:middle] + character + part[middle:] for character in FOREIGN]
        changed += [character + part for character in FOREIGN]
        changed += other_last_characters(part)
        for other in changed:
            yield ".".join([*parts[:at], other, *parts[at + 1 :]])
    yield from (f".{token}", f"{token}.", token + token, token.replace("-", "+").replace("_", "/") + "\r")


@pytest.mark.parametrize("claims", [{}, {"jti": "t1"}], ids=["without a jti", "with a jti"])
@pytest.mark.parametrize("algorithm", ["HS256", *PRIVATE_KEYS])
def test_no_other_spelling_of_a_token_verifies(algorithm: str, claims: dict[str, Any]) -> None:
    token = signed(algorithm, **claims)
    assert name(token)
    assert [other for other in other_spellings(token) if name(other) is not None] == []


@pytest.mark.parametrize("algorithm", ["HS256", *PRIVATE_KEYS])
@hypothesis_settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_the_text_that_still_verifies_yields_the_same_id(algorithm: str, data: st.DataObject) -> None:
    token = changed = signed(algorithm)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        dropped = data.draw(st.integers(0, 2))
        changed = changed[:at] + data.draw(st.text(BASE64URL + FOREIGN, max_size=2)) + changed[at + dropped :]
    assert name(changed) in {None, name(token)}


def test_the_twin_of_an_ecdsa_signature_has_the_id_of_its_token() -> None:
    """(r, n - s) verifies wherever (r, s) does (SEC 1 section 4.1.4), so the signature must not name the token."""
    token = signed("ES256")
    text, _, signature = token.rpartition(".")
    raw = jws.decoded(signature)
    twin = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    other = f"{text}.{jws.encoded(twin)}"
    assert other != token
    assert name(other) == name(token) is not None


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_that_was_padded_before_it_was_signed_is_refused(part: int) -> None:
    """Its signature is right, and PyJWT accepts it."""
    parts = signed("EdDSA").split(".")[:2]
    parts[part] += "=" * (-len(parts[part]) % 4 or 4)
    text = ".".join(parts)
    token = f"{text}.{jws.encoded(PRIVATE_KEYS['EdDSA'].sign(text.encode()))}"
    with pytest.raises(BelfryError, match="without padding"):
        KEYRING.verify(token, NOW)


def test_tokens_that_say_something_else_have_other_ids() -> None:
    names = [name(signed("HS256", exp=int(NOW) + life)) for life in (60, 61, 62)]
    assert len(set(names)) == 3


def test_the_escapes_of_a_jti_are_not_part_of_it() -> None:
    plain, escaped = '"jti":"é1"', '"jti":"\\u00e9\\u0031"'
    names = set()
    for jti in (plain, escaped):
        payload = f'{{"sub":"alice","exp":{int(NOW) + 60},{jti}}}'.encode()
        names.add(name(jwt.api_jws.encode(payload, SECRET, "HS256")))
    assert names == {"é1"}


@pytest.mark.parametrize("jti", ["x" * (TOKEN_ID_MAX + 1), "\ud800"], ids=["too long", "lone surrogate"])
def test_a_jti_that_the_store_cannot_keep_is_refused(jti: str) -> None:
    with pytest.raises(BelfryError, match="'jti'"):
        KEYRING.verify(signed("HS256", jti=jti), NOW)


@pytest.mark.parametrize("header", ["[" * 5_000, '{"alg":' * 1_500], ids=["list", "object"])
def test_a_header_that_is_nested_deeply_is_refused(header: str) -> None:
    text = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=")
    assert name(f"{text}.e30.AAAA") is None
    assert not KEYRING.names_unknown_key(f"{text}.e30.AAAA")


@given(st.binary(max_size=80))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    assert jws.decoded(jws.encoded(data)) == data


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda token: f"{token}=", "its signature: it is not base64url without padding"),
        (lambda token: f"{token}.", "it has 4 parts, expected 3"),
        (lambda token: token.rpartition(".")[0], "it has 2 parts, expected 3"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_spelling(spoil: Callable[[str], str], reason: str) -> None:
    with pytest.raises(BelfryError, match=reason):
        KEYRING.verify(spoil(signed("HS256")), NOW)
