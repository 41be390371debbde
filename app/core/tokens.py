"""Signed tokens (JWT, RFC 7519): who someone is and what they may do.

Pure: the caller passes `now` and ids, so PyJWT's own look at the clock is switched off and the times are checked here.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.core.errors import BelfryError
from app.core.names import check_user_id
from app.core.settings import PREFIX, Settings, SettingsError

SCOPES = ("feed", "publish", "complete", "admin")
LEEWAY_SECONDS = 30  # how far an issuer's clock may run ahead of ours, for `iat` and `nbf`; `exp` gets none
CACHE_SIZE = 4_096  # verified tokens remembered: about 1 KB each, and an RS256 check costs 50 times a look-up
RSA_MIN_BITS = 2_048  # RFC 7518 section 3.3

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

# PyJWT checks the signature, the algorithm and `aud`; every comparison with the time is ours.
_OPTIONS: Any = {"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    `topics` are the patterns that may be read: exact, or a prefix that ends in `*`. `to` are the patterns that may be
    addressed, None for anyone: `user:…`, `topic:…`, `everyone` or `*`, each exact or ending in `*`; a pattern without
    such a kind means a user. `issued_at` and `expires_at` are in unix seconds. `token_id` is the `jti`, or a
    digest of a token that has none. `session` names the session whose cookie stood for the token, empty for the token itself.
    """

    user: str
    scopes: frozenset[str]
    topics: tuple[str, ...]
    to: tuple[str, ...] | None
    expires_at: float
    token_id: str
    issued_at: float = 0.0
    session: str = ""

    def to_json(self) -> str:
        """For the store; `of_json` reads it."""
        return json.dumps({**asdict(self), "scopes": sorted(self.scopes)}, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str | bytes) -> Claims:
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        to = fields["to"]
        return cls(
            **{
                **fields,
                "scopes": _scopes(" ".join(fields["scopes"])),
                "topics": tuple(fields["topics"]),
                "to": None if to is None else tuple(to),
            }
        )

    def may_read(self, topic: str) -> bool:
        """Whether the user may subscribe to `topic`."""
        return any(_matches(pattern, topic) for pattern in self.topics)

    def may_address(self, log_name: str) -> bool:
        """Whether messages may go to the log `user:<id>`, `topic:<name>` or `everyone`."""
        return self.to is None or any(_matches(_qualified(pattern), log_name) for pattern in self.to)


@lru_cache(maxsize=64)
def _scopes(text: str) -> frozenset[str]:
    # Thousands of open streams hold claims with the same few sets.
    return frozenset(text.split())


