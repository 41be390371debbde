"""`/v1`: OpenAI's API, relayed to an upstream while the client waits, and the list of models.

The answer is not stored, which makes it cheap. The request is its only reader, and the answer ends with the request. A
client whose answers must survive a reload starts a run at `/completions`.

Chat answers are read and checked chunk by chunk. All other answers pass unchanged. Azure's clients find the same API
below `/openai/deployments/<model>`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ...core.completion import DONE, openai_error, parse, parse_forwarded
from ...core.completion.failure import in_stream
from ...core.completion.json_text import cleaned, written
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.wire.frames import compact
from ...live.runs.completion_stream import CompletionStream
from ...live.runs.models import Models
from ...live.runs.relay import Relay
from ...live.runs.whole_answer import WholeAnswer
from ...server.gates.concurrency_limit import hung_up
from ...store.runs.runs import RunName
from ..api.stream import HEADERS
from ..edge.auth import Authenticator
from ..edge.problems import refusal, translated
from ..edge.reading import decompressed_body, headers_of
from .forwarded_answer import LEFT, LOOK_SECONDS, ForwardedAnswer
from .runs import SCOPE

# OpenAI's Python client fails on blocks that have only `id`, `retry` or `event`. It skips comments.
PING = b": ping\n\n"
WHOLE_HEADERS = {"Cache-Control": "no-store"}
PREFIXES = ("/v1", "/openai")
ADMIN = "admin"  # a token that has this scope too sees the errors of each upstream
# Paths below the upstream's address that are passed on unchanged: these, and each operation below FORWARDED_BELOW.
FORWARDED = frozenset({"completions", "embeddings", "moderations"})
FORWARDED_BELOW = frozenset({"images", "audio"})
OPERATION_MAX_CHARS = 64
RELAYED = (
    "It relays POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/moderations, /v1/images/* and "
    "/v1/audio/*, GET /v1/models, and OpenAI's Responses API at /v1/responses."
)

Gone = Callable[[], bool]


def blueprint(api: Api, auth: Authenticator, models: Models) -> Blueprint:
    """Return the views of `/v1`, except for responses."""
    views = Blueprint("openai", __name__)
    views.register_error_handler(Exception, refuse)
    views.before_request(take_api_key)
    views.before_app_request(require_relayed)

    def post(path: str, view: Callable[..., Response]) -> None:
        views.add_url_rule(path, view_func=view, methods=["POST"], strict_slashes=False)

    post("/v1/chat/completions", api.complete)
    post("/v1/completions", api.forward_completion)
    post("/v1/embeddings", api.forward_embedding)
    post("/v1/moderations", api.forward_moderation)
    post("/v1/images/<operation>", api.forward_images)
    post("/v1/audio/<operation>", api.forward_audio)
    post("/openai/deployments/<model>/<path:operation>", api.deployment)

    @views.get("/v1/models", strict_slashes=False)
    def list_models() -> Response:
        claims = auth.require(request, SCOPE)
        upstreams = {"upstreams": models.troubles()} if ADMIN in claims.scopes else {}
        return jsonify(object="list", data=models.all(), **upstreams)

    @views.get("/v1/models/<path:model>", strict_slashes=False)
    def one_model(model: str) -> Response:
        auth.require(request, SCOPE)
        return jsonify(models.named(model.rstrip("/")))

    return views


def refuse(error: Exception) -> Response:
    """Return the answer to any exception of a view, in OpenAI's shape."""
    told = translated(error, request.environ)
    return refusal(told, written(openai_error(told)), "application/json")


def take_api_key() -> None:
    """Treat the header `api-key` as a bearer token, because Azure's clients send their key in it.

    Only this API does so.
    """
    key = request.headers.get("api-key", "")
    if key and "HTTP_AUTHORIZATION" not in request.environ:
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {key}"


def require_relayed() -> Response | None:
    """Refuse a path or method that does not exist here, in OpenAI's shape."""
    wrong = request.routing_exception
    if not isinstance(wrong, NotFound | MethodNotAllowed) or not _is_openai(request.path):
        return None
    got = f"{request.method[:20]} {request.path[:80]}"
    if isinstance(wrong, NotFound):
        return refuse(not_relayed(got))
    allowed = ", ".join(sorted(set(wrong.valid_methods or ())))
    told = f"Expected {allowed}, got {got!a}. {RELAYED}"
    return refuse(BelfryError("method_not_allowed", told, headers={"Allow": allowed}))


def _is_openai(path: str) -> bool:
    return path in PREFIXES or path.startswith(tuple([f"{prefix}/" for prefix in PREFIXES]))


def _is_forwarded(path: str) -> bool:
    kind, _, operation = path.removeprefix("/").partition("/")
    if kind not in FORWARDED_BELOW:
        return kind in FORWARDED and not operation
    name = operation.replace("_", "").replace("-", "")
    return len(operation) <= OPERATION_MAX_CHARS and name.isascii() and name.isalnum()


def not_relayed(got: str) -> BelfryError:
    """Return the refusal of an operation that Belfry does not relay."""
    return BelfryError("not_found", f"Belfry does not relay {got!a}. {RELAYED}")


