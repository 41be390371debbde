"""Rate limits of one publisher, user or address: buckets in this worker, and the headers that report them.

The header fields are those of draft-ietf-httpapi-ratelimit-headers up to its sixth version, which clients know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import blake2b

from flask import Request

from ...core.errors import BelfryError
from ...core.identity.names import nfc
from ...core.rate import Buckets, Taken
from ...core.settings import Settings
from .client_address import client_address, throttled_address


class RateLimits:
    """The rate limits of one worker. Every limit raises `BelfryError` `rate_limited`."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._proxies = settings.proxies
        self._now = now
        self._publish = Buckets(settings.publish_per_minute)
        self._connect = Buckets(settings.connects_per_minute)
        self._request = Buckets(settings.requests_per_minute)
        self._sign_in = Buckets(settings.sign_ins_per_minute)
        self._refused = Buckets(settings.refused_tokens_per_minute)

    def publish(self, user: str, deliveries: int) -> Taken:
        """Count one message to `deliveries` logs. Raises `BelfryError` `rate_limited`."""
        return self._charge(self._publish, user, deliveries)

    def connect(self, user: str) -> Taken:
        """Count one stream, long poll, session, ticket or report of tabs. Raises `BelfryError` `rate_limited`."""
        return self._charge(self._connect, user)

    def request(self, user: str) -> None:
        """Count one request that counts against no other limit of its user. Raises `BelfryError` `rate_limited`."""
        self._charge(self._request, user)

    def sign_in(self, request: Request, name: str) -> None:
        """Count one attempt to sign in with a password. Call this before the password check, which is expensive.

        The attempt counts for the address, for the name, and as one bad credential of the address. So an address that
        has used up its bad credentials elsewhere gets no attempt here. Passwords can be guessed, so even the right one
        must wait. Raises `BelfryError` `rate_limited`.
        """
        self.refused_credential(request)
        self._charge(self._sign_in, f"address {self.address(request)}")
        self._charge(self._sign_in, f"name {_digest(name)}")

    def refused_credential(self, request: Request) -> None:
        """Count one token, session or ticket that was not valid. Raises `BelfryError` `rate_limited`.

        Call this after the check. Nobody can guess 256 random bits or a signature, so a valid credential from a
        throttled address still works. Clients that share an address cannot lock each other out.
        """
        self._charge(self._refused, self.address(request))

    def address(self, request: Request) -> str:
        """Return the address that the limits count for a request."""
        return throttled_address(client_address(request, self._proxies))

    def _charge(self, buckets: Buckets, key: str, cost: int = 1) -> Taken:
        taken = buckets.take(key, cost, self._now())
        if not taken.allowed:
            raise BelfryError(
                "rate_limited",
                f"At most {taken.limit} a minute; try again in {taken.wait_seconds} s.",
                headers={**headers(taken), "Retry-After": str(taken.wait_seconds)},
            )
        return taken


def _digest(name: str) -> str:
    """Return a key of fixed size for every spelling of `name`. The name may come from a stranger."""
    return blake2b(nfc(name.strip()).encode(errors="replace"), digest_size=16).hexdigest()


def headers(taken: Taken) -> Mapping[str, str]:
    """Return the header fields that tell a client how much of its limit is left."""
    return {
        "RateLimit-Limit": str(taken.limit),
        "RateLimit-Remaining": str(taken.remaining),
        "RateLimit-Reset": str(taken.wait_seconds),
    }
