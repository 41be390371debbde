"""Describes the operations of the OpenAPI document beyond their rows in `operations.py`.

A description has a name for generated clients, the schemas of the body and the answers, and an example of each.

An operation without a description is still in the document. Its name is then made from its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .operations import EVENTS, HTML, JSON, MULTIPART, NDJSON, NOTHING, TEXT, Operation
from .schemas import TEXT as STRING
from .schemas import Schema, ref

BYTES: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True, slots=True)
class MediaContent:
    """The content of a body or an answer in one media type.

    `events` are the schemas of an event stream's data, by event type.
    """

    schema: Schema
    example: Any = None
    events: Mapping[str, str] = field(default_factory=dict)
    lines: str = ""  # the component that each line of NDJSON contains

    def written(self) -> dict[str, Any]:
        """Return the media type object of the document."""
        found: dict[str, Any] = {"schema": self.schema}
        if self.example is not None:
            found["example"] = self.example
        if self.events:
            found["x-events"] = {name: ref(schema) for name, schema in self.events.items()}
        if self.lines:
            found["x-lines"] = ref(self.lines)
        return found

    @property
    def name(self) -> str:
        """The name of the schema's component, empty if the schema is not a component."""
        return str(self.schema.get("$ref", "")).rpartition("/")[2]

    def shown(self) -> str:
        """Return the example in a readable form."""
        return self.example if isinstance(self.example, str) else json.dumps(self.example, indent=2, ensure_ascii=False)


Contents = Mapping[str, MediaContent]  # media type → content


@dataclass(frozen=True, slots=True)
class Description:
    """The name of an operation, its body, and its answers by status."""

    id: str
    answers: Mapping[int, Contents] = field(default_factory=dict)
    body: Contents = field(default_factory=dict)


def described(operation: Operation) -> Description:
    """Return the description of an operation. Missing parts are made from its row in `OPERATIONS`."""
    found = DESCRIBED.get(f"{operation.method} {operation.path}") or Description(_made_name(operation))
    answers = {
        status: found.answers.get(status) or ({media: _plain(media)} if media != NOTHING else {})
        for status, media in operation.answers.items()
    }
    body = found.body or {media: MediaContent(schema) for media, schema in (operation.body or {}).items()}
    return Description(found.id, answers, body)


def _made_name(operation: Operation) -> str:
    words = re.sub(r"\W+", " ", operation.path).replace("_", " ").split()
    return operation.method.lower() + "".join([word.capitalize() for word in words])


def _plain(media: str) -> MediaContent:
    if media == JSON:
        return MediaContent({})
    return MediaContent(STRING if media in {TEXT, HTML, EVENTS, NDJSON} else BYTES)


def _json(name: str, example: Any = None) -> Contents:
    return {JSON: MediaContent(ref(name), example)}


