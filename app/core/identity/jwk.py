"""The keys that check tokens: shared secrets, PEM public keys and JWK Sets (RFC 7517), each for one algorithm.

The algorithm follows from the key's type and never from a token's header. Otherwise a token "signed" by HMAC with the
text of a public RSA key would pass (RFC 8725 section 3.1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ..settings import PREFIX, Settings, SettingsError

RSA_MIN_BITS = 2_048  # RFC 7518 section 3.3
SET_MAX_KEYS = 32  # an issuer publishes two or three; each costs a try for tokens that name no key

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_ALGORITHMS: Mapping[tuple[Any, Any], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}

# Base64 has no hyphen. Python 3.11.2 (Debian 12) gets a possessive quantifier over a group wrong.
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----")


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm it is for.

    `name` is a digest: which key vouched for a credential is remembered by it. `kid` is what tokens call it, empty for
    a key that may check any token.
    """

    algorithm: str
    material: str | PublicKey
    name: str
    kid: str = ""

    def may_check(self, header: Mapping[str, Any]) -> bool:
        """Whether a token with this header can be of this key."""
        kid = header.get("kid")
        return header.get("alg") == self.algorithm and (not self.kid or kid is None or kid == self.kid)


def of_settings(settings: Settings) -> tuple[Key, ...]:
    """Every key that the settings hold: the one that signs first, then those that only check.

    Raises `SettingsError` where one is none.
    """
    return (*of_secrets(settings), *(_of_pem(settings.jwt_public_key) if settings.jwt_public_key else ()))


def of_secrets(settings: Settings) -> tuple[Key, ...]:
    """Those of them that sign as well. Raises `SettingsError` where one is none."""
    current = [_shared("SECRET", settings.secret)] if settings.secret else []
    return (*current, *[_shared("PREVIOUS_SECRETS", secret) for secret in settings.former_secrets])


def sign_in_name(settings: Settings) -> str:
    """What vouches for the people who sign in here, named as a key is. "" where nobody can sign in.

    With another password, another administrator, another demo secret or without the demo, the name is another one.
    """
    if settings.admin_password_hash:
        return _digest(f"administrator {settings.admin_name} {settings.admin_password_hash}".encode())
    return _digest(b"demo " + settings.secret.encode(errors="surrogateescape")) if settings.demo else ""


def of_set(document: Any) -> tuple[Key, ...]:
    """The usable keys of a JWK Set; others (encryption, symmetric, weak, unknown kinds) are left out.

    Raises `ValueError` where there is none: such a set would lock everybody out.
    """
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK Set")  # noqa: TRY004 - wrong content, not a wrong call
    keys = [key for member in members[:SET_MAX_KEYS] if (key := _of_jwk(member)) is not None]
    if not keys:
        raise ValueError("the JWK Set holds no key that can check a token")
    return tuple(keys)


def _of_jwk(member: Any) -> Key | None:
    """The key that one member describes, None for one of no use here. No member may spoil the others of its set."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig" or not isinstance(member.get("kid", ""), str):
        return None
    kind = (member.get("kty"), member.get("crv")) if member.get("kty") != "RSA" else ("RSA", None)
    try:
        algorithm = _ALGORITHMS.get(kind)  # by the key's type, as everywhere; what its `alg` says comes after
        if algorithm is None or member.get("alg", algorithm) != algorithm:
            return None
        return _public(jwt.PyJWK(member, algorithm).key, member.get("kid", ""))
    except (jwt.exceptions.PyJWTError, ValueError, TypeError):  # a TypeError: a member's field is no text
        return None


def _of_pem(text_or_path: str) -> tuple[Key, ...]:
    try:
        text = text_or_path if "-----BEGIN" in text_or_path else Path(text_or_path).read_text()
        keys = tuple([_public(load_pem_public_key(block.encode())) for block in _PEM.findall(text)])
    except (OSError, ValueError) as error:
        raise SettingsError(f"{PREFIX}JWT_PUBLIC_KEY is no PEM public key, nor a file with one: {error}") from None
    if not keys:
        raise SettingsError(f"{PREFIX}JWT_PUBLIC_KEY is no PEM public key, nor a file with one: no block found")
    return keys


def _public(key: object, kid: str = "") -> Key:
    """Raises `ValueError` for a key that is too weak or of no use here."""
    match key:
        case RSAPublicKey() if key.key_size >= RSA_MIN_BITS:
            algorithm = "RS256"
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            algorithm = "ES256"
        case Ed25519PublicKey():
            algorithm = "EdDSA"
        case _:
            raise ValueError(f"must be RSA with {RSA_MIN_BITS} bits or more, EC P-256 or Ed25519")
    return Key(algorithm, key, _digest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), kid)


def _shared(setting: str, secret: str) -> Key:
    """PyJWT refuses every token whose key looks like a public one: that is said once, before anything is served."""
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise SettingsError(f"{PREFIX}{setting} must be random bytes, not a PEM, SSH or JWK key") from None
    except UnicodeEncodeError:
        raise SettingsError(f"{PREFIX}{setting} must be UTF-8") from None
    return Key("HS256", secret, _digest(secret.encode()))


def _digest(material: bytes) -> str:
    return hashlib.sha256(b"belfry key " + material).hexdigest()[:16]
