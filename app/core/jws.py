"""The text of a signed token (JWS compact serialisation, RFC 7515 section 7.1): one signed thing has one spelling.

Lenient decoders accept many texts for the same bytes: with padding, with other unused bits in the last character, with
foreign characters that they skip. A withdrawn token must not come back in another spelling, so only the form of
RFC 7515 section 2 is accepted: base64url without padding, each part as an encoder writes it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

PARTS: Final = ("header", "payload", "signature")


def encoded(data: bytes) -> str:
    """`data` in base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def decoded(part: str) -> bytes:
    """The bytes of one part. Raises `ValueError` for every text that `encoded` does not write."""
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = None
    if data is None or encoded(data) != part:
        raise ValueError("it is not base64url without padding, as RFC 7515 section 2 asks for")
    return data


def check_spelling(token: str) -> None:
    """Raises `ValueError` unless `token` has three parts, each in its one spelling."""
    parts = token.split(".")
    if len(parts) != len(PARTS):
        raise ValueError(f"it has {len(parts)} parts, expected 3: header.payload.signature")
    for name, part in zip(PARTS, parts, strict=True):
        try:
            decoded(part)
        except ValueError as error:
            raise ValueError(f"its {name}: {error}") from None


def name_of(token: str) -> str:
    """What names the token if it has no `jti`: a digest of what was signed.

    The signature plays no part in it. An ECDSA signature (r, s) has a twin (r, n - s) that verifies as well.
    """
    signed, _, _ = token.rpartition(".")
    return blake2b(signed.encode(), digest_size=32, person=b"belfry signed").hexdigest()
