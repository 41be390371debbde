"""Tokens, signed with the secret that the service shares with Belfry (`BELFRY_SECRET`): JWT with HS256 (RFC 7519)."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, Final

SECRET_MIN_BYTES: Final = 32


def publisher_token(secret: str, name: str, *, to: Sequence[str] | None = None, seconds: int = 300) -> str:
    """A token to publish with. `to` limits whom it may address: `user:alice`, `topic:news`, `everyone`."""
    claims: dict[str, Any] = {"sub": name, "scope": "publish"}
    return sign(secret, claims if to is None else {**claims, "to": list(to)}, seconds)


def user_token(secret: str, user: str, *, topics: Sequence[str] = (), scope: str = "feed", seconds: int = 3_600) -> str:
    """A token for the browser of `user`: it reads the user's own feed, and `topics`."""
    claims: dict[str, Any] = {"sub": user, "scope": scope}
    return sign(secret, {**claims, "topics": list(topics)} if topics else claims, seconds)


def sign(secret: str, claims: dict[str, Any], seconds: int) -> str:
    """A token with any claims, that counts from now on. Raises `ValueError` for a secret that Belfry would not take."""
    if len(secret.encode()) < SECRET_MIN_BYTES:
        raise ValueError(f"secret: expected at least {SECRET_MIN_BYTES} bytes, got {len(secret.encode())}")
    now = int(time.time())
    times = {"iat": now, "exp": now + seconds, "jti": secrets.token_hex(16)}
    body = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part({**claims, **times})}"
    return f"{body}.{_base64url(hmac.digest(secret.encode(), body.encode(), hashlib.sha256))}"


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
