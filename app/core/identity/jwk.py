"""The keys that check tokens: shared secrets, PEM public keys and JWK Sets (RFC 7517), each for one algorithm.

The algorithm follows from the key's type and never from a token's header. Otherwise a token "signed" by HMAC with the
text of a public RSA key would pass (RFC 8725 section 3.1).
"""

from __future__ import annotations

import hashlib
import hmac
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
# An issuer publishes two or three. A token that names no key is checked against each of them.
SET_MAX_KEYS = 32

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_ALGORITHMS: Mapping[tuple[Any, Any], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}

# Base64 has no hyphen. Python 3.11.2 (Debian 12) has a bug with possessive quantifiers over a group.
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----")


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm that it is for.

    `name` is a digest, which identifies the key that signed a credential. `kid` is the key's name in tokens, empty if
    the key may check any token.
    """

    algorithm: str
    material: bytes | PublicKey
    name: str
    kid: str = ""

    def may_check(self, header: Mapping[str, Any]) -> bool:
        """Return whether a token with this header can be signed by this key."""
        kid = header.get("kid")
        return header.get("alg") == self.algorithm and (not self.kid or kid is None or kid == self.kid)

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Return whether `signature` is this key's signature of `text`."""
        # PyJWT does the same, but makes three objects for it.
        if isinstance(self.material, bytes):
            return hmac.compare_digest(hmac.digest(self.material, text, "sha256"), signature)
        return jwt.get_algorithm_by_name(self.algorithm).verify(text, self.material, signature)


def of_settings(settings: Settings) -> tuple[Key, ...]:
    """Return every key of the settings: the one that signs first, then those that only check.

    Raises `SettingsError` if one of them is not a valid key.
    """
    return (*of_secrets(settings), *(_of_pem(settings.jwt_public_key) if settings.jwt_public_key else ()))


def of_secrets(settings: Settings) -> tuple[Key, ...]:
    """Return the shared secrets of the settings. Raises `SettingsError` if one of them is not valid."""
    current = [_shared("SECRET", settings.secret)] if settings.secret else []
    return (*current, *[_shared("PREVIOUS_SECRETS", secret) for secret in settings.former_secrets])


def sign_in_name(settings: Settings) -> str:
    """Return the name that stands for this server's own sign-in, in the place of a key's name. "" without a sign-in.

    The name changes with the password, the administrator or the demo secret, and when the demo is turned off.
    """
    if settings.admin_password_hash:
        return _digest(f"administrator {settings.admin_name} {settings.admin_password_hash}".encode())
    return _digest(b"demo " + settings.secret.encode(errors="surrogateescape")) if settings.demo else ""


def of_set(document: Any) -> tuple[Key, ...]:
    """Return the usable keys of a JWK Set. Other keys (encryption, symmetric, weak, unknown kinds) are left out.

    Raises `ValueError` if no key is usable, because such a set would lock everybody out.
    """
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK Set")  # noqa: TRY004 - wrong content, not a wrong call
    keys = [key for member in members[:SET_MAX_KEYS] if (key := _of_jwk(member)) is not None]
    if not keys:
        raise ValueError("the JWK Set holds no key that can check a token")
    return tuple(keys)


def _of_jwk(member: Any) -> Key | None:
    """Return the key of one member, or None if it is unusable. One bad member must not invalidate its set."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig" or not isinstance(member.get("kid", ""), str):
        return None
    kind = (member.get("kty"), member.get("crv")) if member.get("kty") != "RSA" else ("RSA", None)
    try:
        algorithm = _ALGORITHMS.get(kind)  # the key's type decides, as everywhere; its `alg` may only agree
        if algorithm is None or member.get("alg", algorithm) != algorithm:
            return None
        return _public(jwt.PyJWK(member, algorithm).key, member.get("kid", ""))
    except (jwt.exceptions.PyJWTError, ValueError, TypeError):  # a TypeError means that a field is not a text
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
    """Return the `Key` for a public key. Raises `ValueError` if it is too weak or of the wrong kind."""
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
    """Return the key for a shared secret. Raises `SettingsError` if the secret is not usable.

    PyJWT accepts no HMAC key that looks like a public key. This checks it at once, before the server serves anything.
    """
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise SettingsError(f"{PREFIX}{setting} must be random bytes, not a PEM, SSH or JWK key") from None
    except UnicodeEncodeError:
        raise SettingsError(f"{PREFIX}{setting} must be UTF-8") from None
    return Key("HS256", secret.encode(), _digest(secret.encode()))


def _digest(material: bytes) -> str:
    return hashlib.sha256(b"belfry key " + material).hexdigest()[:16]
