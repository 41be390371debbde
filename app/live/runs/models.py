"""Which models there are: those that the settings name, and what each upstream with a pattern tells of its own.

What was told is kept for a minute, and longer where an upstream can't be asked again.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import gevent
import requests
import urllib3
from gevent.lock import BoundedSemaphore

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream, Upstreams

KEPT_SECONDS = 60.0
RETRY_SECONDS = 5.0  # after an upstream could not be asked
ASK_SECONDS = 5.0  # for all upstreams together
DOCUMENT_MAX_BYTES = 4_194_304

log = logging.getLogger("belfry.models")

Model = dict[str, Any]  # OpenAI's object: id, object, created, owned_by and whatever else the upstream tells


class Models:
    """One per worker; asks the upstreams when somebody asks it."""

    def __init__(self, session: requests.Session, upstreams: Upstreams, settings: Settings) -> None:
        self._session = session
        self._upstreams = upstreams
        self._connect_seconds = settings.upstream_connect_seconds
        self._told: dict[Upstream, dict[str, Model]] = {}
        self._fresh_until = 0.0
        self._lock = BoundedSemaphore()

    def all(self) -> list[Model]:
        """Every model once, as the upstream tells it that its completions go to.

        Raises `BelfryError` `upstream_unreachable` where upstreams should be asked and none ever answered.
        """
        with self._lock:  # who waited here finds what was fetched meanwhile
            if time.monotonic() >= self._fresh_until:
                self._ask_all()
        found: dict[str, Model] = {}
        for upstream in self._upstreams:
            known = self._told.get(upstream, {})
            names = [name for name in upstream.names if name not in known]
            for name, model in {**known, **{name: _plain(name) for name in names}}.items():
                if upstream.serves(name) and self._upstreams.choose(name) is upstream:
                    found.setdefault(name, model)
        if not found and any(upstream.has_patterns for upstream in self._upstreams):
            raise BelfryError("upstream_unreachable", "No upstream tells which models it has.")
        return list(found.values())

    def named(self, name: str) -> Model:
        """One of them. Raises `BelfryError` `model_unknown`, or as `all`."""
        for model in self.all():
            if model["id"] == name:
                return model
        raise BelfryError("model_unknown", f"The model {name[:80]!r} is not listed.", param="model")

    def _ask_all(self) -> None:
        asked = [gevent.spawn(self._ask, upstream) for upstream in self._upstreams if upstream.has_patterns]
        gevent.joinall(asked, ASK_SECONDS)
        kept_seconds = KEPT_SECONDS if all(greenlet.value for greenlet in asked) else RETRY_SECONDS
        gevent.killall(asked)
        self._fresh_until = time.monotonic() + kept_seconds

    def _ask(self, upstream: Upstream) -> bool:
        """Whether it answered; else what it told before stays."""
        try:
            models = json.loads(upstream.masked(self._fetch(upstream)))["data"]
            self._told[upstream] = {str(model["id"]): model for model in models}
        except (urllib3.exceptions.HTTPError, OSError) as error:
            log.warning("an upstream's models can't be fetched: %s", upstream.masked(str(error)))
        except (ValueError, LookupError, TypeError):
            log.warning("an upstream's list of models can't be understood")
        else:
            return True
        return False

    def _fetch(self, upstream: Upstream) -> str:
        headers = {"Accept-Encoding": "identity", **upstream.credentials}
        timeout = (self._connect_seconds, ASK_SECONDS)
        with self._session.get(
            upstream.models_url, headers=headers, timeout=timeout, stream=True, allow_redirects=False
        ) as reply:
            reply.raise_for_status()
            text: bytes = reply.raw.read(DOCUMENT_MAX_BYTES + 1)
        if len(text) > DOCUMENT_MAX_BYTES:
            raise ValueError(f"the list has more than {DOCUMENT_MAX_BYTES} bytes")
        return text.decode()


def _plain(name: str) -> Model:
    """A model of which nothing is known but its name in the settings."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "upstream"}
