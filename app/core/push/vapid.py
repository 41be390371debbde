"""The key by which push services recognise this deployment (VAPID, RFC 8292), and what it signs.

Browsers tie a subscription to the public key. If the key changes, every device must subscribe again.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from .. import jws
from .encryption import point_of
from .private_key import KEY_BYTES, number_of

LIFE_SECONDS: Final = 43_200  # of a signature; RFC 8292 section 2 allows 24 hours, and clocks differ
RENEW_SECONDS: Final = 21_600  # age at which a signature is replaced
TOPIC_CHARS: Final = 32  # RFC 8030 section 5.4
ORIGINS_KEPT: Final = 200  # push services whose signature is kept; users choose their names
_PROOF: Final = b"belfry: this push may mark its message as read"
_TOPIC: Final = b"belfry: this push replaces an earlier one"


class VapidKey:
    """The deployment's key pair. `contact` is an address at which a push service reaches the operator, or empty."""

    def __init__(self, text: str, contact: str = "") -> None:
        number = number_of(text)
        self._key = derive_private_key(number, SECP256R1())
        self._contact = contact
        self.public = jws.encoded(point_of(self._key))
        secret = number.to_bytes(KEY_BYTES, "big")
        self._proofs = hmac.digest(secret, _PROOF, sha256)
        self._topics = hmac.digest(secret, _TOPIC, sha256)
        self._signed: dict[str, tuple[float, str]] = {}

    def authorization(self, origin: str, now: float) -> str:
        """Return the header `Authorization` for a push service. One signature serves for hours, since it costs most."""
        known = self._signed.get(origin)
        if known is None or not 0 <= now - known[0] < RENEW_SECONDS:
            self._signed.pop(origin, None)
            while len(self._signed) >= ORIGINS_KEPT:  # the oldest signature is the first one
                del self._signed[next(iter(self._signed))]
            claims = {
                "aud": origin,
                "exp": int(now) + LIFE_SECONDS,
                **({"sub": self._contact} if self._contact else {}),
            }
            known = self._signed[origin] = now, jwt.encode(claims, self._key, algorithm="ES256")
        return f"vapid t={known[1]}, k={self.public}"

    def proof(self, user: str, message_id: str) -> str:
        """Return the proof that somebody received the push of this message to this user. It only marks it as read."""
        return jws.encoded(hmac.digest(self._proofs, f"{user}\n{message_id}".encode(), sha256))

    def topic(self, user: str, message_key: str) -> str:
        """Return a name that a later message with the same key for the same user shares.

        The push service replaces the earlier push. It can neither guess the key nor see which users share one.
        """
        return jws.encoded(hmac.digest(self._topics, f"{user}\n{message_key}".encode(), sha256))[:TOPIC_CHARS]

    def proves(self, proof: str, user: str, message_id: str) -> bool:
        """Return whether `proof` belongs to this message and user."""
        return hmac.compare_digest(proof.encode(errors="replace"), self.proof(user, message_id).encode())