class Api:
    """The views that call an upstream."""

    def __init__(self, auth: Authenticator, relay: Relay, settings: Settings) -> None:
        self._auth = auth
        self._relay = relay
        self.settings = settings

    def complete(self, model: str = "") -> Response:
        """Answer a chat completion. `model` is the model that the URL names, if it names one."""
        user, text = self.read()
        asked = parse(text, headers=headers_of(request), model=model)
        chosen = self._relay.choose(asked.model)
        name, gone = self.admitted(user), partial(hung_up, request.environ)
        if asked.stream:
            return StreamedAnswer(
                self._relay, name, self._relay.stream(name, chosen, asked), self.settings, gone
            ).response()
        answer = self._relay.ask(name, chosen, asked)
        try:
            return whole(answer, gone)
        finally:
            answer.abandon(BelfryError("internal_error"))  # no effect if the answer is complete
            self._relay.release(name, answer.tokens)

    def forward_completion(self) -> Response:
        return self._forward("/completions")

    def forward_embedding(self) -> Response:
        return self._forward("/embeddings")

    def forward_moderation(self) -> Response:
        return self._forward("/moderations")

    def forward_images(self, operation: str) -> Response:
        return self._forward(f"/images/{operation}")

    def forward_audio(self, operation: str) -> Response:
        return self._forward(f"/audio/{operation}")

    def deployment(self, model: str, operation: str) -> Response:
        """Answer an operation at Azure's URL, which names the model."""
        path = f"/{operation.rstrip('/')}"
        return self.complete(model) if path == "/chat/completions" else self._forward(path, model)

    def _forward(self, path: str, model: str = "") -> Response:
        user, text = self.read()
        if not _is_forwarded(path):
            raise not_relayed(f"{request.method} {request.path[:80]}")
        return self.pass_on(user, text, path, model)

    def pass_on(self, user: str, text: bytes, path: str, model: str = "") -> Response:
        """Return the upstream's answer unchanged."""
        content_type = request.headers.get("Content-Type", "")
        asked = parse_forwarded(path, content_type, text, model=model, headers=headers_of(request))
        chosen = self._relay.choose(asked.model)
        name = self.admitted(user)
        call = self._relay.forward(name, chosen, asked)

        def close() -> None:
            call.close()
            self._relay.release(name, call.tokens)

        return ForwardedAnswer(call, partial(hung_up, request.environ), close).response()

    def read(self) -> tuple[str, bytes]:
        """Return the user and the body."""
        claims = self._auth.require(request, SCOPE)
        text = decompressed_body(request, self.settings.max_completion_bytes, self.settings.body_seconds)
        self._auth.check(claims)  # the body may have taken long to arrive
        return claims.user, text

    def admitted(self, user: str) -> RunName:
        """Admit a completion of `user` and return its name. Raises `BelfryError` if a limit forbids it."""
        name = RunName(user, secrets.token_urlsafe(16))
        self._relay.admit(name)
        return name


def whole(answer: WholeAnswer, gone: Gone) -> Response:
    """Wait for the whole answer and return it. Raises `BelfryError`."""
    while not answer.wait(LOOK_SECONDS):
        if gone():
            return Response(status=LEFT)
    return Response(answer.text(), mimetype="application/json", headers={**answer.headers, **WHOLE_HEADERS})


class StreamedAnswer:
    """A streamed answer that is passed through. It closes the upstream's answer when the client leaves."""

    def __init__(self, relay: Relay, name: RunName, stream: CompletionStream, settings: Settings, gone: Gone) -> None:
        self._relay = relay
        self._name = name
        self._stream = stream
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._status_seconds = settings.upstream_status_seconds
        self._gone = gone
        self._has_left = False

    def response(self) -> Response:
        """Return the answer.

        Raises `BelfryError` if the upstream refuses, unless that takes longer than a client waits.
        """
        try:
            self._wait_opened()
            first = self._stream.take(0)
        except BaseException:
            self.close()
            raise
        answer = Response(self._blocks(first), headers={**self._stream.headers, **HEADERS})
        answer.call_on_close(self.close)
        return answer

    def close(self) -> None:
        """Release the upstream and the user's limits, when the answer is over or its client has left."""
        self._stream.close()
        self._relay.release(self._name, self._stream.tokens)

    def _wait_opened(self) -> None:
        """Wait for the upstream's status, and for its first piece if that comes together with it."""
        until = time.monotonic() + self._status_seconds
        while not self._stream.wait_opened(min(LOOK_SECONDS, max(0.0, until - time.monotonic()))):
            self._look()
            if self._has_left or time.monotonic() >= until:
                return

    def _blocks(self, chunks: list[str]) -> Iterator[bytes]:
        try:
            while not self._stream.over and not self._has_left:
                yield self._said(chunks) or PING
                chunks = self._next()
            yield self._said(chunks) + self._end()
        except BelfryError as error:
            yield self._failed(error)

    def _said(self, chunks: list[str]) -> bytes:
        """Return the event blocks of some chunks."""
        return "".join([f"data: {chunk}\n\n" for chunk in chunks]).encode()

    def _end(self) -> bytes:
        """Return the last block of a complete answer."""
        return f"data: {DONE}\n\n".encode()

    def _failed(self, error: BelfryError) -> bytes:
        """Return the last blocks of a failed answer.

        The status was already sent, so clients look for the error here.
        """
        return f"data: {compact(cleaned(in_stream(error)))}\n\ndata: {DONE}\n\n".encode()

    def _next(self) -> list[str]:
        """Return the chunks that came. The list is empty at a heartbeat, at the end, and if the client has left."""
        until = time.monotonic() + self._heartbeat_seconds
        while True:
            left = until - time.monotonic()
            chunks = self._stream.take(max(0.0, min(LOOK_SECONDS, left)))
            if chunks or self._stream.over or left <= 0:
                return chunks
            self._look()
            if self._has_left:
                return chunks

    def _look(self) -> None:
        self._has_left = self._gone()
