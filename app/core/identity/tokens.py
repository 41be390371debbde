"""Signed tokens (JWT, RFC 7519): the identity and the rights of a user.

PyJWT signs, checks a token's header and verifies signatures. This module checks the claims, and callers pass in `now`.
`jwt.decode` would decode again what this module decodes to make sure that a token has only one spelling, and it would
prepare the key again. It takes 62 µs for each new token instead of 15.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import jwt

from .. import jws
from ..errors import BelfryError
from ..settings import PREFIX, Settings, SettingsError
from . import jwk
from .jwk import Key
from .names import OWN_TOPICS, check_user_id, nfc

SCOPES = ("feed", "publish", "complete", "admin")
LEEWAY_SECONDS = 30  # how far an issuer's clock may be ahead, for `iat` and `nbf`; `exp` gets no leeway
# Verified tokens that are kept. Each takes about 1 KB, and an RS256 check costs 50 times a lookup.
CACHE_SIZE = 4_096
HEADERS_KEPT = 32  # all tokens of an issuer begin with the same one or two headers
TOKEN_ID_MAX = 1_024  # characters of a `jti`, which each revocation stores
# As Unix seconds, this is the year 5138, and as Unix milliseconds 1973. No issuer means the year 5138.
MILLISECONDS_FROM = 1e11
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 8725 section 3.11, RFC 9068 section 2.1

REQUIRED = ("exp", "sub")


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token.

    `topics` are patterns of topics that the user may read: exact, or a prefix that ends in `*`. `to` are patterns of
    recipients that the user may address, None for all: `user:…`, `topic:…`, `everyone` or `*`, each exact or ending in
    `*`. A pattern without such a kind means a user. `expires_at` and `issued_at` are in Unix seconds. `issued_at` is 0
    without an `iat`. `token_id` is the `jti`, or a digest of the signed text if the token has none. `session` names the
    session whose cookie replaced the token, if there was one. `key` names what vouches for the credential: a signing
    key, or this server's own sign-in.
    """

    user: str
    scopes: frozenset[str]
    topics: tuple[str, ...]
    to: tuple[str, ...] | None
    expires_at: float
    token_id: str
    issued_at: float = 0.0
    session: str = ""
    key: str = ""

    def to_json(self) -> str:
        """Return JSON for the store, which `of_json` reads."""
        return json.dumps({**asdict(self), "scopes": sorted(self.scopes)}, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str | bytes) -> Claims:
        """Read claims that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        to = fields["to"]
        return cls(
            **{
                **fields,
                "user": nfc(fields["user"]),  # older versions stored names as they were written
                "scopes": _scopes(" ".join(fields["scopes"])),
                "topics": tuple(map(nfc, fields["topics"])),
                "to": None if to is None else tuple(map(nfc, to)),
            }
        )

    def may_read(self, topic: str) -> bool:
        """Return whether the user may subscribe to `topic`."""
        if topic.startswith(OWN_TOPICS):
            return "admin" in self.scopes
        return any(_matches(pattern, topic) for pattern in self.topics)

    def may_address(self, log_name: str) -> bool:
        """Return whether the user may send to the log `user:<id>`, `topic:<name>` or `everyone`."""
        if log_name.startswith(f"topic:{OWN_TOPICS}"):
            return False
        return self.to is None or any(_matches(_qualified(pattern), log_name) for pattern in self.to)


@lru_cache(maxsize=64)
def _scopes(text: str) -> frozenset[str]:
    # Thousands of open streams have claims with the same few sets.
    return frozenset(text.split())


def _matches(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _qualified(pattern: str) -> str:
    if pattern in ("*", "everyone") or pattern.startswith(("user:", "topic:")):
        return pattern
    return f"user:{pattern}"


class Keyring:
    """Signs and verifies tokens with the keys of the settings.

    The most recently used verified tokens are kept by digest until they expire. No method waits, so under gevent no
    other greenlet sees the cache in an inconsistent state.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.secret
        self._audience = settings.jwt_audience or None
        self._issuer = settings.jwt_issuer or None
        self._longest_seconds = settings.revocation_seconds
        self._own = jwk.of_settings(settings)
        self._published: tuple[Key, ...] = ()
        self.sign_in = jwk.sign_in_name(settings)
        self._names = self._trusted()
        self.listeners: list[Callable[[Keyring], None]] = []
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
        """Return a token for `user` that is valid for `seconds` from `now`.

        Raises `BelfryError` `bad_user_id`. Raises `SettingsError` if there is no secret to sign with, or if the server
        would refuse a token with such a long life.
        """
        if not self._secret:
            raise SettingsError(f"{PREFIX}SECRET is not set: tokens can be checked here, but not signed")
        if seconds > self._longest_seconds:
            limit = f"at most {self._longest_seconds} seconds ({PREFIX}REVOCATION_SECONDS)"
            raise SettingsError(f"a token may live {limit}, got {seconds}")
        issued_at = int(now)
        payload = {"sub": check_user_id(user), "scope": " ".join(sorted(scopes)), "iat": issued_at}
        payload |= {"exp": issued_at + seconds}
        payload |= {"topics": list(topics)} if topics else {}
        payload |= {"to": list(to)} if to is not None else {}
        payload |= {"jti": token_id} if token_id else {}
        payload |= {"aud": self._audience} if self._audience else {}
        payload |= {"iss": self._issuer} if self._issuer else {}
        return jwt.encode(payload, self._secret, algorithm="HS256")

    def verify(self, token: str, now: float) -> Claims:
        """Return the claims of `token` after checking its signature and times.

        Raises `BelfryError` `token_invalid` or `token_expired`.
        """
        # A valid token has only base64url and dots. A lone surrogate could not even be hashed.
        if not token.isascii():
            raise _invalid("it is not ASCII")
        digest = blake2b(token.encode(), digest_size=32).digest()
        claims = self._verified.get(digest) or self._checked(token, now)
        if claims.expires_at <= now:
            self._verified.pop(digest, None)
            raise BelfryError("token_expired")
        self._remember(digest, claims)
        return claims

    def trusts(self, claims: Claims) -> bool:
        """Return whether the key or the sign-in that vouched for `claims` is still trusted."""
        return claims.key in self._names

    def names_unknown_key(self, token: str) -> bool:
        """Return whether `token` names a key that is not among the published ones."""
        try:
            kid = _header(token.partition(".")[0]).get("kid")
        except (jwt.InvalidTokenError, ValueError):
            return False
        return kid is not None and all(key.kid != kid for key in self._published)

    def replace_published(self, keys: tuple[Key, ...]) -> None:
        """Replace the published keys, which are trusted in addition to those of the settings.

        If a key is no longer trusted, the listeners are called.
        """
        self._published = keys
        former, self._names = self._names, self._trusted()
        if former - self._names:
            self._verified.clear()
            for listener in self.listeners:
                listener(self)

    def _trusted(self) -> frozenset[str]:
        keys = frozenset([key.name for key in (*self._own, *self._published)])
        return keys | {self.sign_in} if self.sign_in else keys

    def _checked(self, token: str, now: float) -> Claims:
        try:
            header = _header(token.partition(".")[0])
        except (jwt.InvalidTokenError, ValueError) as error:
            raise _invalid(str(error)) from None
        if str(header.get("typ", "JWT")).lower() not in TYPES:
            raise _invalid("its 'typ' is not that of an access token")
        reason = "no key of this server is of its 'alg' and 'kid'"
        for key in (*self._own, *self._published):
            if key.may_check(header):
                try:
                    return self._claims(token, self._payload(token, key), now, key)
                except jwt.InvalidTokenError as error:
                    reason = str(error)
        raise _invalid(reason)

    def _claims(self, token: str, payload: dict[str, Any], now: float, key: Key) -> Claims:
        issued_at = _past(payload, "iat", now)
        _past(payload, "nbf", now)
        scope = payload.get("scope", "")
        if not isinstance(scope, str):
            raise _invalid("'scope' is not a string")
        return Claims(
            user=_user(payload),
            scopes=_scopes(scope),
            topics=_patterns(payload, "topics") or (),
            to=_patterns(payload, "to"),
            expires_at=self._end(payload, issued_at, now),
            token_id=_token_id(payload) or jws.name_of(token),
            issued_at=issued_at,
            key=key.name,
        )

    def _end(self, payload: dict[str, Any], issued_at: float, now: float) -> float:
        """Return when the token expires. It must not live longer than a revocation is remembered."""
        expires_at = _unix_seconds(payload, "exp")
        since, begin = (issued_at, "after its 'iat'") if issued_at > 0 else (now, "from now")
        if expires_at - since > self._longest_seconds:
            limit = f"at most {self._longest_seconds} s ({PREFIX}REVOCATION_SECONDS)"
            raise _invalid(f"its 'exp' is {expires_at - since:.0f} s {begin}, expected {limit}. Issue a shorter one")
        return expires_at

    def _payload(self, token: str, key: Key) -> dict[str, Any]:
        """Return the payload of `token`, if `key` signed it and it is meant for this server.

        Raises `BelfryError` `token_invalid`, and `jwt.InvalidTokenError` if another key may fit.
        """
        try:
            parts = jws.parts_of(token)
        except ValueError as error:
            raise _invalid(str(error)) from None
        if not key.signed(parts.signed, parts.signature):
            raise jwt.InvalidSignatureError("its signature is not of this server's key")
        try:
            payload = json.loads(parts.payload.decode())
        except (ValueError, RecursionError) as error:
            raise _invalid(f"its payload is not JSON: {error}") from None
        if not isinstance(payload, dict):
            raise _invalid("its payload is not a JSON object")
        self._check_purpose(payload)
        return payload

    def _check_purpose(self, payload: dict[str, Any]) -> None:
        """Raise `BelfryError` `token_invalid` if a token lacks a required claim or is meant for another service."""
        for name in REQUIRED:
            if payload.get(name) is None:
                raise _invalid(f"it has no {name!r}")
        if not _is_among(self._audience, payload.get("aud")):
            raise _invalid("its 'aud' is not this server's (BELFRY_JWT_AUDIENCE)")
        if self._issuer is not None and payload.get("iss") != self._issuer:
            raise _invalid("its 'iss' is not the expected one (BELFRY_JWT_ISSUER)")

    def _remember(self, digest: bytes, claims: Claims) -> None:
        self._verified[digest] = claims
        self._verified.move_to_end(digest)
        if len(self._verified) > CACHE_SIZE:
            self._verified.popitem(last=False)


