"""`/conversations`: questions and answers, turn by turn, kept by the server for all devices of their user.

Each question starts a run, which is watched and stopped at `/completions/<run>`. This module composes the request to
the model. It does not decide how an answer is made or kept.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, Response, jsonify, request

from ...core.completion import Question, check_run_id, parse_question, parse_title
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.settings import Settings
from ...core.wire.times import rfc3339
from ...live.runs.relay import Relay
from ...store.conversations.conversations import Conversation, Conversations, Summary, Turn
from ...store.runs.runs import RunName, Runs
from ..edge.auth import Authenticator
from ..edge.reading import decompressed_body, headers_of, json_body, whole_number
from .runs import SCOPE, stream_path

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000
ID_BYTES = 16
TITLE_BODY_BYTES = 4_096


def blueprint(handler: ConversationViews) -> Blueprint:
    """Return the views of `/conversations`."""
    views = Blueprint("conversations", __name__, url_prefix="/conversations")
    views.get("")(handler.newest)
    views.post("")(handler.begin)
    views.get("/<conversation_id>")(handler.show)
    views.patch("/<conversation_id>")(handler.rename)
    views.delete("/<conversation_id>")(handler.delete)
    views.post("/<conversation_id>/turns")(handler.ask)
    return views


@dataclass(frozen=True, slots=True)
class ConversationViews:
    """The views that list, show, continue and change the user's own conversations."""

    auth: Authenticator
    conversations: Conversations
    runs: Runs
    relay: Relay
    settings: Settings

    def newest(self) -> Response:
        claims = self.auth.require(request, SCOPE)
        limit = whole_number(request, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        return jsonify(conversations=[shown(each) for each in self.conversations.newest(claims.user, limit)])

    def begin(self) -> tuple[Response, int]:
        """Start a conversation with its first question. Both have the same id."""
        claims, question = self._question()
        return self._asked(claims, question, question.id, None)

    def ask(self, conversation_id: str) -> tuple[Response, int]:
        claims, question = self._question()
        name = check_run_id(conversation_id)
        return self._asked(claims, question, name, self._settled(claims.user, name))

    def show(self, conversation_id: str) -> Response:
        claims = self.auth.require(request, SCOPE)
        found = self._settled(claims.user, check_run_id(conversation_id))
        return jsonify({**shown(found.summary), "turns": [shown_turn(turn) for turn in found.turns]})

    def rename(self, conversation_id: str) -> Response:
        claims = self.auth.require(request, SCOPE)
        text = json_body(request, TITLE_BODY_BYTES, self.settings.body_seconds)
        self.auth.check(claims)  # the body may have taken long to arrive
        name, title = check_run_id(conversation_id), parse_title(text)
        self.conversations.rename(claims.user, name, title)
        return jsonify(id=name, title=title)

    def delete(self, conversation_id: str) -> Response:
        claims = self.auth.require(request, SCOPE)
        found = self.conversations.get(claims.user, check_run_id(conversation_id))
        self.conversations.delete(claims.user, found.id)
        self.runs.delete_all(claims.user, [turn.id for turn in found.turns])
        return Response(status=204)

    def _question(self) -> tuple[Claims, Question]:
        """Return the claims of the user and the question."""
        claims = self.auth.require(request, SCOPE)
        text = decompressed_body(request, self.settings.max_completion_bytes, self.settings.body_seconds)
        self.auth.check(claims)  # the body may have taken long to arrive
        question = parse_question(text, request.headers.get("Idempotency-Key", ""))
        return claims, question if question.id else replace(question, id=secrets.token_urlsafe(ID_BYTES))

    def _settled(self, user: str, name: str) -> Conversation:
        """Return a conversation with the answers of all runs that have ended. Raises `BelfryError` `not_found`."""
        found = self.conversations.get(user, name)
        return self.conversations.get(user, name) if self.runs.settle(user, found) else found

    def _status_of(self, run: RunName) -> str:
        """Return the status of a run. A store that fails now is no error: it holds the question already."""
        try:
            return self.runs.get(run).status
        except BelfryError:
            return "running"

    def _asked(
        self, claims: Claims, question: Question, name: str, conversation: Conversation | None
    ) -> tuple[Response, int]:
        asked = self.conversations.place(claims.user, conversation, name, question)
        run = RunName(claims.user, question.id)
        started = self.relay.begin(run, question.request(name, asked.turns, headers_of(request)), asked)
        is_running = self.relay.is_producing(run)  # looked up before a switch, so that a quick answer is running too
        if started:
            self.runs.delete_all(claims.user, [turn.id for turn in asked.replaced])
            self.conversations.tell(claims.user, name)
            status = "running" if is_running else self._status_of(run)
            revision = int(asked.revision or 0) + 1
        else:
            status, revision = self.runs.get(run).status, self.conversations.get(claims.user, name).summary.revision
        told = {"id": name, "turn": run.id, "stream": stream_path(run.id), "status": status, "revision": revision}
        return jsonify(told), 201 if started else 200


def shown(conversation: Summary) -> dict[str, Any]:
    """Return what a client sees of a conversation in a list."""
    return {
        "id": conversation.id,
        "title": conversation.title,
        "model": conversation.model,
        "created": rfc3339(conversation.created / 1_000),
        "used": rfc3339(conversation.used / 1_000),
        "revision": conversation.revision,
        "questions": conversation.count,
        "running": conversation.running or None,
    }


def shown_turn(turn: Turn) -> dict[str, Any]:
    """Return what a client sees of a question and its answer."""
    return {
        "id": turn.id,
        "content": turn.content,
        "model": turn.model,
        "asked": rfc3339(turn.asked / 1_000),
        "stream": stream_path(turn.id),
        **({"status": "running"} if turn.answer is None else turn.answer),
    }