def _matches(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _qualified(pattern: str) -> str:
    if pattern in ("*", "everyone") or pattern.startswith(("user:", "topic:")):
        return pattern
    return f"user:{pattern}"


@dataclass(frozen=True, slots=True)
class _Key:
    """A key and the one algorithm it is for.

    The algorithm follows from the key's type and never from a token's header: else a token "signed" by HMAC with the
    text of a public RSA key would pass (RFC 8725 section 3.1).
    """

    algorithm: str
    material: str | PublicKey


class Keyring:
    """Signs and verifies tokens with the keys of the settings.

    Verified tokens are kept by digest, the most recently used ones, until they expire. Nothing here waits, so under
    gevent no other greenlet sees the cache half changed.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.secret
        self._keys = _keys(settings)
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def sign(
        self,
        user: str,
        scopes: Iterable[str],
        now: float,
        seconds: int,
        *,
        topics: Sequence[str] = (),
        to: Sequence[str] | None = None,
        token_id: str = "",
    ) -> str:
        """A token for `user`, good for `seconds` from `now`.

        Raises `BelfryError` `bad_user_id`, and `SettingsError` where there is no secret to sign with.
        """
        if not self._secret:
            raise SettingsError(f"{PREFIX}SECRET is not set: tokens can be checked here, but not signed")
        issued_at = int(now)
        payload = {"sub": check_user_id(user), "scope": " ".join(sorted(scopes)), "iat": issued_at}
        payload |= {"exp": issued_at + seconds}
        payload |= {"topics": list(topics)} if topics else {}
        payload |= {"to": list(to)} if to is not None else {}
        payload |= {"jti": token_id} if token_id else {}
        return jwt.encode(payload, self._secret, algorithm="HS256")

    def verify(self, token: str, now: float) -> Claims:
        """What `token` says, once its signature and times are found good.

        Raises `BelfryError` `token_invalid` or `token_expired`.
        """
        digest = blake2b(token.encode(), digest_size=32).digest()
        claims = self._verified.get(digest) or _claims(self._payload(token), now, digest.hex())
        if claims.expires_at <= now:
            self._verified.pop(digest, None)
            raise BelfryError("token_expired")
        self._remember(digest, claims)
        return claims

    def _payload(self, token: str) -> dict[str, Any]:
        reason = "this server has no key to check tokens with"
        for key in self._keys:
            try:
                return jwt.decode(token, key.material, algorithms=[key.algorithm], options=_OPTIONS)
            except jwt.InvalidTokenError as error:
                reason = str(error)
        raise _invalid(reason)

    def _remember(self, digest: bytes, claims: Claims) -> None:
        self._verified[digest] = claims
        self._verified.move_to_end(digest)
        if len(self._verified) > CACHE_SIZE:
            self._verified.popitem(last=False)


def _claims(payload: dict[str, Any], now: float, digest: str) -> Claims:
    for name in ("iat", "nbf"):
        if name in payload and _unix_seconds(payload, name) > now + LEEWAY_SECONDS:
            raise _invalid(f"its {name!r} is in the future")
    scope = payload.get("scope", "")
    if not isinstance(scope, str):
        raise _invalid("'scope' is not a string")
    return Claims(
        user=_user(payload),
        scopes=_scopes(scope),
        topics=_patterns(payload, "topics") or (),
        to=_patterns(payload, "to"),
        expires_at=_unix_seconds(payload, "exp"),
        token_id=payload.get("jti") or digest,
        issued_at=_unix_seconds(payload, "iat") if "iat" in payload else 0.0,
    )


def _user(payload: dict[str, Any]) -> str:
    try:
        return check_user_id(payload["sub"])
    except BelfryError as error:
        raise _invalid(error.detail) from None


def _unix_seconds(payload: dict[str, Any], name: str) -> float:
    # Python's JSON reads NaN and Infinity: a NaN would never be in the past.
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name!r} is not a number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise _invalid(f"{name!r} is not a time")
    return seconds


def _patterns(payload: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _invalid(f"{name!r} is not a list of patterns")
    return tuple(value)


def _invalid(reason: str) -> BelfryError:
    return BelfryError("token_invalid", f"The token is not valid: {reason}")


def _keys(settings: Settings) -> tuple[_Key, ...]:
    """Every key that may have signed a token: the one place where a key is chosen."""
    public = [_public_key(settings.jwt_public_key)] if settings.jwt_public_key else []
    shared = [_Key("HS256", settings.secret)] if settings.secret else []
    return (*public, *shared)


def _public_key(text_or_path: str) -> _Key:
    try:
        pem = text_or_path if "-----BEGIN" in text_or_path else Path(text_or_path).read_text()
        key = load_pem_public_key(pem.encode())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{PREFIX}JWT_PUBLIC_KEY is no PEM public key, nor a file with one: {error}") from None
    match key:
        case RSAPublicKey() if key.key_size >= RSA_MIN_BITS:
            return _Key("RS256", key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return _Key("ES256", key)
        case Ed25519PublicKey():
            return _Key("EdDSA", key)
    raise SettingsError(f"{PREFIX}JWT_PUBLIC_KEY must be RSA with {RSA_MIN_BITS} bits or more, EC P-256 or Ed25519")
