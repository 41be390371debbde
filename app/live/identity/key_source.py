"""The issuer's JWK Set, fetched when it is first needed and then kept up to date; an outage changes nothing."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import gevent
import requests
import urllib3
from gevent.lock import BoundedSemaphore

from ...core.errors import BelfryError
from ...core.identity import jwk
from ...core.identity.tokens import Keyring
from ..loop import Loop

TIMEOUT_SECONDS = 3.0
DOCUMENT_MAX_BYTES = 131_072
# A token may name a key that was published a moment ago. Made-up names must not become a storm of fetches.
MISS_SECONDS = 10.0

logger = logging.getLogger("belfry.keys")


class KeySource:
    """Brings the keys behind `url` into a keyring; starts with its first use, in the process that uses it."""

    def __init__(self, url: str, refresh_seconds: float, keyring: Keyring) -> None:
        self._url = url
        self._keyring = keyring
        self._lock = BoundedSemaphore()
        self._tried_at = -MISS_SECONDS
        self._loaded = False
        self._loop = Loop(self._refresh, lambda: gevent.sleep(refresh_seconds), "a refresh of the keys failed", logger)

    def refreshed_for(self, token: str) -> bool:
        """Whether it is worth another try: the keys were fetched because of `token`, which names one unknown so far.

        Raises `BelfryError` `keys_unavailable` if no key was ever fetched.
        """
        if self._loaded and not self._keyring.names_unknown_key(token):
            return False
        return self.refreshed()

    def refreshed(self) -> bool:
        """Whether it is worth another look: the keys were fetched just now, or a moment ago.

        Raises `BelfryError` `keys_unavailable` if no key was ever fetched.
        """
        asked_at = time.monotonic()
        with self._lock:  # who waited here finds the keys that somebody else fetched meanwhile
            if self._tried_at < asked_at - MISS_SECONDS:
                self.refresh()
        if not self._loaded:
            raise BelfryError("keys_unavailable", headers={"Retry-After": str(int(MISS_SECONDS))})
        return self._tried_at >= asked_at - MISS_SECONDS

    def refresh(self) -> None:
        """Fetch once; on failure the keys known so far stay."""
        self._tried_at = time.monotonic()
        try:
            self._keyring.replace_published(jwk.of_set(self._fetch()))
            self._loaded = True
        # of requests, of reading the body, of what it says
        except (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError) as error:
            logger.warning("the signing keys can't be fetched, the known ones stay valid: %s", error)
        self._loop.start()

    def stop(self) -> None:
        """Stop fetching."""
        self._loop.stop()

    def _fetch(self) -> Any:
        with requests.get(self._url, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=False) as answer:
            answer.raise_for_status()
            text = answer.raw.read(DOCUMENT_MAX_BYTES + 1, decode_content=True)
        if len(text) > DOCUMENT_MAX_BYTES:
            raise ValueError(f"the document has more than {DOCUMENT_MAX_BYTES} bytes")
        return json.loads(text)

    def _refresh(self) -> None:
        with self._lock:
            self.refresh()
