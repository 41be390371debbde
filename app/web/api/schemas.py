"""The JSON schemas of the OpenAPI document: bodies, answers, and the data of each SSE event.

Rules that the server enforces come from the code that enforces them. Schemas of answers allow members that they do not
name, because later versions add some. A client must ignore members that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.completion import MODEL_MAX_CHARS, TITLE_MAX_CHARS
from ...core.errors import CATALOGUE
from ...core.identity.names import NAME_SCHEMA
from ...core.insight.figures import COUNTED
from ...core.log.change import IDS_MAX
from ...core.message import ID_SCHEMA, Action, Content, Publish
from ...core.settings import Settings
from ...core.wire.frames import Goodbye
from .admin import Order
from .push import PushEnd, PushRead, PushSubscription, SubscriptionKeys
from .scheduled import Reschedule

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
STATUS: Schema = {"type": "integer", "minimum": 100, "maximum": 599}
CURSOR: Schema = {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,128}$"}
RUN_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}
MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": MODEL_MAX_CHARS}
TARGETS = ("to", "topic", "everyone")
RECIPIENTS_MAX: int = Settings.model_fields["max_recipients"].default
BODY_NAME: Mapping[str, str] = {
    "to": "PublishToUsers",
    "topic": "PublishToTopic",
    "everyone": "PublishToEveryone",
}


def ref(name: str) -> Schema:
    """Return a reference to a component of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def items(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def table(of: Schema) -> Schema:
    """Return the schema of an object whose member names are ids."""
    return {"type": "object", "additionalProperties": of}


def or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}


