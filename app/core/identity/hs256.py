"""The short way for the commonest token: HS256, a plain header and ordinary claims.

PyJWT checks for each token whether the secret might be a public key. That takes five times as long as everything here.
PyJWT judges every unusual token and every refusal: this module accepts only what PyJWT accepts, with the same payload.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jwt

from .. import jws

PLAIN: Final = frozenset({"alg", "typ", "kid"})  # no field of a header that asks for more than a signature
SECRETS_KEPT = 16


def payload_of(
    token: str, header: Mapping[str, Any], secret: str, audience: str | None, issuer: str | None
) -> dict[str, Any] | None:
    """The payload of an ASCII `token`, whose `header` was read and says HS256. None where PyJWT has to judge.

    The signature is compared as text with the one spelling of the right signature, so no other spelling passes.
    """
    key = _prepared(secret)
    signed, _, signature = token.rpartition(".")
    if not key or not header.keys() <= PLAIN or not hmac.compare_digest(_signature(key, signed), signature):
        return None
    try:
        payload = json.loads(jws.decoded(signed.partition(".")[2]))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) and _ordinary(payload, audience, issuer) else None


@lru_cache(maxsize=SECRETS_KEPT)
def _prepared(secret: str) -> bytes:
    """The key, b"" where PyJWT takes the secret for something that is none."""
    try:
        return bytes(jwt.get_algorithm_by_name("HS256").prepare_key(secret))
    except jwt.InvalidKeyError:
        return b""


def _signature(key: bytes, signed: str) -> str:
    return jws.encoded(hmac.digest(key, signed.encode(), "sha256"))


def _ordinary(payload: Mapping[str, Any], audience: str | None, issuer: str | None) -> bool:
    return (
        isinstance(payload.get("sub"), str)
        and payload.get("exp") is not None
        and isinstance(payload.get("jti", ""), str)
        and (payload.get("aud") == audience if audience else not payload.get("aud"))
        and (payload.get("iss") == issuer if issuer else True)
    )
