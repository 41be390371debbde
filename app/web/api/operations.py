"""Every operation of the HTTP interface in one table: who may call it, what it takes and what it answers.

The OpenAPI document, the page `/docs` and the table in SECURITY.md are made from it. Tests compare it with the running
application, for each route and credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ...core.completion import MODEL_MAX_CHARS
from ...core.message import LEVELS

JSON, NDJSON, HTML = "application/json", "application/x-ndjson", "text/html"
MULTIPART = "multipart/form-data"
EVENTS, TEXT, FORM, NOTHING = "text/event-stream", "text/plain", "application/x-www-form-urlencoded", ""
PROBLEM = "application/problem+json"


class Access(Enum):
    """The credential that an operation needs."""

    PUBLIC = "anyone"
    SCOPE = "a credential with the scope"
    TOKEN = "any bearer token"  # noqa: S105 - words for a document
    OWN_COOKIE = "whoever has it"
    PAGE = "a person with the scope; others are led to the sign-in"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `path` is written as in the document: `/feed/{id}`.

    One of `scopes` is enough, except for a page, which needs all of them. `answers` maps a status to a media type.
    `refusals` are the codes of its own problems, in addition to those of every operation with its access.
    `refused_in` is the media type of all refusals. It is JSON if they have OpenAI's shape.
    """

    method: str
    path: str
    summary: str
    access: Access = Access.PUBLIC
    scopes: tuple[str, ...] = ()
    answers: Mapping[int, str] = field(default_factory=lambda: {200: JSON})
    refusals: tuple[str, ...] = ()
    parameters: tuple[Mapping[str, Any], ...] = ()
    body: Mapping[str, Mapping[str, Any]] | None = None  # media type → schema
    refused_in: str = PROBLEM

    @property
    def tag(self) -> str:
        """The group of the operation in generated clients: the first word of the path, or `pages` for pages."""
        first = self.path.strip("/").partition("/")[0].partition(".")[0]
        is_page = self.access is Access.PAGE or first in {"login", "logout", "docs"}
        return "pages" if is_page else "openai" if first == "v1" else first

    @property
    def needs(self) -> str:
        """The scopes in words."""
        return (" and " if self.access is Access.PAGE else " or ").join([f"`{scope}`" for scope in self.scopes])


def _query(name: str, description: str, **schema: Any) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


