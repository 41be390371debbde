"""`/v1`: OpenAI's chat API, relayed to an upstream while the client waits, and the list of models.

The answer passes through and is kept nowhere, which makes it cheap: the request is its own only reader, and ends with
it. Whoever wants an answer that survives a reload starts a run at `/completions`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from flask import Blueprint, Response, jsonify, request

from app.core.completion import DONE, openai_error, parse
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.wire.frames import compact
from app.live.runs.models import Models
from app.live.runs.relay import Relay
from app.live.runs.upstream import Exchange
from app.store.runs.runs import RunName
from app.web.api.stream import HEADERS
from app.web.completions.runs import SCOPE
from app.web.edge.auth import Authenticator
from app.web.edge.problems import refusal
from app.web.edge.reading import body

# OpenAI's Python client stumbles over blocks with `id`, `retry` or `event` alone; comments it skips.
PING = b": ping\n\n"
STATUS_SECONDS = 10.0  # until the client gets 200 and heartbeats, for an upstream that opens with its first token


def blueprint(auth: Authenticator, relay: Relay, models: Models, settings: Settings) -> Blueprint:
    views = Blueprint("openai", __name__, url_prefix="/v1")

    @views.post("/chat/completions")
    def complete() -> Response:
        claims = auth.require(request, SCOPE)
        text = body(request, settings.max_completion_bytes, settings.body_seconds)
        auth.check(claims)  # a body may take long to come
        asked = parse(text)
        chosen = relay.choose(asked.model)
        name = RunName(claims.user, secrets.token_urlsafe(16))
        relay.admit(name)
        if asked.stream:
            return Passage(relay, name, relay.stream(name, chosen, asked), settings.heartbeat_seconds).response()
        answer = relay.ask(name, chosen, asked)
        try:
            text = answer.wait()
        finally:
            relay.release(name, answer.tokens)
        return Response(text, mimetype="application/json", headers={"Cache-Control": "no-store"})

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
        return refusal(error, compact(openai_error(error)), "application/json")

    return views


class Passage:
    """A streamed answer on its way through. Lets go of the upstream when the client does."""

    def __init__(self, relay: Relay, name: RunName, exchange: Exchange, heartbeat_seconds: float) -> None:
        self._relay = relay
        self._name = name
        self._exchange = exchange
        self._heartbeat_seconds = heartbeat_seconds

    def response(self) -> Response:
        """The answer. Raises `BelfryError` if the upstream refuses, unless it takes `STATUS_SECONDS` to do so."""
        try:
            self._exchange.wait_opened(STATUS_SECONDS)
            first = self._exchange.take(0)
        except BaseException:
            self.close()
            raise
        answer = Response(self._blocks(first), headers=HEADERS)
        answer.call_on_close(self.close)
        return answer

    def close(self) -> None:
        """The answer is over, or its client gone."""
        self._exchange.close()
        self._relay.release(self._name, self._exchange.tokens)

    def _blocks(self, chunks: list[str]) -> Iterator[bytes]:
        try:
            while not self._exchange.over:
                yield "".join([f"data: {chunk}\n\n" for chunk in chunks]).encode() or PING
                chunks = self._exchange.take(self._heartbeat_seconds)
            yield "".join([f"data: {chunk}\n\n" for chunk in [*chunks, DONE]]).encode()
        except BelfryError as error:
            # The status was sent long ago: OpenAI's clients look for the error in the data.
            yield f"data: {compact(openai_error(error))}\n\ndata: {DONE}\n\n".encode()