def members(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, about: str = "") -> Schema:
    """Return the schema of an object with required and optional members."""
    described = {"description": about} if about else {}
    return {
        "type": "object",
        **described,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def either(optional: Mapping[str, Schema], about: str, **choices: Schema) -> Schema:
    """Return the schema of a body with exactly one of `choices`, and `optional` members.

    It is a union, because every generator supports unions.
    """
    return {"description": about, "anyOf": [_closed({name: of}, optional) for name, of in choices.items()]}


def _closed(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    return {**members(required, optional), "additionalProperties": False}


def of_model(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a pydantic schema for generators, without titles and defaults, and with references to components.

    Generators would treat a member with a default as one that is always there.
    """
    if "$ref" in schema:
        return dict(ref(schema["$ref"].rpartition("/")[2]))
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            found[name] = {member: of_model(of) for member, of in value.items()}
        elif isinstance(value, dict):
            found[name] = of_model(value)
        elif isinstance(value, list) and name in {"anyOf", "oneOf", "allOf"}:
            found[name] = [of_model(part) for part in value]
        elif name not in {"title", "default", "$defs"}:
            found[name] = value
    return found


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the same schema without null, for a member that is required, or that answers never give as null."""
    kept = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return schema if not kept else {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}


_PUBLISH = of_model(Publish.model_json_schema())
_CONTENT = {name: _present(of) for name, of in of_model(Content.model_json_schema())["properties"].items()}
_DESCRIPTIONS: Mapping[str, str] = {
    "id": "The idempotency key. Use the id of your own event, so that a retry is recognised.",
    "to": f"A user id, or 1 to {RECIPIENTS_MAX} of them (`BELFRY_MAX_RECIPIENTS`). An id has at most 128 bytes.",
    "topic": "A topic. Its name has at most 128 bytes.",
    "everyone": "All users.",
    "event": "The SSE event type, `message` if absent.",
    "key": "A later message with the same key replaces the earlier one in the feed.",
    "url": "http, https or a path. Clients open it.",
    "ttl": "Seconds until the message leaves the feed.",
    "transient": "`true`: only connected users receive the message, and it is not kept.",
    "deliver_at": "When to deliver the message: RFC 3339 with a time zone, or a number of seconds from now.",
    "push": "`true`: the message also goes to the devices of its recipients by Web Push. Only with `to`.",
    "data": "Any JSON.",
}
_TARGET: Mapping[str, Schema] = {
    "to": {
        "anyOf": [NAME_SCHEMA, items(NAME_SCHEMA, minItems=1, maxItems=RECIPIENTS_MAX)],
        "description": _DESCRIPTIONS["to"],
    },
    "topic": {**NAME_SCHEMA, "description": _DESCRIPTIONS["topic"]},
    "everyone": {"type": "boolean", "const": True, "description": _DESCRIPTIONS["everyone"]},
}


def _publish(target: str) -> Schema:
    """Return the schema of a message to one kind of recipient."""
    told = {
        name: {**of, **({"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {})}
        for name, of in _PUBLISH["properties"].items()
        if name not in TARGETS
    }
    return _closed({target: _TARGET[target]}, told)


_OTHER_FIELDS = {"additionalProperties": True}
_CONNECTION_FIELDS = {"id": TEXT, "since": TIME, "address": TEXT, "agent": TEXT}
# This is not an enumeration: a generated client would fail at a code or a reason that a later version adds.
_CODE: Schema = text(f"One of {', '.join(sorted(CATALOGUE))}. Later versions add codes.", pattern="^[a-z_]+$")
_STREAM: Schema = {"type": ["boolean", "null"]}
_MESSAGE_REQUIRED: Mapping[str, Schema] = {"id": ID_SCHEMA, "time": TIME}
_MESSAGE_OPTIONAL: Mapping[str, Schema] = {
    "expires_at": TIME,
    "topic": text("The topic that it went to, if it went to one."),
    "everyone": {"type": "boolean", "const": True, "description": "It went to all users."},
    **{name: of for name, of in _CONTENT.items() if name != "event"},
    "event": text("The SSE event type, absent for `message`. In a stream, the block has it too."),
}
_MESSAGE = members(_MESSAGE_REQUIRED, _MESSAGE_OPTIONAL, "A message as its recipients read it.")
_USAGE = {
    "type": "object",
    "description": "Tokens as the upstream told them; `estimated` if Belfry counted them.",
    "properties": {
        "prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT, "estimated": FLAG,
    },
}  # fmt: skip
_RUN_ERROR = members({"code": TEXT, "detail": TEXT})
_RUN_REQUIRED: Mapping[str, Schema] = {
    "id": RUN_ID,
    "status": {"type": "string", "enum": ["running", "done", "stopped", "failed"]},
    "model": TEXT,
    "title": text("The beginning of what the user said last."),
    "stream": text("The path of the run's SSE stream."),
    "started": TIME,
    "ended": or_null(TIME),
    "usage": or_null(ref("Usage")),
}
_RUN_OPTIONAL: Mapping[str, Schema] = {
    "error": _RUN_ERROR,
    "conversation": {**RUN_ID, "description": "The conversation that it answers in, if it answers in one."},
}
_RUN = members(_RUN_REQUIRED, _RUN_OPTIONAL, "A run: a completion that Belfry keeps.")
_CHAT_MESSAGE = {
    "type": "object",
    "description": "As OpenAI's API takes it.",
    "properties": {"role": TEXT, "content": {}},
    **_OTHER_FIELDS,
}
_COMPLETION_FIELDS: Mapping[str, Schema] = {"model": MODEL, "messages": items(ref("ChatMessage"), minItems=1)}
_CONTENT_OF_QUESTION: Schema = {
    "anyOf": [{**TEXT, "minLength": 1}, items({"type": "object", "required": ["type"]}, minItems=1)],
    "description": "A text, or parts as OpenAI's API has them, such as `image_url`.",
}
_QUESTION_OPTIONAL: Mapping[str, Schema] = {
    "id": {**RUN_ID, "description": "The turn's id, which is its run's too. Belfry makes one if it is absent."},
}
_OF_CONVERSATION: Mapping[str, Schema] = {
    "id": RUN_ID,
    "title": TEXT,
    "model": TEXT,
    "created": TIME,
    "used": TIME,
    "revision": {**COUNT, "description": "It grows with each question."},
    "questions": COUNT,
    "running": {**TEXT_OR_NULL, "description": "The run that answers now."},
}
_ANSWERED: Mapping[str, Schema] = {
    "text": TEXT, "finish_reason": TEXT_OR_NULL, "error": _RUN_ERROR, "reasoning": TEXT, "refusal": TEXT,
    "tool_calls": items({"type": "object"}),
}  # fmt: skip
_CHOICE: dict[str, Any] = {
    "type": "object",
    "properties": {"index": COUNT, "finish_reason": TEXT_OR_NULL},
    **_OTHER_FIELDS,
}

_LOG_NAME = text("`user:<id>`, `topic:<name>` or `everyone`.")
_MARKED: Mapping[str, Schema] = {"read": FLAG, "archived": FLAG, "removed": FLAG}
_COUNTS: Mapping[str, Schema] = {
    "unread": COUNT,
    "revision": {**COUNT, "description": "How many changes of the feed were not new messages."},
}
_IDS = items(ID_SCHEMA, maxItems=IDS_MAX)
_ALL: Schema = {"type": "boolean", "const": True, "description": "All messages that are kept now."}
_CHANGED_IDS: Mapping[str, Schema] = {"ids": items(TEXT), "all": FLAG}

# This is not an enumeration either.
_STATE: Schema = text("`scheduled`, `delivering`, `delivered`, `cancelled`, `revoked` or `refused`.")
_SCHEDULED: Mapping[str, Schema] = {
    "deliver_at": {**TIME, "description": "When a scheduled message is delivered."},
    "state": _STATE,
    "duplicate": {**FLAG, "description": "A message with this id and content was scheduled before."},
}

# The components, in the order in which `/docs` shows them.
SCHEMAS: Mapping[str, Schema] = {
    "Publish": {
        "description": "One message, to exactly one of `to`, `topic` and `everyone`. At most 64 KiB of JSON.",
        "oneOf": [ref(name) for name in BODY_NAME.values()],
    },
    **{BODY_NAME[target]: _publish(target) for target in TARGETS},
    "Action": of_model(Action.model_json_schema()),
    "Delivery": members(
        {
            "to": text("A user id, `topic:<name>` or `everyone`."),
            "offset": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "The message's number in the recipient's log; null if it is not kept.",
            },
            "duplicate": {**FLAG, "description": "The recipient has this id already, so nothing was sent."},
            "online": {**FLAG, "description": "Somebody was connected as this recipient."},
        },
        about="What one recipient of a message got.",
    ),
    "Published": members(
        {"id": ID_SCHEMA, "deliveries": items(ref("Delivery"))},
        _SCHEDULED,
        "What became of a message. One that is scheduled has no deliveries yet, but `deliver_at` and `state`.",
    ),
    "LineResult": members(
        {"status": STATUS},
        {
            "id": ID_SCHEMA, "deliveries": items(ref("Delivery")), **_SCHEDULED,
            "type": TEXT, "title": TEXT, "detail": TEXT, "code": _CODE, "errors": items(ref("FieldError")),
        },
        "The result of one line of a batch: `Published` with 200, 201 or 202, or a `Problem`.",
    ),
    "Message": _MESSAGE,
    "FeedMessage": members(
        {**_MESSAGE_REQUIRED, "read": FLAG, "archived": FLAG}, _MESSAGE_OPTIONAL, "A message as its reader marked it."
    ),
    "Feed": members(
        {
            "messages": items(ref("FeedMessage")),
            "next": {**or_null(CURSOR), "description": "`before` of the next page; null on the last one."},
            **_COUNTS,
            "cursor": {**CURSOR, "description": "A stream that is opened with it misses nothing."},
        }
    ),
    "MarkRead": either(
        {"read": {**FLAG, "description": "`false` marks the messages as unread."}},
        "Which messages to mark: `ids` or `all`.", ids=_IDS, all=_ALL,
    ),
    "Archive": either(
        {"archived": {**FLAG, "description": "`false` takes the messages back."}},
        "Which messages to archive: `ids` or `all`.", ids=_IDS, all=_ALL,
    ),
    "Remove": either(
        {"removed": {**FLAG, "description": "`false` takes the messages back."}}, "Which messages to remove.", ids=_IDS
    ),
    "Changed": members(_COUNTS, about="The counts of the feed after the change."),
    "MessageDelivery": members(
        {"to": TEXT, "offset": or_null(COUNT), **_MARKED},
        {"readers": members({"read": COUNT, "of": COUNT})},
    ),
    "MessageStatus": members(
        {"id": TEXT, "recipients": COUNT, "kept": COUNT, "read": COUNT, "deliveries": items(ref("MessageDelivery"))},
        {"state": _STATE, "deliver_at": TIME, "by": TEXT, "to": items(TEXT)},
    ),
    "MessageContent": members({"event": TEXT, "message": ref("Message"), "logs": items(_LOG_NAME)}),
    "Retracted": members({"id": TEXT, "retracted": items(TEXT)}, {"state": _STATE}),
    "ScheduledMessage": members(
        {
            "id": TEXT, "deliver_at": TIME, "state": _STATE, "by": text("The publisher's user id."),
            "to": items(TEXT), "event": TEXT, "title": TEXT_OR_NULL,
        },
    ),
    "ScheduledMessages": members(
        {
            "scheduled": items(ref("ScheduledMessage")),
            "next": {**TEXT_OR_NULL, "description": "`after` of the next page; null on the last one."},
        },
    ),
    "Reschedule": of_model(Reschedule.model_json_schema()),
    "Rescheduled": members({"id": TEXT, "deliver_at": TIME, "state": _STATE}),
    "RecentMessage": members(
        {
            "id": TEXT, "time": TIME, "event": TEXT, "level": TEXT_OR_NULL, "title": TEXT, "body": TEXT,
            "by": text("The publisher's user id."), "recipients": COUNT, "to": items(TEXT), "reached": COUNT,
            "stored": COUNT, "duplicates": COUNT,
        },
    ),
    "RecentMessages": members({"messages": items(ref("RecentMessage"))}),
    "Connection": members(
        _CONNECTION_FIELDS,
        {
            "tabs": or_null(COUNT), "topics": items(TEXT), "told": TIME,
            "places": {**table(TEXT), "description": "Where the connection stands: log → position."},
        },
    ),
    "Presence": members(
        {"online": FLAG, "connections": COUNT, "since": or_null(TIME)}, {"list": items(ref("Connection"))}
    ),
    "PresenceOfUsers": members({"users": table(ref("Presence"))}),
    "KnownUser": members(
        {
            "user": TEXT,
            "online": FLAG,
            "seen": or_null(TIME),
            "visited": {**FLAG, "description": "False for a user who received messages and whose visits are unknown."},
        }
    ),
    "KnownUsers": members({"users": items(ref("KnownUser")), "known": COUNT}),
    "UserMessage": members(
        {
            "id": TEXT, "time": TIME, "title": TEXT_OR_NULL, "body": TEXT_OR_NULL,
            "level": TEXT_OR_NULL, "log": _LOG_NAME, "offset": COUNT, "kept": FLAG, **_MARKED,
        },
    ),
    "UserEvent": members(
        {"time": TIME, "what": TEXT},
        {
            "connection": TEXT, "offset": or_null(COUNT), "places": table(TEXT), "lost": FLAG, "reason": TEXT,
            "ids": items(TEXT), "count": COUNT, "all": FLAG,
        },
    ),
    "User": members(
        {
            "user": TEXT, "online": FLAG, "connections": items(ref("Connection")),
            "log": members({"newest": COUNT, "oldest": COUNT, "kept": COUNT, "unread": COUNT}),
            "messages": items(ref("UserMessage")), "events": items(ref("UserEvent")),
        },
    ),
    "TraceStep": members(
        {"time": TIME, "what": TEXT}, {"connection": TEXT, "until": TIME, "caught_up": FLAG}
    ),
    "Trace": members(
        {
            "user": TEXT, "id": TEXT, "log": _LOG_NAME, "offset": or_null(COUNT), "kept": FLAG, **_MARKED,
            "steps": items(ref("TraceStep")),
        },
    ),
    "AuditEntry": members(
        {"time": TIME, "user": TEXT, "action": TEXT, "target": TEXT, "message_id": TEXT, "address": TEXT},
        {"count": COUNT},
    ),
    "AuditEntries": members({"entries": items(ref("AuditEntry"))}),
    "FiguresPoint": members(
        {
            "id": TEXT, "time": COUNT, "seconds": COUNT, **dict.fromkeys(COUNTED, COUNT), "p50": or_null(NUMBER),
            "p99": or_null(NUMBER),
        },
    ),
    "Figures": members({"seconds": COUNT, "points": items(ref("FiguresPoint"))}),
    "Sessions": members({"user": TEXT, "sessions": items(members({"name": TEXT, "expires_at": TIME}))}),
    "Order": either(
        {}, "Whose credentials to withdraw.",
        **{name: _present(of) for name, of in of_model(Order.model_json_schema())["properties"].items()},
    ),
    "Revoked": members({"revoked": TEXT, "name": TEXT, "sessions_ended": COUNT}),
    "Session": members({"user": TEXT, "expires_at": TIME}),
    "PushKey": members({"key": text("The public VAPID key: `applicationServerKey` of browsers.")}),
    "SubscriptionKeys": of_model(SubscriptionKeys.model_json_schema()),
    "PushSubscription": of_model(PushSubscription.model_json_schema()),
    "PushSubscribed": members({"expires_at": TIME}),
    "PushEnd": of_model(PushEnd.model_json_schema()),
    "PushRead": of_model(PushRead.model_json_schema()),
    "Ticket": members({"ticket": TEXT, "expires_in": COUNT}),
    "ChatMessage": _CHAT_MESSAGE,
    "StartRun": {
        **members(
            _COMPLETION_FIELDS,
            {"id": {**RUN_ID, "description": "The run's id. Belfry makes one if it is absent."}, "stream": _STREAM},
            "As OpenAI's API takes it; other members are passed on.",
        ),
        **_OTHER_FIELDS,
    },
    "StartedRun": members({"id": RUN_ID, "stream": TEXT, "status": TEXT}),
    "Run": _RUN,
    "Runs": members({"completions": items(ref("Run"))}),
    "RunState": members(
        {**_RUN_REQUIRED, "text": TEXT, "finish_reason": TEXT_OR_NULL},
        {**_RUN_OPTIONAL, "reasoning": TEXT, "refusal": TEXT, "tool_calls": items({"type": "object"})},
    ),
    "FirstQuestion": {
        **members(
            {"model": MODEL, "content": _CONTENT_OF_QUESTION},
            _QUESTION_OPTIONAL,
            "The first question of a conversation, which gets the same id. Other members are passed on.",
        ),
        **_OTHER_FIELDS,
    },
    "Question": {
        **members(
            {"model": MODEL, "content": _CONTENT_OF_QUESTION},
            {
                **_QUESTION_OPTIONAL,
                "after": {
                    **TEXT_OR_NULL,
                    "description": "The id of the turn that it follows; null: it becomes the first. What came after is "
                    "replaced. Without it, the question follows the last turn.",
                },
                "revision": {
                    "type": ["integer", "null"],
                    "description": "The revision that the client knows; another one is refused.",
                },
            },
            "One more question of a conversation. Other members are passed on.",
        ),
        **_OTHER_FIELDS,
    },
    "Asked": members(
        {
            "id": {**RUN_ID, "description": "The conversation's id."},
            "turn": {**RUN_ID, "description": "The turn's id, which is its run's too."},
            "stream": TEXT, "status": TEXT, "revision": COUNT,
        },
        about="A question that was taken. Its answer comes by the stream.",
    ),
    "Conversation": members(_OF_CONVERSATION, about="What a list tells of a conversation."),
    "Conversations": members({"conversations": items(ref("Conversation"))}),
    "Turn": members(
        {
            "id": RUN_ID, "content": {}, "model": TEXT, "asked": TIME, "stream": TEXT,
            "status": {"type": "string", "enum": ["running", "done", "stopped", "failed"]},
        },
        _ANSWERED,
        "A question, and its answer unless the status is `running`.",
    ),
    "WholeConversation": members({**_OF_CONVERSATION, "turns": items(ref("Turn"))}),
    "Rename": _closed({"title": {**TEXT, "minLength": 1, "maxLength": TITLE_MAX_CHARS}}, {}),
    "Renamed": members({"id": RUN_ID, "title": TEXT}),
    "StoppedRun": members({"id": RUN_ID, "status": TEXT}),
    "Usage": _USAGE,
    "ChatRequest": {
        **members(
            _COMPLETION_FIELDS,
            {
                "stream": _STREAM,
                "stream_options": {
                    "type": ["object", "null"], "properties": {"include_usage": {"type": ["boolean", "null"]}},
                },
            },
            "As OpenAI's API takes it; other members are passed on.",
        ),
        **_OTHER_FIELDS,
    },
    "ChatCompletion": {
        **members(
            {"choices": items({**_CHOICE, "properties": {**_CHOICE["properties"], "message": ref("ChatMessage")}})},
            {"id": TEXT, "object": TEXT, "created": COUNT, "model": TEXT, "usage": or_null(ref("Usage"))},
            "As the upstream answered; it may have more members.",
        ),
        **_OTHER_FIELDS,
    },
    "ChatCompletionChunk": {
        **members(
            {"choices": items({**_CHOICE, "properties": {**_CHOICE["properties"], "delta": ref("ChatMessage")}})},
            {"id": TEXT, "object": TEXT, "created": COUNT, "model": TEXT, "usage": or_null(ref("Usage"))},
            "One event of a streamed answer, as the upstream sent it.",
        ),
        **_OTHER_FIELDS,
    },
    "ForwardedRequest": {
        "type": "object",
        "description": "As OpenAI's API takes it; Belfry passes it on as it is.",
        "properties": {"model": MODEL},
        **_OTHER_FIELDS,
    },
    "ForwardedAnswer": {"type": "object", "description": "As the upstream answered.", **_OTHER_FIELDS},
    "ResponseRequest": {
        **members(
            {"model": MODEL, "input": {"anyOf": [TEXT, items({"type": "object"}, minItems=1)]}},
            {"instructions": TEXT_OR_NULL, "stream": _STREAM, "background": _STREAM},
            "As OpenAI's Responses API takes it. Tools are functions; `previous_response_id` is not supported.",
        ),
        **_OTHER_FIELDS,
    },
    "Response": {
        **members({"id": TEXT, "object": TEXT, "status": TEXT}, {"model": TEXT, "output": items({"type": "object"})}),
        **_OTHER_FIELDS,
    },
    "ResponseEvent": {**members({"type": TEXT}, {"sequence_number": COUNT}), **_OTHER_FIELDS},
    "DeletedResponse": members({"id": TEXT, "object": TEXT, "deleted": FLAG}),
    "Model": {**members({"id": TEXT, "object": TEXT}), **_OTHER_FIELDS},
    "Models": members({"object": TEXT, "data": items(ref("Model"))}),
    "Health": members(
        {"status": TEXT}, {"warnings": items(members({"code": TEXT, "detail": TEXT}))}
    ),
    "Ready": members(
        {"user": TEXT, **_COUNTS, "connection": TEXT, "behind": COUNT},
        {"left_out": items(members({"topic": TEXT, "code": _CODE}))},
        about="The data of `ready`, the first event of `/stream`. `behind` messages follow that `unread` counts.",
    ),
    "ReadEvent": members(_COUNTS, {**_CHANGED_IDS, "read": FLAG}),
    "RemovedEvent": members(_COUNTS, _CHANGED_IDS),
    "UpdatedEvent": members(_COUNTS, {**_CHANGED_IDS, "archived": FLAG, "removed": FLAG}),
    "ConversationEvent": members(
        {"id": TEXT, "conversation": RUN_ID, "removed": FLAG},
        about="The data of `belfry.conversation`: a conversation of the user changed, or was deleted.",
    ),
    "Goodbye": members({"reason": text(f"One of {', '.join([reason.value for reason in Goodbye])}.")}),
    "RunReady": members({"id": RUN_ID, "status": TEXT}, about="The data of `ready` in a run's stream."),
    "RunFailed": members({"code": TEXT, "detail": TEXT}, about="The data of `failed`: why the run has no answer."),
    "Nothing": {"type": "object", "description": "An event without members."},
    "FieldError": members({"field": TEXT, "type": TEXT, "message": TEXT}),
    "Problem": members(
        {"type": TEXT, "title": TEXT, "status": STATUS, "detail": TEXT, "code": _CODE},
        {
            "errors": {**items(ref("FieldError")), "description": "Of an invalid message: what is wrong, by field."},
            "id": {**ID_SCHEMA, "description": "Of a message: its id, for a retry."},
            "deliveries": {**items(ref("Delivery")), "description": "Of `id_reused`: who received the message."},
        },
        "RFC 9457. `code` is for programs, `detail` for people.",
    ),
    "OpenAIError": members(
        {
            "error": members(
                {"message": TEXT, "type": TEXT, "param": TEXT_OR_NULL, "code": TEXT_OR_NULL}
            )
        },
        about="The shape of OpenAI's errors.",
    ),
}  # fmt: skip