@lru_cache(maxsize=HEADERS_KEPT)
def _header(segment: str) -> Mapping[str, Any]:
    """Return the header of a token as PyJWT checks it. It says which key to try, and which rules the token requires.

    Raises `jwt.InvalidTokenError` and `ValueError`.
    """
    jws.decoded(segment)
    header = jwt.get_unverified_header(f"{segment}..")
    if header.get("b64", True) is not True:
        raise ValueError("its 'b64' is not true (RFC 7797 section 7)")
    return MappingProxyType(header)


def _is_among(audience: str | None, named: object) -> bool:
    """Return whether `named`, a token's `aud`, names the audience. Without an audience, `named` must be empty."""
    if audience is None:
        return not named
    names = [named] if isinstance(named, str) else named
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and audience in names


def _user(payload: dict[str, Any]) -> str:
    if not isinstance(payload["sub"], str):
        raise _invalid("'sub' is not a string")
    try:
        return check_user_id(payload["sub"])
    except BelfryError as error:
        raise _invalid(error.detail) from None


def _past(payload: dict[str, Any], name: str, now: float) -> float:
    """Return a time that must not be in the future, or 0 if the claim is missing."""
    if name not in payload:
        return 0.0
    seconds = _unix_seconds(payload, name)
    if seconds > now + LEEWAY_SECONDS:
        raise _invalid(f"its {name!r} is in the future")
    return seconds