_PUSH_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
_PUSH_ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAA"
_TIME = "2026-11-21T01:50:00.000Z"
_KNOWN = {"user": "alice", "online": True, "seen": _TIME, "visited": True}
_DELIVERY = {"to": "alice", "offset": 42, "duplicate": False, "online": True}
_PUBLISH = {
    "to": "alice",
    "id": "order-17-shipped",
    "title": "Order shipped",
    "body": "It arrives on Tuesday.",
    "url": "/orders/17",
    "level": "success",
}
_SCHEDULED = {"deliver_at": "2026-12-24T17:00:00.000Z", "state": "scheduled"}
_PUBLISHED = {"id": "order-17-shipped", "deliveries": [_DELIVERY]}
_MESSAGE = {
    "id": "order-17-shipped",
    "time": _TIME,
    "title": "Order shipped",
    "body": "It arrives on Tuesday.",
    "url": "/orders/17",
    "level": "success",
}
_LINES = (
    '{"to":"alice","id":"order-17-shipped","title":"Order shipped"}\n'
    '{"topic":"news","id":"issue-8","title":"Issue 8"}\n'
)
_LINE_RESULTS = (
    '{"status":201,"id":"order-17-shipped","deliveries":[{"to":"alice","offset":42,"duplicate":false,"online":true}]}\n'
    '{"type":"urn:belfry:error:target_forbidden","title":"The token may not address this recipient","status":403,'
    '"detail":"The token may not address \'topic:news\'.","code":"target_forbidden"}\n'
)
_CHANGED = {"unread": 2, "revision": 18}
_STREAM = (
    "retry: 2410\nevent: ready\nid: 97r6fE.41-pI5udN.7\n"
    'data: {"user":"alice","unread":2,"revision":17,"connection":"7d8487c9","behind":0}\n\n'
    "id: 97r6fE.42-pI5udN.7\n"
    f'data: {{"id":"order-17-shipped","time":"{_TIME}","title":"Order shipped"}}\n\n'
    "event: heartbeat\ndata: {}\n\n"
)
_CHUNK = '{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"Hello"}}]}'
_RUN_STREAM = (
    'retry: 2410\nevent: ready\nid: bBQ5CX.0\ndata: {"id":"r1","status":"running"}\n\n'
    f"id: bBQ5CX.1\ndata: {_CHUNK}\n\nid: bBQ5CX.2\ndata: [DONE]\n\n"
)
_STREAM_EVENTS = {
    "ready": "Ready",
    "message": "Message",
    "heartbeat": "Nothing",
    "reset": "Nothing",
    "read": "ReadEvent",
    "removed": "RemovedEvent",
    "updated": "UpdatedEvent",
    "goodbye": "Goodbye",
    "belfry.conversation": "ConversationEvent",
}
_RUN_EVENTS = {
    "ready": "RunReady",
    "message": "ChatCompletionChunk",
    "heartbeat": "Nothing",
    "reset": "Nothing",
    "stopped": "Nothing",
    "failed": "RunFailed",
    "goodbye": "Goodbye",
}
_ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello"}]}
_RUN = {
    "id": "r1",
    "status": "done",
    "model": "gpt-5-mini",
    "title": "Say hello",
    "stream": "/completions/r1/stream",
    "started": _TIME,
    "ended": "2026-11-21T01:50:02.000Z",
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
_CONVERSATION = {
    "id": "c1",
    "title": "What is a belfry?",
    "model": "gpt-5-mini",
    "created": _TIME,
    "used": _TIME,
    "revision": 1,
    "questions": 1,
    "running": None,
}
_TURN = {
    "id": "c1",
    "content": "What is a belfry?",
    "model": "gpt-5-mini",
    "asked": _TIME,
    "stream": "/completions/c1/stream",
    "status": "done",
    "text": "A bell tower.",
    "finish_reason": "stop",
}
_TAKEN = {"id": "c1", "turn": "c1", "stream": "/completions/c1/stream", "status": "running", "revision": 1}
_COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1_795_000_000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
_CONNECTION = {"id": "7d8487c9", "since": _TIME, "address": "192.0.2.7", "agent": "Firefox", "tabs": 2, "topics": []}
_STATE = {"kept": True, "read": False, "archived": False, "removed": False}
_READ = {"read": True, "archived": False, "removed": False}
_MODEL = {"id": "gpt-5-mini", "object": "model"}
_FORWARDED: Contents = {
    JSON: MediaContent(ref("ForwardedRequest"), {"model": "text-embedding-3-small", "input": "Hello"}),
}
_FORWARDED_FILES: Contents = {**_FORWARDED, MULTIPART: MediaContent(ref("ForwardedRequest"))}
_PASSED: Contents = {JSON: MediaContent(ref("ForwardedAnswer"))}
_RESPONSE_ASKED = {"model": "gpt-5-mini", "input": "Say hello"}
_RESPONSE = {"id": "resp_r1", "object": "response", "status": "completed", "model": "gpt-5-mini", "output": []}
_RESPONDED: Contents = {
    JSON: MediaContent(ref("Response"), _RESPONSE),
    EVENTS: MediaContent(
        {"type": "string", "description": "For `stream: true`: the events of OpenAI's Responses API."},
        f"event: response.completed\ndata: {json.dumps({'type': 'response.completed', 'response': _RESPONSE})}\n\n",
        {"message": "ResponseEvent"},
    ),
}
_PAGE: Contents = {HTML: MediaContent(STRING)}
_SEARCH_INDEX: Schema = {
    "type": "array",
    "items": {"type": "object"},
    "description": "`search.json`: the text of every section of the documentation.",
}
_ANY: Contents = {"*/*": MediaContent(BYTES)}

DESCRIBED: Mapping[str, Description] = {
    "POST /publish": Description(
        "publish",
        {
            201: _json("Published", _PUBLISHED),
            202: _json("Published", {"id": "order-17-shipped", "deliveries": [], **_SCHEDULED}),
            200: {
                JSON: MediaContent(
                    ref("Published"), {"id": "order-17-shipped", "deliveries": [{**_DELIVERY, "duplicate": True}]}
                ),
                NDJSON: MediaContent(
                    {"type": "string", "description": "One `LineResult` per line, in the order of the messages."},
                    _LINE_RESULTS,
                    lines="LineResult",
                ),
            },
        },
        {
            JSON: MediaContent(ref("Publish"), _PUBLISH),
            NDJSON: MediaContent(
                {"type": "string", "description": "One `Publish` per line, at most 16 MiB and 100,000 lines."},
                _LINES,
                lines="Publish",
            ),
        },
    ),
    "GET /stream": Description(
        "openStream",
        {
            200: {
                EVENTS: MediaContent(
                    {"type": "string", "description": "Server-sent events. Those of types of yours hold a `Message`."},
                    _STREAM,
                    _STREAM_EVENTS,
                )
            }
        },
    ),
    "GET /feed": Description(
        "readFeed",
        {
            200: _json(
                "Feed",
                {
                    "messages": [{**_MESSAGE, "read": False, "archived": False}],
                    "next": None,
                    "unread": 1,
                    "revision": 17,
                    "cursor": "97r6fE.42-pI5udN.7",
                },
            )
        },
    ),
    "POST /feed/read": Description(
        "markRead", {200: _json("Changed", _CHANGED)}, _json("MarkRead", {"ids": ["order-17-shipped"]})
    ),
    "POST /feed/archive": Description(
        "archive", {200: _json("Changed", _CHANGED)}, _json("Archive", {"ids": ["order-17-shipped"]})
    ),
    "POST /feed/remove": Description(
        "removeMany", {200: _json("Changed", _CHANGED)}, _json("Remove", {"ids": ["order-17-shipped"]})
    ),
    "DELETE /feed/{message_id}": Description("removeFromFeed", {200: _json("Changed", _CHANGED)}),
    "GET /messages": Description(
        "listMessages",
        {
            200: _json(
                "RecentMessages",
                {
                    "messages": [
                        {
                            "id": "order-17-shipped", "time": _TIME, "event": "message", "level": "success",
                            "title": "Order shipped", "body": "It arrives on Tuesday.", "by": "shop", "recipients": 1,
                            "to": ["alice"], "reached": 1, "stored": 1, "duplicates": 0,
                        }
                    ]
                },
            )
        },
    ),
    "GET /messages/{message_id}": Description(
        "getMessage",
        {
            200: _json(
                "MessageStatus",
                {
                    "id": "order-17-shipped", "recipients": 1, "kept": 1, "read": 1,
                    "deliveries": [{"to": "alice", "offset": 42, **_READ}],
                },
            )
        },
    ),
    "GET /messages/{message_id}/content": Description(
        "getMessageContent",
        {200: _json("MessageContent", {"event": "message", "message": _MESSAGE, "logs": ["user:alice"]})},
    ),
    "DELETE /messages/{message_id}": Description(
        "retractMessage", {200: _json("Retracted", {"id": "order-17-shipped", "retracted": ["alice"]})}
    ),
    "GET /scheduled": Description(
        "listScheduled",
        {
            200: _json(
                "ScheduledMessages",
                {
                    "scheduled": [
                        {
                            "id": "order-17-shipped", **_SCHEDULED, "by": "shop", "to": ["alice"], "event": "message",
                            "title": "Order shipped",
                        }
                    ],
                    "next": None,
                },
            )
        },
    ),
    "PATCH /scheduled/{message_id}": Description(
        "reschedule",
        {200: _json("Rescheduled", {"id": "order-17-shipped", **_SCHEDULED})},
        _json("Reschedule", {"deliver_at": "2026-12-24T18:00:00+01:00"}),
    ),
    "GET /presence": Description(
        "getPresence",
        {200: _json("PresenceOfUsers", {"users": {"alice": {"online": True, "connections": 1, "since": _TIME}}})},
    ),
    "POST /presence/tabs": Description("tellTabs"),
    "DELETE /presence/{user}": Description("disconnectUser"),
    "GET /users": Description(
        "listUsers",
        {200: _json("KnownUsers", {"users": [_KNOWN], "known": 1})},
    ),
    "GET /users/{user}": Description(
        "getUser",
        {
            200: _json(
                "User",
                {
                    "user": "alice", "online": True, "connections": [_CONNECTION],
                    "log": {"newest": 42, "oldest": 1, "kept": 42, "unread": 1},
                    "messages": [
                        {
                            "id": "order-17-shipped", "time": _TIME, "title": "Order shipped", "body": None,
                            "level": "success", "log": "user:alice", "offset": 42, **_STATE,
                        }
                    ],
                    "events": [
                        {"time": _TIME, "what": "connected", "connection": "7d8487c9", "offset": 41, "lost": False}
                    ],
                },
            )
        },
    ),
    "GET /users/{user}/messages/{message_id}": Description(
        "traceMessage",
        {
            200: _json(
                "Trace",
                {
                    "user": "alice", "id": "order-17-shipped", "log": "user:alice", "offset": 42, **_STATE,
                    "steps": [{"time": _TIME, "what": "published"}],
                },
            )
        },
    ),
    "DELETE /users/{user}": Description("forgetUser"),
    "POST /v1/chat/completions": Description(
        "createChatCompletion",
        {
            200: {
                JSON: MediaContent(ref("ChatCompletion"), _COMPLETION),
                EVENTS: MediaContent(
                    {"type": "string", "description": "For `stream: true`: a chunk per event, then `[DONE]`."},
                    f"data: {_CHUNK}\n\ndata: [DONE]\n\n",
                    {"message": "ChatCompletionChunk"},
                ),
            }
        },
        _json("ChatRequest", _ASKED),
    ),
    "POST /v1/responses": Description(
        "createResponse", {200: _RESPONDED}, {JSON: MediaContent(ref("ResponseRequest"), _RESPONSE_ASKED)}
    ),
    "GET /v1/responses/{response_id}": Description("getResponse", {200: _RESPONDED}),
    "POST /v1/responses/{response_id}/cancel": Description("cancelResponse", {200: _json("Response", _RESPONSE)}),
    "DELETE /v1/responses/{response_id}": Description(
        "deleteResponse",
        {200: _json("DeletedResponse", {"id": "resp_r1", "object": "response.deleted", "deleted": True})},
    ),
    "POST /v1/completions": Description("createCompletion", {200: _PASSED}, _FORWARDED),
    "POST /v1/embeddings": Description("createEmbedding", {200: _PASSED}, _FORWARDED),
    "POST /v1/moderations": Description("createModeration", {200: _PASSED}, _FORWARDED),
    "POST /v1/images/{operation}": Description("createImage", {200: _PASSED}, _FORWARDED_FILES),
    "POST /v1/audio/{operation}": Description("createAudio", {200: {**_PASSED, **_ANY}}, _FORWARDED_FILES),
    "POST /openai/deployments/{model}/{operation}": Description(
        "callDeployment", {200: {**_PASSED, **_ANY}}, _FORWARDED_FILES
    ),
    "GET /v1/models": Description("listModels", {200: _json("Models", {"object": "list", "data": [_MODEL]})}),
    "GET /v1/models/{model}": Description("getModel", {200: _json("Model", _MODEL)}),
    "POST /completions": Description(
        "startRun",
        {
            201: _json("StartedRun", {"id": "r1", "stream": "/completions/r1/stream", "status": "running"}),
            200: _json("StartedRun", {"id": "r1", "stream": "/completions/r1/stream", "status": "done"}),
        },
        _json("StartRun", {"id": "r1", **_ASKED}),
    ),
    "GET /completions": Description("listRuns", {200: _json("Runs", {"completions": [_RUN]})}),
    "GET /completions/{run_id}": Description(
        "getRun", {200: _json("RunState", {**_RUN, "text": "Hello!", "finish_reason": "stop"})}
    ),
    "DELETE /completions/{run_id}": Description(
        "stopRun", {200: _json("StoppedRun", {"id": "r1", "status": "stopped"})}
    ),
    "GET /completions/{run_id}/stream": Description(
        "streamRun",
        {
            200: {
                EVENTS: MediaContent(
                    {"type": "string", "description": "A `ChatCompletionChunk` per message; `[DONE]` ends it."},
                    _RUN_STREAM,
                    _RUN_EVENTS,
                )
            }
        },
    ),
    "GET /conversations": Description(
        "listConversations", {200: _json("Conversations", {"conversations": [_CONVERSATION]})}
    ),
    "POST /conversations": Description(
        "startConversation", {201: _json("Asked", _TAKEN), 200: _json("Asked", {**_TAKEN, "status": "done"})},
        _json("FirstQuestion", {"id": "c1", "model": "gpt-5-mini", "content": "What is a belfry?"}),
    ),
    "GET /conversations/{conversation_id}": Description(
        "getConversation", {200: _json("WholeConversation", {**_CONVERSATION, "turns": [_TURN]})}
    ),
    "PATCH /conversations/{conversation_id}": Description(
        "renameConversation",
        {200: _json("Renamed", {"id": "c1", "title": "Bells"})},
        _json("Rename", {"title": "Bells"}),
    ),
    "DELETE /conversations/{conversation_id}": Description("deleteConversation"),
    "POST /conversations/{conversation_id}/turns": Description(
        "askInConversation",
        {
            201: _json("Asked", {**_TAKEN, "turn": "t2", "stream": "/completions/t2/stream", "revision": 2}),
            200: _json("Asked", {**_TAKEN, "status": "done"}),
        },
        _json("Question", {"id": "t2", "model": "gpt-5-mini", "content": "How high?", "after": "c1", "revision": 1}),
    ),
    "POST /session": Description("startSession", {201: _json("Session", {"user": "alice", "expires_at": _TIME})}),
    "DELETE /session": Description("endSession"),
    "POST /tickets": Description("buyTicket", {201: _json("Ticket", {"ticket": "e1W2epiV-GD55T", "expires_in": 60})}),
    "GET /push/key": Description("getPushKey", {200: _json("PushKey", {"key": _PUSH_KEY, "user": "alice"})}),
    "POST /push/subscriptions": Description(
        "subscribeToPush",
        {201: _json("PushSubscribed", {"expires_at": _TIME})},
        _json(
            "PushSubscription",
            {
                "endpoint": _PUSH_ENDPOINT, "expirationTime": None,
                "keys": {"p256dh": _PUSH_KEY, "auth": "BTBZMqHH6r4Tts7J_aSIgg"},
            },
        ),
    ),
    "DELETE /push/subscriptions": Description(
        "unsubscribeFromPush", {}, _json("PushEnd", {"endpoint": _PUSH_ENDPOINT})
    ),
    "POST /push/read": Description(
        "readByPush",
        {},
        _json(
            "PushRead",
            {"user": "alice", "id": "order-17-shipped", "proof": "mZ0bXx8V0Qm2r0w6vJc8f3m5u1o0y8q5q1m0cB7t2cM"},
        ),
    ),
    "GET /": Description("showFeedPage", {200: _PAGE}),
    "GET /chat": Description("showChatPage", {200: _PAGE}),
    "GET /chat/{run_id}": Description("showRunPage", {200: _PAGE}),
    "GET /admin/": Description("showAdminPage", {200: _PAGE}),
    "GET /admin/dashboard/": Description("showDashboardPage", {200: _PAGE}),
    "GET /admin/people/": Description("showPeoplePage", {200: _PAGE}),
    "GET /login": Description("showSignInPage", {200: _PAGE}),
    "POST /login": Description("signIn"),
    "POST /logout": Description("signOut"),
    "GET /admin/audit": Description(
        "listAuditEntries",
        {
            200: _json(
                "AuditEntries",
                {
                    "entries": [
                        {
                            "time": _TIME, "user": "admin", "action": "publish", "target": "user:alice",
                            "message_id": "order-17-shipped", "address": "192.0.2.7",
                        }
                    ]
                },
            )
        },
    ),
    "GET /admin/figures": Description("getFigures", {200: _json("Figures", {"seconds": 5, "points": []})}),
    "GET /admin/sessions": Description(
        "listSessions",
        {
            200: _json(
                "Sessions",
                {"user": "alice", "sessions": [{"name": "9d0e32223a1ef9f6a147ef8c3b1dfe20", "expires_at": _TIME}]},
            )
        },
    ),
    "POST /admin/revocations": Description(
        "revoke",
        {200: _json("Revoked", {"revoked": "user", "name": "alice", "sessions_ended": 1})},
        _json("Order", {"user": "alice"}),
    ),
    "GET /health/live": Description("isLive", {200: _json("Health", {"status": "live"})}),
    "GET /health/ready": Description("isReady", {200: _json("Health", {"status": "ready"})}),
    "GET /metrics": Description("getMetrics"),
    "GET /openapi.json": Description("getOpenApi"),
    "GET /docs": Description("showDocs", {200: _PAGE}),
    "GET /docs/": Description("showDocumentation", {200: _PAGE}),
    "GET /docs/{page}": Description("getDocumentation", {200: {JSON: MediaContent(_SEARCH_INDEX), **_ANY}}),
    "GET /static/{filename}": Description("getStatic", {200: _ANY}),
}  # fmt: skip
