"""`/v1`: OpenAI's chat API, relayed to an upstream while the client waits, and the list of models.

The answer passes through and is kept nowhere, which makes it cheap: the request is its own only reader, and ends with
it. Whoever wants an answer that survives a reload starts a run at `/completions`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

from flask import Blueprint, Response, jsonify, request

from ...core.completion import DONE, openai_error, parse
from ...core.completion.json_text import cleaned, written
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.wire.frames import compact
from ...live.runs.models import Models
from ...live.runs.relay import Relay
from ...live.runs.upstream import Exchange
from ...live.runs.whole_answer import WholeAnswer
from ...server.gates.turns import hung_up
from ...store.runs.runs import RunName
from ..api.stream import HEADERS
from ..edge.auth import Authenticator
from ..edge.problems import refusal
from ..edge.reading import body, headers_of
from .runs import SCOPE

# OpenAI's Python client stumbles over blocks with `id`, `retry` or `event` alone; comments it skips.
PING = b": ping\n\n"
LOOK_SECONDS = 0.4  # between two looks whether the client is still there
LEFT = 499  # nginx's number for a client that closed its request; nobody reads it
WHOLE_HEADERS = {"Cache-Control": "no-store"}

Gone = Callable[[], bool]


def blueprint(auth: Authenticator, relay: Relay, models: Models, settings: Settings) -> Blueprint:
    views = Blueprint("openai", __name__, url_prefix="/v1")

    @views.post("/chat/completions")
    def complete() -> Response:
        claims = auth.require(request, SCOPE)
        text = body(request, settings.max_completion_bytes, settings.body_seconds)
        auth.check(claims)  # a body may take long to come
        asked = parse(text, headers=headers_of(request))
        chosen = relay.choose(asked.model)
        name = RunName(claims.user, secrets.token_urlsafe(16))
        relay.admit(name)
        gone = partial(hung_up, request.environ)
        if asked.stream:
            return Passage(relay, name, relay.stream(name, chosen, asked), settings, gone).response()
        answer = relay.ask(name, chosen, asked)
        try:
            return whole(answer, gone)
        finally:
            answer.abandon(BelfryError("internal_error"))  # no effect on one that is over
            relay.release(name, answer.tokens)

    @views.get("/models")
    def list_models() -> Response:
        auth.require(request, SCOPE)
        return jsonify(object="list", data=models.all())

    @views.get("/models/<path:model>")
    def one_model(model: str) -> Response:
        auth.require(request, SCOPE)
        return jsonify(models.named(model))

    @views.errorhandler(BelfryError)
    def refuse(error: BelfryError) -> Response:
        return refusal(error, written(openai_error(error)), "application/json")

    return views


def whole(answer: WholeAnswer, gone: Gone) -> Response:
    """The answer in one piece. Raises `BelfryError`."""
    while not answer.wait(LOOK_SECONDS):
        if gone():
            return Response(status=LEFT)
    return Response(answer.text(), mimetype="application/json", headers={**answer.headers, **WHOLE_HEADERS})


class Passage:
    """A streamed answer on its way through. Lets go of the upstream when the client does."""

    def __init__(self, relay: Relay, name: RunName, exchange: Exchange, settings: Settings, gone: Gone) -> None:
        self._relay = relay
        self._name = name
        self._exchange = exchange
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._status_seconds = settings.upstream_status_seconds
        self._gone = gone
        self._has_left = False

    def response(self) -> Response:
        """The answer. Raises `BelfryError` if the upstream refuses, unless that takes longer than a client waits."""
        try:
            self._wait_opened()
            first = self._exchange.take(0)
        except BaseException:
            self.close()
            raise
        answer = Response(self._blocks(first), headers={**self._exchange.headers, **HEADERS})
        answer.call_on_close(self.close)
        return answer

    def close(self) -> None:
        """The answer is over, or its client gone."""
        self._exchange.close()
        self._relay.release(self._name, self._exchange.tokens)

    def _wait_opened(self) -> None:
        """Wait for the upstream's status, and for its first piece where that comes with it."""
        until = time.monotonic() + self._status_seconds
        while not self._exchange.wait_opened(min(LOOK_SECONDS, max(0.0, until - time.monotonic()))):
            self._look()
            if self._has_left or time.monotonic() >= until:
                return

    def _blocks(self, chunks: list[str]) -> Iterator[bytes]:
        try:
            while not self._exchange.over and not self._has_left:
                yield "".join([f"data: {chunk}\n\n" for chunk in chunks]).encode() or PING
                chunks = self._next()
            yield "".join([f"data: {chunk}\n\n" for chunk in [*chunks, DONE]]).encode()
        except BelfryError as error:
            # The status was sent long ago: OpenAI's clients look for the error in the data.
            yield f"data: {compact(cleaned(in_stream(error)))}\n\ndata: {DONE}\n\n".encode()

    def _next(self) -> list[str]:
        """The chunks that came; none when it is time for a heartbeat, at the end, or when the client has left."""
        until = time.monotonic() + self._heartbeat_seconds
        while True:
            left = until - time.monotonic()
            chunks = self._exchange.take(max(0.0, min(LOOK_SECONDS, left)))
            if chunks or self._exchange.over or left <= 0:
                return chunks
            self._look()
            if self._has_left:
                return chunks

    def _look(self) -> None:
        self._has_left = self._gone()


def in_stream(error: BelfryError) -> dict[str, object]:
    """An error in mid-stream, with the status and the advice that can't stand in the head any more."""
    told = openai_error(error)
    advice = {name.replace("-", "_"): value for name, value in error.headers.items() if name.startswith("retry-after")}
    told["error"] = {**told["error"], "status": error.status, **advice}
    return told
