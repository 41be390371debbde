"""The encryption of a push message: `aes128gcm` (RFC 8188) with the keys of RFC 8291. A push service can't read it.

There are libraries for this. `pywebpush` brings aiohttp and sends by itself, without the checks that an address of a
stranger needs. `http-ece` is the encryption alone and has had no release for years. The algorithm is the 20 lines
below, `cryptography` is installed for tokens already, and the vector of RFC 8291 tests them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .. import jws

SALT_BYTES: Final = 16
AUTH_BYTES: Final = 16
POINT_BYTES: Final = 65  # an uncompressed point of P-256: 0x04, x, y
RECORD_BYTES: Final = 4_096  # the whole message is one record; push services need not accept a longer body
_HEAD_BYTES: Final = SALT_BYTES + 4 + 1 + POINT_BYTES
_LAST_RECORD: Final = b"\x02"  # RFC 8188 section 2: the delimiter of the last record
_TAG_BYTES: Final = 16
PLAINTEXT_MAX: Final = RECORD_BYTES - _HEAD_BYTES - len(_LAST_RECORD) - _TAG_BYTES


class DeviceKeys(NamedTuple):
    """The keys that a browser made for one subscription: a point of P-256, and a shared secret."""

    point: bytes
    auth: bytes

    @classmethod
    def parse(cls, p256dh: str, auth: str) -> DeviceKeys:
        """Read the keys as `PushSubscription.toJSON()` writes them. Raises `ValueError` with what was expected."""
        keys = cls(_decoded("p256dh", p256dh, POINT_BYTES), _decoded("auth", auth, AUTH_BYTES))
        try:
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), keys.point)
        except ValueError:
            raise ValueError("p256dh: expected a point of the curve P-256") from None
        return keys


def _decoded(name: str, text: str, size: int) -> bytes:
    try:
        found = jws.decoded(text.rstrip("="))
    except ValueError:
        raise ValueError(f"{name}: expected base64url") from None
    if len(found) != size:
        raise ValueError(f"{name}: expected {size} bytes in base64url, got {len(found)}")
    return found


def point_of(key: EllipticCurvePrivateKey) -> bytes:
    """Return the public key as an uncompressed point."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encrypt(plaintext: bytes, device: DeviceKeys, *, sender: EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """Return the body of a push message. `sender` and `salt` must be new for each message.

    `plaintext` has at most `PLAINTEXT_MAX` bytes.
    """
    own_point = point_of(sender)
    device_key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), device.point)
    shared = sender.exchange(ECDH(), device_key)
    material = _derived(shared, device.auth, b"WebPush: info\0" + device.point + own_point, 32)
    key = _derived(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(material, salt, b"Content-Encoding: nonce\0", 12)
    sealed = AESGCM(key).encrypt(nonce, plaintext + _LAST_RECORD, None)
    return salt + RECORD_BYTES.to_bytes(4, "big") + bytes([POINT_BYTES]) + own_point + sealed


def _derived(material: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(material)
