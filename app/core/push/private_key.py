"""The private key for Web Push, as the settings have it. It imports nothing heavy: the launcher reads settings too."""

from __future__ import annotations

from typing import Final

from .. import jws

KEY_BYTES: Final = 32
# The order of P-256 (FIPS 186-5): a private key is a number from 1 to this less 1.
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EXPECTED: Final = "expected a private key of P-256, 32 bytes in base64url: `belfry push-key` makes one"


def encoded_key(number: int) -> str:
    """Return the private key with this number, as `BELFRY_PUSH_PRIVATE_KEY` has it."""
    return jws.encoded(number.to_bytes(KEY_BYTES, "big"))


def number_of(text: str) -> int:
    """Return the number of a private key. Raises `ValueError`."""
    try:
        data = jws.decoded(text.rstrip("="))
    except ValueError:
        raise ValueError(EXPECTED) from None
    number = int.from_bytes(data, "big")
    if len(data) != KEY_BYTES or not 0 < number < ORDER:
        raise ValueError(EXPECTED)
    return number
