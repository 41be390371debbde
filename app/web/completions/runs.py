"""`/completions`: POST starts a run. `EventSource` reads it, from the start or from where the client stopped.

The run continues when all readers leave. `DELETE` stops it, from any device.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Request, Response, jsonify, request

from ...core.addresses import Network
from ...core.completion import check_run_id, parse
from ...core.dialects import ui_messages
from ...core.dialects.ui_messages import UIMessages, chat_of
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.log.cursor import Position
from ...core.wire import frames
from ...core.wire.times import rfc3339
from ...live.runs.relay import Relay
from ...live.streams.streams import Opening, Streams
from ...store.runs.runs import ENDING_RECORDS, Run, RunName, Runs, is_ending, told
from ..api.stream import HEADERS, Start, StreamHandler, StreamResponse, client_of, require_room
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits
from ..edge.reading import decompressed_body, flag, headers_of, resumed_from, whole_number

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
CHAT_RUNS = 100  # of a user's newest runs, in which a chat's last answer is searched
CHAT_ID_MAX_CHARS = 47
CHAT_SUFFIX_BYTES = 8  # with the chat's id, at most the 64 characters that a run's id may have
SCOPE = "complete"


def blueprint(run_views: RunViews) -> Blueprint:
    """Return the views of `/completions`."""
    views = Blueprint("completions", __name__, url_prefix="/completions")
    views.register_error_handler(BelfryError, run_views.stream_handler.refuse)
    views.post("")(run_views.start)
    views.get("")(run_views.newest)
    views.get("/<run_id>")(run_views.state)
    views.delete("/<run_id>")(run_views.stop)
    views.get("/<run_id>/stream")(run_views.stream)
    return views


@dataclass(frozen=True, slots=True)
class RunViews:
    """The views that start, list, show, stop and stream runs."""

    auth: Authenticator
    runs: Runs
    relay: Relay
    streams: Streams
    stream_handler: StreamHandler
    limits: RateLimits
    body_bytes: int
    body_seconds: float
    proxies: Sequence[Network]

    def start(self) -> Response | tuple[Response, int]:
        claims = self.auth.require(request, SCOPE)
        text = decompressed_body(request, self.body_bytes, self.body_seconds)
        self.auth.check(claims)  # the body may have taken long to arrive
        if asked_format(request):
            return self._start_chat(claims, text)
        asked = parse(text, takes_id=True, key=request.headers.get("Idempotency-Key", ""), headers=headers_of(request))
        name = RunName(claims.user, asked.id or secrets.token_urlsafe(16))
        started = self.relay.begin(name, asked)
        status = "running" if started else self.runs.get(name).status
        return jsonify(id=name.id, stream=stream_path(name.id), status=status), 201 if started else 200

    def _start_chat(self, claims: Claims, text: bytes) -> Response:
        """Start the next answer of a chat of the AI SDK, and stream it. The run's id begins with the chat's id."""
        chat_id, body = chat_of(text)
        asked = parse(body, headers=headers_of(request))
        run_id = f"{check_chat_id(chat_id)}.{secrets.token_hex(CHAT_SUFFIX_BYTES)}"
        name = RunName(claims.user, run_id)
        self.relay.begin(name, asked)
        return self._stream_chat(claims, name, self.runs.get(name))

    def newest(self) -> Response:
        claims = self.auth.require(request, SCOPE)
        limit = whole_number(request, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        return jsonify(completions=[shown(run) for run in self.runs.newest(claims.user, limit)])

    def state(self, run_id: str) -> Response:
        name = named(self.auth.require(request, SCOPE), run_id)
        run = self.runs.get(name)
        return jsonify(shown(run) | told(self.runs.transcript(name, run)))

    def stop(self, run_id: str) -> Response:
        name = named(self.auth.require(request, SCOPE), run_id)
        self.runs.get(name)
        return jsonify(id=run_id, status=self.relay.stop_run(name).status)

    def stream(self, run_id: str) -> Response:
        claims = self.auth.require(request, SCOPE)  # only once, because a ticket can't be used again
        name = named(claims, run_id)
        if asked_format(request):
            return self._resume_chat(claims, name)
        cursor, merges = resumed_from(request), flag(request, "snapshot") is not False
        run = self.runs.get(name)
        if request.method == "HEAD":
            return Response(headers=HEADERS)
        require_room(request)
        self.limits.connect(claims.user)
        opening = self.streams.open(claims.user, [name.log], cursor or (run.start,))
        if opening.lost:
            opening = reopened(self.streams, name, run, opening.pages[0].tail)
        elif run.ended and opening.vector[0] == opening.pages[0].tail:
            # EventSource reconnects after every end. This status stops it.
            return Response(status=204)
        opening.merges = merges
        self.auth.check(claims)  # as in the view of `/stream`
        ready = frames.run_ready(opening.vector, self.streams.retry_ms(), run.id, run.status)
        return StreamResponse(self.stream_handler, Start(opening, ready, claims, client_of(request, self.proxies)))

    def _resume_chat(self, claims: Claims, name: RunName) -> Response:
        """Stream the newest answer of the chat or run with this id.

        Answer 204 if there is none, as the AI SDK expects.
        """
        found = self.runs.newest_below(claims.user, name.id, CHAT_RUNS)
        if found is None:
            return Response(status=204)
        headers = {**HEADERS, **ui_messages.HEADER}
        if request.method == "HEAD":
            return Response(headers=headers)
        return self._stream_chat(claims, RunName(claims.user, found.id), found)

    def _stream_chat(self, claims: Claims, name: RunName, run: Run) -> Response:
        require_room(request)
        self.limits.connect(claims.user)
        opening = self.streams.open(claims.user, [name.log], (run.start,))
        if opening.lost:
            opening = reopened(self.streams, name, run, opening.pages[0].tail)
        opening.merges = True
        self.auth.check(claims)
        ready = frames.run_ready(opening.vector, self.streams.retry_ms(), run.id, run.status)
        client, dialect = client_of(request, self.proxies), UIMessages(run.id)
        headers = {**HEADERS, **ui_messages.HEADER}
        return StreamResponse(self.stream_handler, Start(opening, ready, claims, client, dialect), headers)


def asked_format(asked: Request) -> str:
    """Return the requested format, empty for Belfry's own. Raises `BelfryError` `bad_parameter`."""
    given = asked.args.get("format", "")
    if given not in ("", ui_messages.FORMAT):
        raise BelfryError("bad_parameter", f"format: expected {ui_messages.FORMAT}, got {given[:40]!r}.")
    return given


