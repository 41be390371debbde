"""The short way for the commonest token: HS256, written plainly, with ordinary claims.

PyJWT asks of the secret with every token whether it might be a public key, and takes five times as long as all that is
done here. Whatever is unusual or to be refused is left to it: this says yes only where PyJWT does, with its payload.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jwt

PLAIN: Final = frozenset({"alg", "typ", "kid"})  # no field of a header that asks for more than a signature
SECRETS_KEPT = 16


def payload_of(
    token: str, header: Mapping[str, Any], secret: str, audience: str | None, issuer: str | None
) -> dict[str, Any] | None:
    """What an ASCII `token` says, whose `header` PyJWT has read, with HS256 in it; None where PyJWT shall judge."""
    key = _prepared(secret)
    signed, _, signature = token.rpartition(".")
    if not key or not header.keys() <= PLAIN or not hmac.compare_digest(_signature(key, signed), signature):
        return None
    try:
        payload = json.loads(_decoded(signed.partition(".")[2]))
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
    return _encoded(hmac.digest(key, signed.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """Raises `ValueError` for what `_encoded` does not write."""
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(data) != text:
        raise binascii.Error("not the shortest form")
    return data


def _ordinary(payload: Mapping[str, Any], audience: str | None, issuer: str | None) -> bool:
    return (
        isinstance(payload.get("sub"), str)
        and payload.get("exp") is not None
        and isinstance(payload.get("jti", ""), str)
        and (payload.get("aud") == audience if audience else not payload.get("aud"))
        and (payload.get("iss") == issuer if issuer else True)
    )
