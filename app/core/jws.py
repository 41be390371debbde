"""The text of a signed token (JWS compact serialisation, RFC 7515 section 7.1). Each token has only one spelling.

Lenient decoders accept many texts for the same bytes: with padding, with other unused bits in the last character, or
with foreign characters that they skip. A revoked token must not be accepted in another spelling. So only the form of
RFC 7515 section 2 is accepted: base64url without padding, each part as an encoder writes it.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from hashlib import blake2b
from typing import Final, NamedTuple

PARTS: Final = ("header", "payload", "signature")
_PADDING: Final = ("", "===", "==", "=")  # by the length of a part, modulo 4


class Parts(NamedTuple):
    """The parts after the header of a token, and `signed`, the text that was signed."""

    signed: bytes
    payload: bytes
    signature: bytes


def encoded(data: bytes) -> str:
    """Return `data` in base64url without padding."""
    return b2a_base64(data, newline=False).decode().rstrip("=").replace("+", "-").replace("/", "_")


def decoded(part: str) -> bytes:
    """Return the bytes of one part. Raises `ValueError` for every text that `encoded` does not write."""
    try:
        data = a2b_base64(part.replace("-", "+").replace("_", "/") + _PADDING[len(part) % 4])
    except ValueError:
        data = None
    if data is None or encoded(data) != part:
        raise ValueError("it is not base64url without padding, as RFC 7515 section 2 asks for")
    return data


def parts_of(token: str) -> Parts:
    """Return the parts after the header of `token`. The caller has checked the spelling of the header.

    Raises `ValueError` unless `token` has three parts, and the last two have their only spelling.
    """
    texts = token.split(".")
    if len(texts) != len(PARTS):
        raise ValueError(f"it has {len(texts)} parts, expected 3: {'.'.join(PARTS)}")
    header, payload, signature = texts
    return Parts(f"{header}.{payload}".encode(), _decoded("payload", payload), _decoded("signature", signature))


def _decoded(name: str, part: str) -> bytes:
    try:
        return decoded(part)
    except ValueError as error:
        raise ValueError(f"its {name}: {error}") from None


def name_of(token: str) -> str:
    """Return the id of a token that has no `jti`: a digest of the signed text.

    The signature is not part of it. An ECDSA signature (r, s) has a twin (r, n - s) that is valid too.
    """
    signed, _, _ = token.rpartition(".")
    return blake2b(signed.encode(), digest_size=32, person=b"belfry signed").hexdigest()