def check_chat_id(text: str) -> str:
    """Return `text` if it can begin a run's id. Raises `BelfryError` `bad_run_id`."""
    if not text or len(text) > CHAT_ID_MAX_CHARS:
        told = f"A chat's id has 1 to {CHAT_ID_MAX_CHARS} characters, got {len(text)}."
        raise BelfryError("bad_run_id", told)
    return check_run_id(text)


def reopened(streams: Streams, name: RunName, run: Run, tail: Position) -> Opening:
    """Open a run for a reader whose position the store has lost.

    The reader is notified of the loss, and then gets the end of the run. Raises `BelfryError` `bad_cursor` if nothing
    can have been lost, because the log still has its first epoch.
    """
    if tail.epoch == run.start.epoch:
        raise BelfryError("bad_cursor", "The cursor is not of this run.")
    opening = streams.open(name.user, [name.log], (Position(tail.epoch, max(0, tail.offset - ENDING_RECORDS)),))
    (page,) = opening.pages
    ending = next((entry.offset for entry in page.entries if is_ending(entry.record)), page.top + 1)
    opening.vector, opening.lost = (Position(page.epoch, ending - 1),), True
    return opening


def named(claims: Claims, run_id: str) -> RunName:
    """Return the name of a run of this user. Other users' runs have other names, so they are not found."""
    return RunName(claims.user, check_run_id(run_id))


def stream_path(run_id: str) -> str:
    """Return the path where a run can be read.

    Clients resolve `.` and `..` in a path, so these ids are put into the query (see `paths`).
    """
    return f"/completions/~/stream?id={run_id}" if run_id in (".", "..") else f"/completions/{run_id}/stream"


def shown(run: Run) -> dict[str, Any]:
    """Return what a client sees of a run."""
    others: dict[str, Any] = {"usage": run.usage} | ({"error": run.error} if run.error else {})
    others |= {"conversation": run.conversation} if run.conversation else {}
    return {
        "id": run.id,
        "status": run.status,
        "model": run.model,
        "title": run.title,
        "stream": stream_path(run.id),
        "started": rfc3339(run.started / 1_000),
        "ended": rfc3339(run.ended / 1_000) if run.ended else None,
        **others,
    }
