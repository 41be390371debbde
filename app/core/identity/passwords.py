"""The administrator's password. The server knows only a hash of it (scrypt, RFC 7914).

`hash_password` and `PasswordHash.fits` take about 50 ms and 32 MiB on purpose, so they must not run on the event loop.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

# One of OWASP's equivalent recommendations for scrypt as of 2025: 32 MiB, three lanes one after the other.
COST, BLOCK, LANES = 2**15, 8, 3
COST_MAX, BLOCK_MAX, LANES_MAX = 2**18, 32, 16
SALT_BYTES = 16
DIGEST_BYTES = 32

_SHAPE = re.compile(r"scrypt:(\d{1,7}):(\d{1,2}):(\d{1,2}):([A-Za-z0-9_-]{16,128}):([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The parts of a stored hash."""

    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Read a hash that `hash_password` made. Raises `ValueError` for any other text."""
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise ValueError("expected a hash as `belfry hash-password` prints it")
        cost, block, lanes = map(int, found.group(1, 2, 3))
        if not (2**14 <= cost <= COST_MAX and cost & (cost - 1) == 0 and block <= BLOCK_MAX and lanes <= LANES_MAX):
            raise ValueError("the hash has parameters out of range")
        return cls(cost, block, lanes, _bytes(found[4]), _bytes(found[5]))

    def fits(self, password: str) -> bool:
        """Return whether `password` is the right one. The time it takes doesn't depend on the result."""
        made = _digest(password, self.salt, self.cost, self.block, self.lanes)
        return hmac.compare_digest(made, self.digest)


def hash_password(password: str) -> str:
    """Return a text to store instead of `password`.

    It has no characters that a shell or a compose file would expand.
    """
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _digest(password, salt, COST, BLOCK, LANES)
    return f"scrypt:{COST}:{BLOCK}:{LANES}:{_text(salt)}:{_text(digest)}"


def _digest(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    memory = 128 * block * (cost + lanes + 2)
    return hashlib.scrypt(
        password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=memory + 1_048_576, dklen=DIGEST_BYTES
    )


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