def _path(name: str, description: str) -> Mapping[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


_ARCHIVED: Mapping[str, Any] = {
    **_query("archived", "With `true`, only archived messages, with `any` all."),
    "schema": {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["any"]}]},
}
_TOPICS = _query("topics", "Topics to read in addition to the user's own messages, separated by commas.")
_NAMES: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}
_TOPIC = _query("topic", "Another topic, whose name may contain commas. Repeatable.", **_NAMES)
_PARTIAL = _query(
    "partial",
    "Leave out topics that this connection cannot read, instead of a refusal. `ready` lists them as `left_out`.",
    type="boolean",
)
_TICKET = _query("ticket", "A ticket of `POST /tickets`, for clients that can send neither a header nor a cookie.")
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The id of a message without `id`. In a batch, a line without `id` gets this, a dot and its number.",
    "schema": {"type": "string"},
}
_RESUME = (
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The cursor to resume from, as browsers send it. It takes precedence over both parameters.",
        "schema": {"type": "string"},
    },
    _query("lastEventId", "The same cursor, as polyfills append it. It takes precedence over `last_event_id`."),
    _query("evs_last_event_id", "The same as `lastEventId`, from eventsource-polyfill."),
    _query("last_event_id", "The same cursor, as a page writes it into the URL."),
)
_TABS = _query("tabs", "How many tabs of a browser share the connection.", type="integer", minimum=1, maximum=1_000)
_UNNAMED = _query(
    "unnamed",
    "Send every message as an event of the type `message`, for readers that cannot know all types in advance. The "
    "message's own type is its member `event`. Belfry's own events keep their types.",
    type="boolean",
)
_ELSEWHERE = "Alternatively `~`, with the id in the query parameter"
_MESSAGE_ID = _path("message_id", f"The message's id. {_ELSEWHERE} `id`, or `message` below `/users`.")
_RUN_ID = _path("run_id", f"The run's id. {_ELSEWHERE} `id`.")
_MODEL: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": MODEL_MAX_CHARS}
_COMPLETION: Mapping[str, Any] = {
    "type": "object",
    "description": "A request as OpenAI's API defines it. Belfry passes other members on.",
    "required": ["model", "messages"],
    "properties": {
        "model": _MODEL,
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "stream": {"type": "boolean"},
    },
}
_FORWARDED: Mapping[str, Any] = {
    "type": "object",
    "description": "A request as OpenAI's API defines it. Belfry passes it on unchanged.",
    "properties": {"model": _MODEL},
}
_RESPONSE_REQUEST: Mapping[str, Any] = {
    "type": "object",
    "description": "A request as OpenAI's Responses API defines it. Tools are functions. "
    "`previous_response_id` is not supported.",
    "required": ["model", "input"],
    "properties": {
        "model": _MODEL,
        "input": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}]},
        "instructions": {"type": ["string", "null"]},
        "stream": {"type": "boolean"},
        "background": {"type": "boolean", "description": "Whether the response continues without its client."},
    },
}
_RESPONSE_ID = _path("response_id", "The response's id.")
_OPERATION = _path("operation", "The operation, as OpenAI names it.")
_FORMAT = _query(
    "format",
    "`ui-message-stream` selects the request and response format of the AI SDK's `useChat`.",
    enum=["ui-message-stream"],
)
_SNAPSHOT = _query(
    "snapshot",
    "Whether the chunks so far are merged into one. With `false`, each chunk is sent as it came.",
    type="boolean",
    default=True,
)
_CONVERSATION_ID = _path("conversation_id", f"The conversation's id. {_ELSEWHERE} `id`.")
_QUESTION: Mapping[str, Any] = {
    "type": "object",
    "description": "One question. Belfry passes further members to the model.",
    "required": ["model", "content"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$", "description": "The turn's id; optional."},
        "model": {"type": "string", "minLength": 1, "maxLength": MODEL_MAX_CHARS},
        "content": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}]},
    },
}
_RUN_START: Mapping[str, Any] = {
    **_COMPLETION,
    "properties": {
        **_COMPLETION["properties"],
        "id": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$", "description": "The run's id; optional."},
    },
}
_USER = _path("user", f"The user's id. {_ELSEWHERE} `id`.")
_LIMIT = _query("limit", "The maximum number of entries.", type="integer", minimum=1, maximum=1_000)
_CHANGE = {"type": "object", "description": "Either `ids`, a list of message ids, or `all`: true."}
_SIGN_IN = ("name", "password", "next")
_PUBLISH = {"$ref": "#/components/schemas/Publish"}
_READING = ("bad_topic", "too_many_topics", "topic_forbidden", "bad_cursor", "store_unavailable", "overloaded")
_MARKING = (
    "malformed_json", "invalid_change", "unknown_field", "body_too_large", "unsupported_media_type", *_READING,
)  # fmt: skip
_COMPLETING = (
    "malformed_json", "invalid_completion", "body_too_large", "model_unknown", "rate_limited", "too_many_runs",
    "tokens_used_up", "shutting_down", "store_unavailable", "store_full", "overloaded",
)  # fmt: skip
_RELAYING = (
    "upstream_refused", "upstream_rate_limited", "upstream_failed", "upstream_unreachable", "upstream_malformed",
    "upstream_truncated", "upstream_timeout", "answer_too_large",
)  # fmt: skip
_PASSING = (
    "upstream_refused", "upstream_rate_limited", "upstream_failed", "upstream_unreachable", "upstream_truncated",
    "upstream_timeout",
)  # fmt: skip
_RUN = ("bad_run_id", "not_found", "run_gone", "store_unavailable")
_CONVERSATION = ("bad_run_id", "not_found", "store_unavailable")
_ASKING = (*_COMPLETING, "bad_run_id", "id_reused", "run_gone", "conversation_changed", "conversation_full")
_ADMITTED = ("rate_limited", "too_many_connections", "shutting_down", "overloaded")
_CONNECTING = (*_READING, *_ADMITTED)
_PUBLISHING = (
    "malformed_json", "invalid_message", "unknown_field", "missing_target", "ambiguous_target", "empty_recipients",
    "too_many_recipients", "bad_user_id", "bad_topic", "bad_message_id", "bad_event", "reserved_event", "bad_ttl",
    "bad_url", "ambiguous_id", "id_reused", "target_forbidden", "body_too_large", "unsupported_media_type",
    "rate_limited", "bad_deliver_at", "too_many_scheduled", "bad_push",
    "store_unavailable", "store_full", "not_replicated", "overloaded",
)  # fmt: skip

