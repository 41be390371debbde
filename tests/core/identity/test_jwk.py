"""Keys: several at once while they rotate, out of settings and out of an issuer's JWK Set."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.errors import BelfryError
from app.core.identity import jwk
from app.core.identity.passwords import hash_password
from app.core.identity.tokens import Claims, Keyring
from app.core.settings import Settings, SettingsError, check_identity

NOW = 1_800_000_000.0
OLD, NEW = "the-old-secret-of-more-than-32-bytes-x", "the-new-secret-of-more-than-32-bytes-y"
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_jwk(algorithm: str, **members: Any) -> dict[str, Any]:
    public = PRIVATE_KEYS[algorithm].public_key()
    dumped = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    return {**dumped, **members}


def public_pem(algorithm: str) -> str:
    public = PRIVATE_KEYS[algorithm].public_key()
    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def token(algorithm: str, kid: str | None = None, key: Any = None, **claims: Any) -> str:
    payload = {"sub": "alice", "scope": "feed", "exp": NOW + 60, **claims}
    return jwt.encode(payload, key or PRIVATE_KEYS[algorithm], algorithm, headers={"kid": kid} if kid else None)


def published(*members: dict[str, Any]) -> Keyring:
    keyring = Keyring(Settings())
    keyring.replace_published(jwk.of_set({"keys": list(members)}))
    return keyring


def refusal(keyring: Keyring, text: str) -> str:
    with pytest.raises(BelfryError) as refused:
        keyring.verify(text, NOW)
    return refused.value.detail


def test_tokens_of_a_former_secret_count_while_keys_rotate() -> None:
    old = Keyring(Settings(secret=OLD)).sign("alice", {"feed"}, NOW, 60)
    assert Keyring(Settings(secret=NEW, previous_secrets=OLD)).verify(old, NOW).user == "alice"
    assert refusal(Keyring(Settings(secret=NEW)), old)


def test_new_tokens_are_signed_with_the_new_secret() -> None:
    fresh = Keyring(Settings(secret=NEW, previous_secrets=OLD)).sign("alice", {"feed"}, NOW, 60)
    assert Keyring(Settings(secret=NEW)).verify(fresh, NOW).user == "alice"


def test_a_short_former_secret_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="BELFRY_PREVIOUS_SECRETS must be 32 bytes or more, got 5"):
        check_identity(Settings(secret=NEW, previous_secrets="short"))


def test_several_public_keys_stand_in_one_file(tmp_path: Any) -> None:
    path = tmp_path / "keys.pem"
    pems = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in PRIVATE_KEYS.values()
    ]
    path.write_bytes(b"".join(pems))
    keyring = Keyring(Settings(jwt_public_key=str(path)))
    assert [keyring.verify(token(algorithm), NOW).user for algorithm in PRIVATE_KEYS] == ["alice"] * 3


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_a_published_key_checks_the_tokens_that_name_it(algorithm: str) -> None:
    keyring = published(public_jwk(algorithm, kid="k1"))
    assert keyring.verify(token(algorithm, "k1"), NOW).user == "alice"
    assert keyring.verify(token(algorithm), NOW).user == "alice"
    assert "'kid'" in refusal(keyring, token(algorithm, "k2"))


def test_a_key_checks_no_token_of_another_algorithm() -> None:
    keyring = published(public_jwk("RS256", kid="k1"))
    assert "'alg'" in refusal(keyring, token("EdDSA", "k1"))
    assert "'alg'" in refusal(keyring, jwt.encode({"sub": "a", "exp": NOW + 60}, NEW, "HS256", headers={"kid": "k1"}))


@pytest.mark.parametrize(
    "member",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k1"},
        public_jwk("RS256", use="enc"),
        public_jwk("RS256", alg="RS512"),
        public_jwk("RS256", alg="none"),
        public_jwk("RS256", alg=["RS256"]),
        public_jwk("RS256", alg=None),
        public_jwk("RS256", kid=["k1"]),
        public_jwk("RS256", use=["sig"]),
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": {}},
        {"kty": "RSA"},
        {"kty": "XYZ"},
        "no key",
        None,
    ],
)
def test_what_cannot_check_a_token_is_left_out_of_a_set(member: Any) -> None:
    (key,) = jwk.of_set({"keys": [member, public_jwk("EdDSA")]})
    assert key.algorithm == "EdDSA"
    with pytest.raises(ValueError, match="no key"):
        jwk.of_set({"keys": [member]})


@pytest.mark.parametrize(
    "odd", [None, [], {}, 7, True, "", "none", "\ud800", "A" * 5_000, [["RS256"]], 1e400], ids=repr
)
@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_a_key_with_an_odd_field_spoils_no_other(algorithm: str, odd: Any) -> None:
    whole = public_jwk(algorithm, kid="k1", use="sig", alg=algorithm)
    spoiled = [{**whole, name: odd} for name in whole]
    good = public_jwk("EdDSA", kid="good")
    for member in spoiled:
        assert "good" in [key.kid for key in jwk.of_set({"keys": [member, good]})]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": None}, "x"], ids=json.dumps)
def test_what_is_no_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="not a JWK Set"):
        jwk.of_set(document)


def test_a_key_that_is_published_no_more_takes_its_tokens_along() -> None:
    keyring = published(public_jwk("EdDSA", kid="k1"))
    lost: list[Keyring] = []
    keyring.listeners.append(lost.append)
    claims = keyring.verify(token("EdDSA", "k1"), NOW)
    assert keyring.trusts(claims)
    keyring.replace_published(jwk.of_set({"keys": [public_jwk("ES256", kid="k2")]}))
    assert lost == [keyring]
    assert not keyring.trusts(claims)
    assert refusal(keyring, token("EdDSA", "k1"))


def test_a_key_that_is_published_in_addition_disturbs_nobody() -> None:
    keyring = published(public_jwk("EdDSA", kid="k1"))
    lost: list[Keyring] = []
    keyring.listeners.append(lost.append)
    claims = keyring.verify(token("EdDSA", "k1"), NOW)
    keyring.replace_published(jwk.of_set({"keys": [public_jwk("ES256", kid="k2"), public_jwk("EdDSA", kid="k1")]}))
    assert not lost
    assert keyring.trusts(claims)


HASHES = [hash_password(password) for password in ("first password", "second password")]


def signed_in(settings: Settings) -> Claims:
    return Claims("root", frozenset(), (), None, NOW, "", key=Keyring(settings).sign_in)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"demo": True, "secret": OLD}, {"secret": OLD}),
        ({"demo": True, "secret": OLD}, {"secret": NEW}),
        ({"demo": True, "secret": OLD}, {"demo": True, "secret": NEW}),
        ({"demo": True, "secret": OLD}, {"demo": True, "secret": NEW, "previous_secrets": OLD}),
        ({"demo": True, "secret": OLD}, {"demo": True, "secret": OLD, "admin_password_hash": HASHES[0]}),
        ({"admin_password_hash": HASHES[0]}, {}),
        ({"admin_password_hash": HASHES[0]}, {"admin_password_hash": HASHES[1]}),
        ({"admin_password_hash": HASHES[0]}, {"admin_password_hash": HASHES[0], "admin_name": "root"}),
        ({"admin_password_hash": HASHES[0]}, {"demo": True, "secret": OLD}),
    ],
)
def test_who_signed_in_is_trusted_while_that_way_to_sign_in_is_the_same(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    claims = signed_in(Settings(**before))
    assert Keyring(Settings(**before, jwt_audience="changed")).trusts(claims)
    assert not Keyring(Settings(**after)).trusts(claims)


def test_a_credential_that_names_nothing_that_vouched_for_it_is_not_trusted() -> None:
    nothing = Claims("root", frozenset(), (), None, NOW, "")
    for settings in (Settings(), Settings(secret=OLD), Settings(demo=True, secret=OLD)):
        assert not Keyring(settings).trusts(nothing)


def test_of_a_set_of_keys_the_one_that_is_removed_takes_its_tokens_along() -> None:
    pems = [public_pem(algorithm) for algorithm in ("ES256", "EdDSA")]
    both = Keyring(Settings(jwt_public_key="".join(pems)))
    by_first, by_second = (both.verify(token(algorithm), NOW) for algorithm in ("ES256", "EdDSA"))
    fewer = Keyring(Settings(jwt_public_key=pems[1]))
    assert not fewer.trusts(by_first)
    assert fewer.trusts(by_second)


def test_only_a_token_that_names_an_unknown_key_is_a_reason_to_look_for_new_ones() -> None:
    keyring = published(public_jwk("EdDSA", kid="k1"))
    assert keyring.names_unknown_key(token("EdDSA", "k2"))
    assert not keyring.names_unknown_key(token("EdDSA", "k1"))
    assert not keyring.names_unknown_key(token("EdDSA"))
    assert not keyring.names_unknown_key("no token")


@pytest.mark.parametrize("audience", [None, "other", ["other"], 7])
def test_a_token_for_another_audience_is_refused(audience: Any) -> None:
    keyring = Keyring(Settings(secret=NEW, jwt_audience="belfry"))
    claims = {} if audience is None else {"aud": audience}
    assert refusal(keyring, token("HS256", key=NEW, **claims))


@pytest.mark.parametrize("audience", ["belfry", ["other", "belfry"]])
def test_a_token_for_us_counts_alone_or_among_others(audience: Any) -> None:
    keyring = Keyring(Settings(secret=NEW, jwt_audience="belfry"))
    assert keyring.verify(token("HS256", key=NEW, aud=audience), NOW).user == "alice"


def test_a_token_for_some_audience_is_not_for_a_server_that_has_none() -> None:
    assert refusal(Keyring(Settings(secret=NEW)), token("HS256", key=NEW, aud="other"))


@pytest.mark.parametrize("issuer", [None, "https://evil.example", "https://id.example/"])
def test_a_token_of_another_issuer_is_refused(issuer: Any) -> None:
    keyring = Keyring(Settings(secret=NEW, jwt_issuer="https://id.example"))
    claims = {} if issuer is None else {"iss": issuer}
    assert refusal(keyring, token("HS256", key=NEW, **claims))


def test_tokens_that_are_made_here_name_the_audience_and_the_issuer_that_are_asked_for() -> None:
    keyring = Keyring(Settings(secret=NEW, jwt_issuer="https://id.example", jwt_audience="belfry"))
    assert keyring.verify(keyring.sign("alice", {"feed"}, NOW, 60), NOW).user == "alice"


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [("JWT", True), ("at+jwt", True), ("application/at+JWT", True), ("dpop+jwt", False), ("", False)],
)
def test_a_token_says_that_it_is_an_access_token_or_nothing(kind: str, accepted: bool) -> None:
    text = jwt.encode({"sub": "alice", "exp": NOW + 60}, NEW, "HS256", headers={"typ": kind or "logout+jwt"})
    keyring = Keyring(Settings(secret=NEW))
    if accepted:
        assert keyring.verify(text, NOW).user == "alice"
    else:
        assert "'typ'" in refusal(keyring, text)


@pytest.mark.parametrize("setting", ["SECRET", "PREVIOUS_SECRETS"])
@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----", "not a PEM, SSH or JWK key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGludGVncml0eQ", "not a PEM, SSH or JWK key"),
        ('{"kty": "oct"}', "not a PEM, SSH or JWK key"),
        (b"\xff".decode(errors="surrogateescape") * 32, "UTF-8"),  # as os.environ holds it
    ],
)
def test_a_secret_that_no_token_could_be_checked_with_is_refused(setting: str, secret: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"BELFRY_{setting} must be .*{reason}") as refusal:
        jwk.of_settings(Settings(**{setting.lower(): secret}))
    assert secret not in str(refusal.value)


def test_text_that_only_begins_like_a_key_is_a_secret() -> None:
    (key,) = jwk.of_settings(Settings(secret='{"kty": "oct"} and what makes it random'))
    assert key.algorithm == "HS256"