def _unix_seconds(payload: dict[str, Any], name: str) -> float:
    # Python's JSON reads NaN and Infinity. A NaN would never be in the past.
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name!r} is not a number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds < math.inf:  # false for NaN
        raise _invalid(f"{name!r} is not a time")
    if seconds >= MILLISECONDS_FROM:
        raise _invalid(f"its {name!r} is {seconds:.0f}: expected Unix seconds, got what looks like milliseconds")
    return seconds


def _token_id(payload: dict[str, Any]) -> str:
    """Return the `jti`, "" without one. It must be a text that the store can keep."""
    token_id: Any = payload.get("jti", "")
    if (
        not isinstance(token_id, str)
        or len(token_id) > TOKEN_ID_MAX
        or not (token_id.isascii() or _encodable(token_id))
    ):
        raise _invalid(f"its 'jti' is not a text of at most {TOKEN_ID_MAX} characters")
    return token_id


def _encodable(text: str) -> bool:
    """Return whether `text` has no lone surrogates, which JSON can express and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _patterns(payload: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) and item and _encodable(item) for item in value):
        raise _invalid(f"{name!r} is not a list of patterns, which are Unicode text")
    return tuple(map(nfc, value))


def _invalid(reason: str) -> BelfryError:
    return BelfryError("token_invalid", f"The token is not valid: {reason}")
