"""`/v1/responses`: OpenAI's Responses API, over upstreams that support only chat completions.

A response with `background: true` is a run: it continues without its client, and can be read again from any event. Any
other response ends with its client, and is not stored.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Blueprint, jsonify, request
from flask import Response as Answer

from ...core.addresses import Network
from ...core.completion.forms import chunks_of
from ...core.completion.json_text import written
from ...core.dialects.responses import Response, ResponseStream, encoded, failure
from ...core.dialects.responses_request import ResponseRequest, is_background, read, translated
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.wire import frames
from ...live.runs.relay import Relay
from ...live.streams.streams import Streams
from ...server.gates.concurrency_limit import hung_up
from ...store.runs.runs import Run, RunName, Runs
from ..api.stream import HEADERS, Start, StreamHandler, StreamResponse, client_of, require_room
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits
from ..edge.reading import flag, headers_of, whole_number
from .openai import WHOLE_HEADERS, Api, StreamedAnswer, refuse, take_api_key, whole
from .runs import SCOPE, named, reopened

PATH = "/v1/responses"
LAST_SEQUENCE = 1_000_000_000


def blueprint(response_views: ResponseViews) -> Blueprint:
    """Return the views of `/v1/responses`."""
    views = Blueprint("responses", __name__)
    views.register_error_handler(Exception, refuse)
    views.before_request(take_api_key)
    one = f"{PATH}/<response_id>"
    views.add_url_rule(PATH, view_func=response_views.create, methods=["POST"], strict_slashes=False)
    views.add_url_rule(one, view_func=response_views.retrieve, methods=["GET"], strict_slashes=False)
    views.add_url_rule(one, view_func=response_views.delete, methods=["DELETE"], strict_slashes=False)
    views.add_url_rule(f"{one}/cancel", view_func=response_views.cancel, methods=["POST"], strict_slashes=False)
    return views


@dataclass(frozen=True, slots=True)
class ResponseViews:
    """The views of OpenAI's Responses API."""

    auth: Authenticator
    api: Api
    runs: Runs
    relay: Relay
    streams: Streams
    stream_handler: StreamHandler
    limits: RateLimits
    proxies: Sequence[Network]

    def create(self) -> Answer:
        claims = self.auth.require(request, SCOPE)
        user, text = self.api.read()
        given = read(text)
        chosen = self.relay.choose(str(given.get("model") or ""))
        if chosen.responses and not is_background(given):
            return self.api.pass_on(user, text, "/responses")
        asked = translated(given, headers_of(request))
        if asked.background:
            return self._start(claims, asked)
        return self._stream_through(user, asked) if asked.chat.stream else self._whole(user, asked)

    def retrieve(self, response_id: str) -> Answer:
        claims = self.auth.require(request, SCOPE)
        name, run = self._kept(claims, response_id)
        after = whole_number(request, "starting_after", -1, -1, LAST_SEQUENCE)
        if not flag(request, "stream"):
            return jsonify(self._object(name, run))
        return Answer(headers=HEADERS) if request.method == "HEAD" else self._stream(claims, name, run, after)

    def cancel(self, response_id: str) -> Answer:
        name, _ = self._kept(self.auth.require(request, SCOPE), response_id)
        self.relay.stop_run(name)
        return jsonify(self._object(name, self.runs.get(name)))

    def delete(self, response_id: str) -> Answer:
        name, _ = self._kept(self.auth.require(request, SCOPE), response_id)
        self.relay.stop_run(name)
        self.runs.delete(name)
        return jsonify(id=name.id, object="response", deleted=True)

    # Responses in the background

    def _start(self, claims: Claims, asked: ResponseRequest) -> Answer:
        name = RunName(claims.user, _new_id(request.headers.get("Idempotency-Key", "")))
        self.relay.begin(name, replace(asked.chat, response=json.dumps(asked.echo)))
        run = self.runs.get(name)
        return self._stream(claims, name, run, -1) if asked.chat.stream else jsonify(self._object(name, run))

    def _kept(self, claims: Claims, response_id: str) -> tuple[RunName, Run]:
        """Return a response that the user started. Raises `BelfryError` `not_found`, `run_gone` or `bad_run_id`."""
        name = named(claims, response_id)
        run = self.runs.get(name)
        if run.response is None:
            raise BelfryError("not_found", f"No response has the id {response_id!a}.")
        return name, run

    def _object(self, name: RunName, run: Run) -> dict[str, Any]:
        """Return the response object that follows from the current state of its run."""
        response = _response_of(run)
        for chunk in self.runs.chunks(name, run):
            response.take(json.loads(chunk))
        if not run.ended:
            return response.object("in_progress")
        error = run.error or {}
        told = failure(error.get("code", ""), error.get("detail", "")) if run.status == "failed" else None
        ended = response.end({"done": "", "stopped": "cancelled"}.get(run.status, "failed"), told)
        found: dict[str, Any] = ended[-1]["response"]
        return found

    def _stream(self, claims: Claims, name: RunName, run: Run, after: int) -> Answer:
        """Stream the events after the number `after`.

        The events follow from single chunks, so chunks are not merged.
        """
        require_room(request)
        self.limits.connect(claims.user)
        opening = self.streams.open(claims.user, [name.log], (run.start,))
        if opening.lost:
            opening = reopened(self.streams, name, run, opening.pages[0].tail)
        self.auth.check(claims)  # as in the view of `/stream`
        ready = frames.run_ready(opening.vector, self.streams.retry_ms(), run.id, run.status)
        dialect = ResponseStream(_response_of(run), after)
        return StreamResponse(
            self.stream_handler, Start(opening, ready, claims, client_of(request, self.proxies), dialect)
        )

    # Responses for which the client waits

    def _stream_through(self, user: str, asked: ResponseRequest) -> Answer:
        chosen = self.relay.choose(asked.chat.model)
        name, gone = self.api.admitted(user), partial(hung_up, request.environ)
        stream = self.relay.stream(name, chosen, asked.chat)
        return ResponsePassage(_response_to(asked), self.relay, name, stream, self.api.settings, gone).response()

    def _whole(self, user: str, asked: ResponseRequest) -> Answer:
        chosen = self.relay.choose(asked.chat.model)
        name, gone = self.api.admitted(user), partial(hung_up, request.environ)
        answer = self.relay.ask(name, chosen, asked.chat)
        try:
            chat = whole(answer, gone)
        finally:
            answer.abandon(BelfryError("internal_error"))  # no effect if the answer is complete
            self.relay.release(name, answer.tokens)
        if chat.status_code != 200:
            return chat
        response = _response_to(asked)
        for chunk in chunks_of(json.loads(chat.get_data())):
            response.take(chunk)
        told = response.end()[-1]["response"]
        return Answer(written(told), mimetype="application/json", headers={**answer.headers, **WHOLE_HEADERS})


class ResponsePassage(StreamedAnswer):
    """A streamed response that is passed through."""

    def __init__(self, said: Response, *passage: Any) -> None:
        super().__init__(*passage)
        self._response = said
        self._has_begun = False

    def _said(self, chunks: list[str]) -> bytes:
        events = [] if self._has_begun else self._response.begin()
        self._has_begun = True
        for chunk in chunks:
            events += self._response.take(json.loads(chunk))
        return encoded(events)

    def _end(self) -> bytes:
        return encoded(self._response.end())

    def _failed(self, error: BelfryError) -> bytes:
        return self._said([]) + encoded(self._response.end("failed", failure(error.code, error.detail)))


def _new_id(key: str) -> str:
    """Return the id of a response. The same idempotency key always gives the same id."""
    return f"resp_{hashlib.blake2b(key.encode(), digest_size=16).hexdigest() if key else secrets.token_hex(16)}"


def _response_of(run: Run) -> Response:
    return Response(run.id, run.started // 1_000, run.model, run.response or {}, background=True)


def _response_to(asked: ResponseRequest) -> Response:
    return Response(_new_id(""), int(time.time()), asked.chat.model, asked.echo, background=False)