_SUBSCRIBING = (
    "push_off", "bad_subscription", "malformed_json", "body_too_large", "body_late", "body_broken",
    "unsupported_media_type", "store_unavailable",
)  # fmt: skip

OPERATIONS = (
    Operation(
        "POST", "/publish", "Send a message to users, a topic or everyone, or many messages as NDJSON",
        Access.SCOPE, ("publish",), {200: JSON, 201: JSON, 202: JSON}, _PUBLISHING, (_IDEMPOTENCY_KEY,),
        body={JSON: _PUBLISH, NDJSON: {"type": "string", "description": "One message per line."}},
    ),
    Operation(
        "GET", "/stream", "Open the SSE stream of one user", Access.SCOPE, ("feed",), {200: EVENTS},
        (*_CONNECTING, "bad_parameter"),
        (_TOPICS, _TOPIC, _PARTIAL, _TICKET, _TABS, _UNNAMED, *_RESUME),
    ),
    Operation(
        "GET", "/feed", "Read a user's messages, newest first; with `after`, a long poll",
        Access.SCOPE, ("feed",), {200: JSON}, (*_CONNECTING, "bad_parameter", "history_lost"),
        (
            _TOPICS, _TOPIC, _PARTIAL, _TICKET,
            _query("limit", "The maximum number of messages.", type="integer", minimum=1, maximum=100, default=50),
            _query("before", "The `next` of an earlier page."),
            _query("after", "A cursor. The answer has the messages after it, oldest first."),
            _query("wait", "How many seconds to wait for a message or a change.", type="number", minimum=0, default=0),
            _query("revision", "The revision that the client knows. A change ends the long poll.", type="integer"),
            _query("unread", "With `true`, only unread messages.", type="boolean"),
            _ARCHIVED,
            _query("level", "Only messages of this level.", enum=list(LEVELS)),
            _query("tag", "Only messages with this tag."),
            _query("only_topic", "Only messages of this topic, which has to be one of those that are read."),
        ),
    ),
    Operation(
        "POST", "/feed/read", "Mark messages of the user's own feed as read or unread", Access.SCOPE, ("feed",),
        {200: JSON}, _MARKING, (_TOPICS, _TOPIC, _PARTIAL), {JSON: _CHANGE},
    ),
    Operation(
        "POST", "/feed/archive", "Archive messages of the user's own feed, or undo it", Access.SCOPE, ("feed",),
        {200: JSON}, _MARKING, (_TOPICS, _TOPIC, _PARTIAL), {JSON: _CHANGE},
    ),
    Operation(
        "POST", "/feed/remove", "Remove messages from the user's own feed, or undo it", Access.SCOPE, ("feed",),
        {200: JSON}, _MARKING, (_TOPICS, _TOPIC, _PARTIAL), {JSON: _CHANGE},
    ),
    Operation(
        "DELETE", "/feed/{message_id}", "Remove a message from the user's own feed, on all devices",
        Access.SCOPE, ("feed",), {200: JSON}, ("not_found", *_READING), (_MESSAGE_ID, _TOPICS, _TOPIC, _PARTIAL),
    ),
    Operation(
        "GET", "/messages", "List the latest messages, newest first", Access.SCOPE, ("admin",), {200: JSON},
        ("bad_parameter", "store_unavailable"), (_LIMIT,),
    ),
    Operation(
        "GET", "/messages/{message_id}", "Show the state of a message for each recipient", Access.SCOPE,
        ("publish",), {200: JSON}, ("not_found", "target_forbidden", "bad_parameter", "store_unavailable"),
        (
            _MESSAGE_ID,
            _query(
                "readers", "For administrators: also count the users who have read it in a topic or everyone's log.",
                type="boolean",
            ),
        ),
    ),
    Operation(
        "GET", "/messages/{message_id}/content", "Show a message, its event type and its recipients, to send it again",
        Access.SCOPE, ("admin",), {200: JSON}, ("not_found", "target_forbidden", "store_unavailable"), (_MESSAGE_ID,),
    ),
    Operation(
        "DELETE", "/messages/{message_id}", "Retract a message everywhere, or cancel a scheduled one",
        Access.SCOPE, ("publish",),
        {200: JSON}, ("not_found", "target_forbidden", "delivery_under_way", "not_replicated", "store_unavailable"),
        (_MESSAGE_ID,),
    ),
    Operation(
        "GET", "/scheduled", "List the publisher's own scheduled messages, soonest first; administrators see all",
        Access.SCOPE, ("publish",), {200: JSON}, ("bad_parameter", "store_unavailable"),
        (
            _query("limit", "The maximum number of messages.", type="integer", minimum=1, maximum=100, default=50),
            _query("after", "The `next` of an earlier page."),
        ),
    ),
    Operation(
        "PATCH", "/scheduled/{message_id}", "Deliver a scheduled message at another time", Access.SCOPE, ("publish",),
        {200: JSON},
        (
            "malformed_json", "unknown_field", "bad_deliver_at", "body_too_large", "unsupported_media_type",
            "not_found", "delivery_under_way", "not_replicated", "store_unavailable",
        ),
        (_MESSAGE_ID,), {JSON: {"$ref": "#/components/schemas/Reschedule"}},
    ),
    Operation(
        "GET", "/presence", "Show who is connected now; with `users`, the scope `publish` is enough",
        Access.SCOPE, ("admin",), {200: JSON},
        ("bad_user_id", "bad_parameter", "target_forbidden", "store_unavailable"),
        (
            _query("users", "User ids, separated by commas."),
            _query("user", "Another user id, which may contain commas. Repeatable.", **_NAMES),
            _LIMIT,
        ),
    ),
    Operation(
        "POST", "/presence/tabs", "Report how many tabs of a browser share the connection", Access.SCOPE, ("feed",),
        {204: NOTHING}, ("bad_parameter", "rate_limited", "store_unavailable"),
        (
            {**_query("connection", "The connection's id, as `ready` reported it."), "required": True},
            {**_TABS, "required": True},
        ),
    ),
    Operation(
        "DELETE", "/presence/{user}", "End all connections of a user, or one of them", Access.SCOPE, ("admin",),
        {204: NOTHING}, ("bad_user_id", "store_unavailable"),
        (_USER, _query("connection", "The id of one connection.")),
    ),
    Operation(
        "GET", "/users", "List the known users whose ids begin with a prefix", Access.SCOPE, ("admin",), {200: JSON},
        ("bad_user_id", "bad_parameter", "store_unavailable"),
        (
            _query("prefix", "The beginning of the id. Without it, the answer lists users with any id."),
            _query("limit", "The maximum number of users.", type="integer", minimum=1, maximum=100, default=20),
        ),
    ),
    Operation(
        "GET", "/users/{user}", "Show what is known of a user, and what happened to the connections", Access.SCOPE,
        ("admin",), {200: JSON}, ("bad_user_id", "store_unavailable"), (_USER,),
    ),
    Operation(
        "GET", "/users/{user}/messages/{message_id}", "Show what happened to a message on its way to a user",
        Access.SCOPE, ("admin",), {200: JSON}, ("bad_user_id", "not_found", "store_unavailable"), (_USER, _MESSAGE_ID),
    ),
    Operation(
        "DELETE", "/users/{user}",
        "Remove a user's feed, read state, runs, conversations and sessions, revoke all tokens and end the streams",
        Access.SCOPE, ("admin",), {204: NOTHING}, ("bad_user_id", "store_unavailable"), (_USER,),
    ),
    Operation(
        "POST", "/v1/chat/completions", "Relay one of OpenAI's chat completions", Access.SCOPE, ("complete",),
        {200: JSON}, (*_COMPLETING, *_RELAYING), body={JSON: _COMPLETION}, refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/responses", "Relay one of OpenAI's responses; with `background`, it continues without its client",
        Access.SCOPE, ("complete",), {200: JSON}, (*_COMPLETING, *_RELAYING, "id_reused", "run_gone", *_ADMITTED),
        body={JSON: _RESPONSE_REQUEST}, refused_in=JSON,
    ),
    Operation(
        "GET", "/v1/responses/{response_id}", "Show a background response so far, or stream its events",
        Access.SCOPE, ("complete",), {200: JSON}, (*_RUN, "bad_parameter", *_ADMITTED),
        (
            _RESPONSE_ID,
            _query("stream", "Whether the answer is the stream of events.", type="boolean", default=False),
            _query("starting_after", "The `sequence_number` of the last event that the client has.", type="integer"),
        ),
        refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/responses/{response_id}/cancel", "Stop a background response", Access.SCOPE, ("complete",),
        {200: JSON}, _RUN, (_RESPONSE_ID,), refused_in=JSON,
    ),
    Operation(
        "DELETE", "/v1/responses/{response_id}", "Stop and delete a background response", Access.SCOPE, ("complete",),
        {200: JSON}, _RUN, (_RESPONSE_ID,), refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/completions", "Pass on a request for OpenAI's older completions", Access.SCOPE, ("complete",),
        {200: JSON}, (*_COMPLETING, *_PASSING), body={JSON: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/embeddings", "Pass on a request for OpenAI's embeddings", Access.SCOPE, ("complete",),
        {200: JSON}, (*_COMPLETING, *_PASSING), body={JSON: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/moderations", "Pass on a request for OpenAI's moderations", Access.SCOPE, ("complete",),
        {200: JSON}, (*_COMPLETING, *_PASSING), body={JSON: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/images/{operation}", "Pass on a request for images: `generations`, `edits`, `variations`",
        Access.SCOPE, ("complete",), {200: JSON}, (*_COMPLETING, *_PASSING, "not_found"), (_OPERATION,),
        body={JSON: _FORWARDED, MULTIPART: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "POST", "/v1/audio/{operation}", "Pass on a request for audio: `speech`, `transcriptions`, `translations`",
        Access.SCOPE, ("complete",), {200: "*/*"}, (*_COMPLETING, *_PASSING, "not_found"), (_OPERATION,),
        body={JSON: _FORWARDED, MULTIPART: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "POST", "/openai/deployments/{model}/{operation}", "Call the same API at the address that Azure's clients use",
        Access.SCOPE, ("complete",), {200: "*/*"}, (*_COMPLETING, *_RELAYING, "not_found"),
        (_path("model", "The model's id."), _OPERATION),
        body={JSON: _FORWARDED, MULTIPART: _FORWARDED}, refused_in=JSON,
    ),
    Operation(
        "GET", "/v1/models", "List the models of all upstreams, in OpenAI's format", Access.SCOPE, ("complete",),
        {200: JSON}, ("upstream_unreachable",), refused_in=JSON,
    ),
    Operation(
        "GET", "/v1/models/{model}", "Show one model", Access.SCOPE, ("complete",), {200: JSON},
        ("model_unknown", "upstream_unreachable"), (_path("model", "The model's id."),), refused_in=JSON,
    ),
    Operation(
        "POST", "/completions", "Start a run: a completion that an EventSource can read", Access.SCOPE, ("complete",),
        {200: JSON, 201: JSON}, (*_COMPLETING, "bad_run_id", "id_reused", "run_gone", "bad_parameter"), (_FORMAT,),
        {JSON: _RUN_START},
    ),
    Operation(
        "GET", "/completions", "List the user's own runs, newest first", Access.SCOPE, ("complete",), {200: JSON},
        ("bad_parameter", "store_unavailable"),
        (_query("limit", "The maximum number of runs.", type="integer", minimum=1, maximum=100, default=20),),
    ),
    Operation(
        "GET", "/completions/{run_id}", "Show the state of a run and its text so far", Access.SCOPE, ("complete",),
        {200: JSON}, _RUN, (_RUN_ID,),
    ),
    Operation(
        "DELETE", "/completions/{run_id}", "Stop a run", Access.SCOPE, ("complete",), {200: JSON}, _RUN, (_RUN_ID,),
    ),
    Operation(
        "GET", "/completions/{run_id}/stream", "Open the SSE stream of a run; 204 after its end was read", Access.SCOPE,
        ("complete",), {200: EVENTS, 204: NOTHING}, (*_RUN, "bad_cursor", "bad_parameter", *_ADMITTED),
        (_RUN_ID, _TICKET, _SNAPSHOT, _FORMAT, *_RESUME),
    ),
    Operation(
        "GET", "/conversations", "List the user's own conversations, most recently used first",
        Access.SCOPE, ("complete",), {200: JSON}, ("bad_parameter", "store_unavailable"),
        (_query("limit", "The maximum number of entries.", type="integer", minimum=1, maximum=1_000, default=50),),
    ),
    Operation(
        "POST", "/conversations", "Start a conversation with its first question", Access.SCOPE, ("complete",),
        {200: JSON, 201: JSON}, _ASKING, (), {JSON: _QUESTION},
    ),
    Operation(
        "GET", "/conversations/{conversation_id}", "Show a conversation with its questions and answers", Access.SCOPE,
        ("complete",), {200: JSON}, _CONVERSATION, (_CONVERSATION_ID,),
    ),
    Operation(
        "PATCH", "/conversations/{conversation_id}", "Change the title of a conversation", Access.SCOPE, ("complete",),
        {200: JSON},
        ("malformed_json", "invalid_conversation", "body_too_large", "unsupported_media_type", *_CONVERSATION),
        (_CONVERSATION_ID,), {JSON: {"$ref": "#/components/schemas/Rename"}},
    ),
    Operation(
        "DELETE", "/conversations/{conversation_id}", "Delete a conversation and the runs of its answers",
        Access.SCOPE, ("complete",), {204: NOTHING}, _CONVERSATION, (_CONVERSATION_ID,),
    ),
    Operation(
        "POST", "/conversations/{conversation_id}/turns",
        "Ask another question, or replace an earlier one", Access.SCOPE, ("complete",),
        {200: JSON, 201: JSON}, (*_ASKING, "not_found", "answer_under_way"), (_CONVERSATION_ID,), {JSON: _QUESTION},
    ),
    Operation(
        "POST", "/session", "Exchange a bearer token for a session cookie", Access.TOKEN, answers={201: JSON},
        refusals=("store_unavailable", "store_full"),
    ),
    Operation(
        "DELETE", "/session", "End the session", Access.OWN_COOKIE, answers={204: NOTHING},
        refusals=("cross_site", "rate_limited", "store_unavailable"),
    ),
    Operation(
        "POST", "/tickets", "Make a ticket: a credential for one use within 60 seconds",
        Access.SCOPE, ("feed", "complete"), {201: JSON}, ("store_unavailable", "store_full"),
    ),
    Operation(
        "GET", "/push/key", "Read the public key with which browsers subscribe to Web Push", Access.SCOPE, ("feed",),
        {200: JSON}, ("push_off",),
    ),
    Operation(
        "POST", "/push/subscriptions", "Add a device of the user: what a browser's `PushSubscription` says of itself",
        Access.SCOPE, ("feed",), {201: JSON}, (*_SUBSCRIBING, "store_full"),
        body={JSON: {"$ref": "#/components/schemas/PushSubscription"}},
    ),
    Operation(
        "DELETE", "/push/subscriptions", "Remove a device of the user, or all of them; one that is unknown is no error",
        Access.SCOPE, ("feed",), {204: NOTHING}, _SUBSCRIBING,
        body={JSON: {"$ref": "#/components/schemas/PushEnd"}},
    ),
    Operation(
        "POST", "/push/read", "Mark a message as read with the proof that its push brought to the device",
        answers={204: NOTHING},
        refusals=(*_SUBSCRIBING, "bad_proof", "rate_limited"), body={JSON: {"$ref": "#/components/schemas/PushRead"}},
    ),
    Operation(
        "GET", "/", "Show the user's feed as a page", Access.PAGE, ("feed",),
        {200: HTML, 302: NOTHING, 401: HTML},
    ),
    Operation(
        "GET", "/chat", "Show the chat page", Access.PAGE, ("complete",),
        {200: HTML, 302: NOTHING, 401: HTML},
    ),
    Operation(
        "GET", "/chat/{run_id}", "Show one conversation or one answer as a page", Access.PAGE, ("complete",),
        {200: HTML, 302: NOTHING, 401: HTML}, ("bad_run_id",), (_RUN_ID,),
    ),
    Operation(
        "GET", "/admin/", "Show the administrator's page", Access.PAGE, ("publish", "admin"),
        {200: HTML, 302: NOTHING, 401: HTML},
    ),
    Operation(
        "GET", "/admin/dashboard/", "Show the dashboard: plots of the last hour", Access.PAGE, ("admin",),
        {200: HTML, 302: NOTHING, 401: HTML},
    ),
    Operation(
        "GET", "/admin/people/", "Show the page of connected users", Access.PAGE, ("admin",),
        {200: HTML, 302: NOTHING, 401: HTML},
    ),
    Operation("GET", "/login", "Show the sign-in page of the demo or of the administrator", answers={200: HTML},
              refusals=("not_found",)),
    Operation(
        "POST", "/login", "Sign in", answers={303: NOTHING, 401: HTML, 422: HTML},
        refusals=("not_found", "cross_site", "rate_limited", "store_unavailable"),
        body={FORM: {"type": "object", "properties": {name: {"type": "string"} for name in _SIGN_IN}}},
    ),
    Operation("POST", "/logout", "End the session and go to the first page", Access.OWN_COOKIE, answers={303: NOTHING},
              refusals=("cross_site", "rate_limited", "store_unavailable")),
    Operation(
        "GET", "/admin/audit", "List sign-ins and administrators' actions, newest first", Access.SCOPE, ("admin",),
        {200: JSON}, ("bad_parameter", "store_unavailable"),
        (_query("limit", "The maximum number of entries.", type="integer", minimum=1, maximum=1_000, default=100),),
    ),
    Operation(
        "GET", "/admin/figures", "Show the figures of all workers for the last hour", Access.SCOPE, ("admin",),
        {200: JSON}, ("store_unavailable",),
    ),
    Operation(
        "GET", "/admin/sessions", "List a user's sessions", Access.SCOPE, ("admin",), {200: JSON},
        ("bad_user_id", "store_unavailable"), ({**_query("user", "The user's id."), "required": True},),
    ),
    Operation(
        "POST", "/admin/revocations", "Revoke a user's credentials or one token; open streams end within 2 seconds",
        Access.SCOPE, ("admin",), {200: JSON},
        ("malformed_json", "bad_parameter", "bad_user_id", "body_too_large", "store_unavailable"),
        body={JSON: {"$ref": "#/components/schemas/Order"}},
    ),
    Operation("GET", "/health/live", "Check that this process answers"),
    Operation("GET", "/health/ready", "Check that this process reaches its store", refusals=("store_unavailable",)),
    Operation("GET", "/metrics", "Show the metrics of all workers for Prometheus", answers={200: TEXT}),
    Operation("GET", "/openapi.json", "Return this document"),
    Operation("GET", "/docs", "Show this document as a page", answers={200: HTML}),
    Operation("GET", "/docs/", "Show the documentation, if the site was built", answers={200: HTML},
              refusals=("not_found",)),
    Operation(
        "GET", "/docs/{page}", "Show a page or a file of the documentation", answers={200: "*/*"},
        refusals=("not_found",),
        parameters=({"name": "page", "in": "path", "required": True, "schema": {"type": "string"}},),
    ),
    Operation(
        "GET", "/static/{filename}", "Return a script, style or picture of the pages", answers={200: "*/*"},
        refusals=("not_found",),
        parameters=({"name": "filename", "in": "path", "required": True, "schema": {"type": "string"}},),
    ),
)  # fmt: skip
