"""The list of models: those that the settings name, and for a pattern those that the upstream lists.

An upstream's list is kept for a minute, and longer if the upstream does not answer. The first request, at the start,
also shows whether the addresses in the settings are right.
"""

from __future__ import annotations

import http.client
import logging
import time
from typing import Any

import gevent
import requests
import urllib3
from gevent.lock import BoundedSemaphore

from ...core.completion.failure import short, told_in
from ...core.completion.models import Model, models_in
from ...core.errors import BelfryError
from ...core.upstreams import Upstream, Upstreams
from .upstream_client import UpstreamClients, read_decoded

KEPT_SECONDS = 60.0
RETRY_SECONDS = 5.0  # after an upstream could not be asked
ASK_SECONDS = 5.0  # for all upstreams together
DOCUMENT_MAX_BYTES = 4_194_304
OK = 200
WRONG_PLACE = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})  # also a key that is refused
BROKEN = (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)

logger = logging.getLogger("belfry.models")


class Models:
    """One per worker; asks the upstreams when somebody asks it."""

    def __init__(self, clients: UpstreamClients, upstreams: Upstreams) -> None:
        self._clients = clients
        self._upstreams = upstreams
        self._told: dict[Upstream, dict[str, Model]] = {}
        self._trouble: dict[Upstream, str] = {}
        self._fresh_until = 0.0
        self._lock = BoundedSemaphore()

    def start(self) -> None:
        """Ask every upstream in the background, and log what each one answers."""
        for upstream in self._upstreams:
            gevent.spawn(self._introduce, upstream)

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
        if not found and self._trouble and not self._told:
            reasons = " ".join(self._trouble.values())
            raise BelfryError("upstream_unreachable", f"No upstream tells which models it has. {reasons}")
        return list(found.values())

    def named(self, name: str) -> Model:
        """One of them. Raises `BelfryError` `model_unknown`, or as `all`."""
        for model in self.all():
            if model["id"] == name:
                return model
        raise BelfryError("model_unknown", f"The model {name[:80]!r} is not listed.", param="model")

    def troubles(self) -> list[dict[str, str]]:
        """Each upstream's address and what is wrong with it now, empty where nothing is. It asks all of them."""
        asked = {upstream: gevent.spawn(self._examine, upstream) for upstream in self._upstreams}
        gevent.joinall(list(asked.values()), ASK_SECONDS)
        late = f"It did not answer within {ASK_SECONDS:g} s."
        found = [
            {"upstream": upstream.name, "trouble": greenlet.value[1] if greenlet.value else late}
            for upstream, greenlet in asked.items()
        ]
        gevent.killall(list(asked.values()))
        return found

    def _introduce(self, upstream: Upstream) -> None:
        """The line at the start: how an upstream is reached, and whether it answers there."""
        models, trouble = self._examine(upstream)
        way = self._clients.of(upstream).way
        if trouble:
            logger.warning("upstream %s%s: %s", upstream.name, way, trouble)
        else:
            told = f"{len(models)} models" if models else "it lists no models"
            logger.info("upstream %s%s is there: %s", upstream.name, way, told)

    def _examine(self, upstream: Upstream) -> tuple[dict[str, Model], str]:
        """The models that an upstream lists, and what is wrong with its address.

        One whose models are all named in the settings may have no list. It is asked for a completion of nothing, which
        every API refuses, at no cost.
        """
        models, trouble = self._look(upstream)
        if not trouble or upstream.has_patterns:
            return models, trouble
        try:
            status, text = self._read(self._clients.of(upstream).post_nothing(upstream.completions_url, ASK_SECONDS))
        except BROKEN as error:
            return {}, f"{upstream.name} can't be reached: {upstream.masked(str(error))}."
        except (ValueError, BelfryError):  # a long answer is an answer
            return {}, ""
        if status not in WRONG_PLACE and not _is_page(text):
            return {}, ""
        reason = upstream.masked(str(told_in(text).get("message", "")))
        told = f"It answers POST {upstream.name}/chat/completions with {status} {reason}".rstrip()
        return {}, told + self._advice(upstream, status)

    def _ask_all(self) -> None:
        asked = [gevent.spawn(self._ask, upstream) for upstream in self._upstreams if upstream.has_patterns]
        gevent.joinall(asked, ASK_SECONDS)
        kept_seconds = KEPT_SECONDS if all(greenlet.value for greenlet in asked) else RETRY_SECONDS
        gevent.killall(asked)
        self._fresh_until = time.monotonic() + kept_seconds

    def _ask(self, upstream: Upstream) -> bool:
        """Whether it answered. If not, its former answer stays valid."""
        self._trouble[upstream] = f"{upstream.name} did not answer within {ASK_SECONDS:g} s."
        models, trouble = self._look(upstream)
        if trouble:
            self._trouble[upstream] = trouble
            logger.warning("upstream %s: %s", upstream.name, trouble)
            return False
        self._told[upstream] = models
        self._trouble.pop(upstream, None)
        return True

    def _look(self, upstream: Upstream) -> tuple[dict[str, Model], str]:
        """The models that an upstream lists, or why it lists none."""
        try:
            status, text = self._fetch(upstream, upstream.models_url)
            if status == OK:
                return models_in(text), ""
            reason = upstream.masked(str(told_in(text).get("message", "")))
            return {}, f"It answers GET {upstream.name}/models with {status} {reason}".rstrip() + self._advice(
                upstream, status
            )
        except BROKEN as error:
            return {}, f"{upstream.name} can't be reached: {upstream.masked(str(error))}."
        except (ValueError, BelfryError) as error:
            reason = error.detail if isinstance(error, BelfryError) else str(error)
            return {}, f"The list of models of {upstream.name} can't be understood: {short(reason).rstrip('.')}."

    def _advice(self, upstream: Upstream, status: int) -> str:
        if 300 <= status < 400:
            return ": it redirects; set the address to where it leads."
        if self._has_wrong_address(upstream):
            return f": the address lacks /v1; set it to {upstream.name}/v1."
        return "."

    def _has_wrong_address(self, upstream: Upstream) -> bool:
        """Whether the upstream's API is found at `/v1` below its address, and not at the address."""
        if upstream.has_version:
            return False
        try:
            status, _ = self._fetch(upstream, upstream.below("/v1/models"))
        except (*BROKEN, BelfryError):
            return False
        return status not in {404, 405}

    def _fetch(self, upstream: Upstream, url: str) -> tuple[int, bytes]:
        """Raises ValueError for a document that is too large, and whatever a broken connection raises."""
        return self._read(self._clients.of(upstream).get(url, ASK_SECONDS))

    @staticmethod
    def _read(answer: requests.Response) -> tuple[int, bytes]:
        with answer as reply:
            text = read_decoded(reply, DOCUMENT_MAX_BYTES + 1)
        if len(text) > DOCUMENT_MAX_BYTES:
            raise ValueError(f"the list has more than {DOCUMENT_MAX_BYTES} bytes")
        return reply.status_code, text


def _is_page(text: bytes) -> bool:
    """Whether this is HTML, as a web server sends it that is no API."""
    return text.lstrip()[:1] == b"<"


def _plain(name: str) -> dict[str, Any]:
    """A model of which only the name in the settings is known."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "upstream"}
