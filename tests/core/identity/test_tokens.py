"""Tokens: what is signed comes back, and what is forged, stale or shapeless does not."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core import jws
from app.core.errors import BelfryError
from app.core.identity import jwk, tokens
from app.core.identity.tokens import LEEWAY_SECONDS, Claims, Keyring
from app.core.settings import Settings, SettingsError

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
NOW = 1_800_000_000.0
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(Settings(secret=SECRET))


def signed(**changes: Any) -> str:
    """A token with the usual claims; a claim that is None is left out."""
    payload = {"sub": "alice", "scope": "feed", "exp": NOW + 60} | changes
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, SECRET, "HS256")


def public_pem(private_key: Any) -> str:
    pem: bytes = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def refusal(keyring: Keyring, token: str, now: float = NOW) -> str:
    with pytest.raises(BelfryError) as refused:
        keyring.verify(token, now)
    return refused.value.code


def claims(topics: tuple[str, ...] = (), to: tuple[str, ...] | None = None) -> Claims:
    return Claims("alice", frozenset(), topics, to, NOW, "")


def test_a_signed_token_says_what_was_signed(keyring: Keyring) -> None:
    token = keyring.sign("alice", {"publish", "feed"}, NOW, 60, topics=["news"], to=["bob"], token_id="t1")
    assert keyring.verify(token, NOW) == Claims(
        user="alice",
        scopes=frozenset({"feed", "publish"}),
        topics=("news",),
        to=("bob",),
        expires_at=NOW + 60,
        token_id="t1",
        issued_at=NOW,
        key=jwk.of_settings(Settings(secret=SECRET))[0].name,
    )


def test_a_plain_token_grants_no_topic_and_every_recipient(keyring: Keyring) -> None:
    found = keyring.verify(keyring.sign("alice", {"feed"}, NOW, 60), NOW)
    assert (found.topics, found.to, found.session) == ((), None, "")


def test_every_token_has_an_id_of_its_own_to_be_withdrawn_by(keyring: Keyring) -> None:
    first, second = (keyring.verify(keyring.sign("alice", {"feed"}, NOW, life), NOW) for life in (60, 61))
    assert first.token_id
    assert first.token_id != second.token_id


def test_claims_survive_the_way_through_the_store(keyring: Keyring) -> None:
    for to in (None, [], ["bob"]):
        found = keyring.verify(keyring.sign("älice", {"feed", "publish"}, NOW, 60, topics=["a", "b*"], to=to), NOW)
        assert Claims.of_json(found.to_json()) == found


def test_an_empty_list_of_recipients_grants_none(keyring: Keyring) -> None:
    found = keyring.verify(keyring.sign("alice", {"publish"}, NOW, 60, to=[]), NOW)
    assert not found.may_address("user:alice")


def test_a_token_is_not_signed_for_a_bad_user_id(keyring: Keyring) -> None:
    with pytest.raises(BelfryError, match="bad_user_id"):
        keyring.sign("a b", {"feed"}, NOW, 60)


def test_a_token_ends_at_the_very_second_that_it_names(keyring: Keyring) -> None:
    token = signed(exp=NOW + 60)
    keyring.verify(token, NOW + 59.999)
    assert refusal(keyring, token, NOW + 60) == "token_expired"


def test_a_token_that_was_verified_before_expires_all_the_same(keyring: Keyring) -> None:
    token = signed()
    keyring.verify(token, NOW)
    assert refusal(keyring, token, NOW + 61) == "token_expired"
    assert not keyring._verified


def test_a_verified_token_is_not_checked_again(keyring: Keyring) -> None:
    token = signed()
    assert keyring.verify(token, NOW) is keyring.verify(token, NOW + 1)


def test_only_the_latest_used_tokens_are_remembered(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CACHE_SIZE", 2)
    first, second, third = (signed(jti=name) for name in "123")
    kept = keyring.verify(first, NOW)
    keyring.verify(second, NOW)
    keyring.verify(first, NOW)
    keyring.verify(third, NOW)
    assert [found.token_id for found in keyring._verified.values()] == ["1", "3"]
    assert keyring.verify(first, NOW) is kept


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused_beyond_a_small_leeway(keyring: Keyring, name: str) -> None:
    keyring.verify(signed(**{name: NOW + LEEWAY_SECONDS}), NOW)
    assert refusal(keyring, signed(**{name: NOW + LEEWAY_SECONDS + 1}), NOW) == "token_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": "a b"},
        {"sub": "{a}"},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"iat": []},
        {"iat": -1e12},
        {"scope": ["feed"]},
        {"topics": "news"},
        {"topics": [1]},
        {"topics": ["\ud800"]},
        {"to": ["a", "\ud800*"]},
        {"to": [""]},
        {"to": {"user": "bob"}},
        {"jti": 7},
        {"aud": "another-service"},
    ],
    ids=str,
)
def test_a_token_with_a_missing_or_shapeless_claim_is_refused(keyring: Keyring, changes: dict[str, Any]) -> None:
    assert refusal(keyring, signed(**changes)) == "token_invalid"


def test_a_token_s_id_is_bounded_since_each_revocation_keeps_it(keyring: Keyring) -> None:
    longest = "é" * 1_024
    assert keyring.verify(signed(jti=longest), NOW).token_id == longest
    assert refusal(keyring, signed(jti=f"{longest}x")) == "token_invalid"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "." * 10_000])
def test_what_is_not_a_token_is_refused(keyring: Keyring, token: str) -> None:
    assert refusal(keyring, token) == "token_invalid"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_a_time_in_milliseconds_is_refused_by_that_name(keyring: Keyring, name: str) -> None:
    with pytest.raises(BelfryError, match=f"'{name}' is 1800000060000: expected Unix seconds.*milliseconds"):
        keyring.verify(signed(**{name: 1_800_000_060_000}), NOW)


@pytest.mark.parametrize("issued_at", [NOW - 7_200, None], ids=["iat", "no iat"])
def test_no_token_lives_longer_than_a_withdrawal_is_remembered(issued_at: float | None) -> None:
    keyring = Keyring(Settings(secret=SECRET, revocation_seconds=86_400))
    end = (NOW if issued_at is None else issued_at) + 86_400
    assert keyring.verify(signed(iat=issued_at, exp=end), NOW).expires_at == end
    with pytest.raises(
        BelfryError, match=r"'exp' is 86401 s .* at most 86400 s \(BELFRY_REVOCATION_SECONDS\)"
    ) as refused:
        keyring.verify(signed(iat=issued_at, exp=end + 1), NOW)
    assert refused.value.status == 401


def test_a_token_is_not_signed_for_longer_than_it_would_be_accepted() -> None:
    keyring = Keyring(Settings(secret=SECRET, revocation_seconds=86_400))
    keyring.verify(keyring.sign("alice", {"feed"}, NOW, 86_400), NOW)
    with pytest.raises(SettingsError, match=r"at most 86400 seconds.*got 86401"):
        keyring.sign("alice", {"feed"}, NOW, 86_401)


def test_a_token_of_another_secret_is_refused(keyring: Keyring) -> None:
    assert refusal(keyring, Keyring(Settings(secret=SECRET[::-1])).sign("alice", {"feed"}, NOW, 60)) == "token_invalid"


def test_an_unsigned_token_is_refused(keyring: Keyring) -> None:
    token = jwt.encode({"sub": "alice", "exp": NOW + 60}, "", algorithm="none")
    assert refusal(keyring, token) == "token_invalid"


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_the_algorithm_follows_from_the_type_of_the_public_key(algorithm: str) -> None:
    keyring = Keyring(Settings(jwt_public_key=public_pem(PRIVATE_KEYS[algorithm])))
    token = jwt.encode({"sub": "alice", "exp": NOW + 60}, PRIVATE_KEYS[algorithm], algorithm)
    assert keyring.verify(token, NOW).user == "alice"


def test_a_public_key_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(public_pem(PRIVATE_KEYS["EdDSA"]))
    token = jwt.encode({"sub": "alice", "exp": NOW + 60}, PRIVATE_KEYS["EdDSA"], "EdDSA")
    assert Keyring(Settings(jwt_public_key=str(path))).verify(token, NOW).user == "alice"


def test_the_text_of_a_public_key_is_no_secret_to_sign_with() -> None:
    """RFC 8725 section 2.1: HMAC with the public RSA key, under a header that claims HS256."""
    pem = public_pem(PRIVATE_KEYS["RS256"])
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, {"sub": "alice", "exp": NOW + 60})]
    unsigned = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    forged = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256").sign(unsigned, pem.encode())
    token = unsigned + b"." + base64.urlsafe_b64encode(forged).rstrip(b"=")
    assert refusal(Keyring(Settings(jwt_public_key=pem)), token.decode()) == "token_invalid"


def test_tokens_of_the_secret_and_of_the_public_key_both_count_where_both_are_set() -> None:
    keyring = Keyring(Settings(secret=SECRET, jwt_public_key=public_pem(PRIVATE_KEYS["ES256"])))
    by_key = jwt.encode({"sub": "alice", "exp": NOW + 60}, PRIVATE_KEYS["ES256"], "ES256")
    assert keyring.verify(by_key, NOW).user == "alice"
    assert keyring.verify(keyring.sign("bob", {"feed"}, NOW, 60), NOW).user == "bob"


def test_a_server_with_only_a_public_key_cannot_sign() -> None:
    with pytest.raises(SettingsError, match="BELFRY_SECRET"):
        Keyring(Settings(jwt_public_key=public_pem(PRIVATE_KEYS["EdDSA"]))).sign("alice", {"feed"}, NOW, 60)


def test_a_server_without_a_key_accepts_nothing() -> None:
    assert refusal(Keyring(Settings()), signed()) == "token_invalid"


@pytest.mark.parametrize(
    "value",
    [
        "/nowhere/key.pem",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        public_pem(rsa.generate_private_key(65537, 1024)),
        public_pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["no file", "no key", "RSA too short", "another curve"],
)
def test_a_public_key_that_cannot_serve_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^BELFRY_JWT_PUBLIC_KEY [^\n]*$"):
        Keyring(Settings(jwt_public_key=value))


@pytest.mark.parametrize(
    ("pattern", "topic", "granted"),
    [
        ("news", "news", True),
        ("news", "news2", False),
        ("news*", "news2", True),
        ("news*", "new", False),
        ("*", "anything", True),
    ],
)
def test_a_topic_may_be_read_by_name_or_by_prefix(pattern: str, topic: str, granted: bool) -> None:
    assert claims(topics=(pattern,)).may_read(topic) is granted


@pytest.mark.parametrize(
    ("pattern", "log_name", "granted"),
    [
        ("*", "everyone", True),
        ("*", "topic:news", True),
        ("everyone", "everyone", True),
        ("everyone", "user:everyone", False),
        ("bob", "user:bob", True),
        ("bob", "topic:bob", False),
        ("bo*", "user:bob", True),
        ("bo*", "topic:bob", False),
        ("user:bob", "user:bob", True),
        ("user:*", "user:bob", True),
        ("user:*", "everyone", False),
        ("topic:n*", "topic:news", True),
        ("topic:n*", "user:n", False),
    ],
)
def test_a_publisher_may_address_what_its_patterns_match(pattern: str, log_name: str, granted: bool) -> None:
    assert claims(to=(pattern,)).may_address(log_name) is granted


def test_belfrys_own_topics_are_read_by_administrators_and_sent_to_by_nobody() -> None:
    assert replace(claims(), scopes=frozenset({"admin"})).may_read("belfry.figures")
    assert not claims(topics=("*", "belfry.figures")).may_read("belfry.figures")
    for to in (None, ("*",), ("topic:belfry.figures",)):
        assert not claims(to=to).may_address("topic:belfry.figures")
        assert claims(to=("*",)).may_address("topic:belfry")


def test_a_publisher_without_patterns_may_address_anyone() -> None:
    assert claims(to=None).may_address("everyone")


def test_a_good_header_vouches_for_nothing_that_follows_it(keyring: Keyring) -> None:
    token = keyring.sign("alice", ["feed"], NOW, 60)
    keyring.verify(token, NOW)
    header, payload, signature = token.split(".")
    for forged in (
        header,
        f"{header}.",
        f"{header}..",
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
    ):
        with pytest.raises(BelfryError, match="not valid"):
            keyring.verify(forged, NOW)


def test_names_and_patterns_of_a_token_are_in_normal_form_c(keyring: Keyring) -> None:
    token = signed(sub="Jo\u0308rg", topics=["cafe\u0301*"], to=["user:Jo\u0308rg"])
    found = keyring.verify(token, NOW)
    assert found.user == "J\u00f6rg"
    assert found.may_read("caf\u00e9-1")
    assert found.may_address("user:J\u00f6rg")


def test_claims_that_a_former_version_kept_come_back_in_normal_form_c() -> None:
    kept = Claims("Jo\u0308rg", frozenset(), ("cafe\u0301",), ("Jo\u0308rg",), NOW, "t")
    found = Claims.of_json(kept.to_json())
    assert (found.user, found.topics, found.to) == ("J\u00f6rg", ("caf\u00e9",), ("J\u00f6rg",))


NO_TEXTS: tuple[Any, ...] = (7, True, ["alice"], {"a": 1})
NO_CLAIMS: tuple[Any, ...] = ([], "text", 7, None, True)
FORGERIES: list[tuple[dict[str, Any], object]] = [
    *[({"crit": crit}, {}) for crit in (["exp"], ["b64"], [], "b64", [7], ["x"])],
    ({"b64": False}, {}),
    ({"b64": False, "crit": ["b64"]}, {}),
    ({"b64": 0}, {}),
    ({"x": 1, "crit": ["x"]}, {}),
    ({"kid": 7}, {}),
    ({"kid": ["k"]}, {}),
    ({"alg": "none"}, {}),
    ({"alg": "hs256"}, {}),
    ({"alg": ["HS256"]}, {}),
    ({"alg": None}, {}),
    ({"typ": "JWE"}, {}),
    *[({}, claims) for claims in NO_CLAIMS],
    *[({}, {"sub": odd}) for odd in (None, *NO_TEXTS)],
    *[({}, {"exp": odd}) for odd in (None, "9999999999", *NO_TEXTS[1:])],
    *[({}, {"aud": odd}) for odd in ("x", ["x"], *NO_TEXTS)],
    *[({}, {"jti": odd}) for odd in (None, *NO_TEXTS)],
]


def forged(header: dict[str, Any], changes: object) -> str:
    """A token that is signed by the right secret, and not as it should be otherwise."""
    claims = {"sub": "alice", "exp": NOW + 60, **changes} if isinstance(changes, dict) else changes
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT", **header}, claims)]
    text = ".".join([jws.encoded(part) for part in parts])
    return f"{text}.{jws.encoded(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


@pytest.mark.parametrize(("header", "changes"), FORGERIES, ids=str)
def test_what_is_signed_by_the_right_key_is_still_judged(
    keyring: Keyring, header: dict[str, Any], changes: object
) -> None:
    assert keyring.verify(forged({}, {}), NOW).user == "alice"
    assert refusal(keyring, forged(header, changes)) == "token_invalid"


def is_taken(keyring: Keyring, token: str) -> bool:
    try:
        keyring.verify(token, NOW)
    except BelfryError:
        return False
    return True


@pytest.mark.parametrize(
    ("named", "counts"),
    [("push", True), (["push"], True), (["a", "push"], True), ("other", False), (["other"], False), ([], False),
     ("", False), (None, False), (["push", 7], False), ({"push": 1}, False), ("pus", False), (7, False)],
)  # fmt: skip
def test_a_token_must_name_the_audience_that_the_settings_name(named: object, counts: bool) -> None:
    keyring = Keyring(Settings(secret=SECRET, jwt_audience="push"))
    assert is_taken(keyring, forged({}, {"aud": named})) == counts


@pytest.mark.parametrize(
    ("named", "counts"), [("us", True), ("them", False), (None, False), (["us"], False), ("", False)]
)
def test_a_token_must_name_the_issuer_that_the_settings_name(named: object, counts: bool) -> None:
    keyring = Keyring(Settings(secret=SECRET, jwt_issuer="us"))
    assert is_taken(keyring, forged({}, {"iss": named})) == counts
