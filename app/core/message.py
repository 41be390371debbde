"""A message: what a publisher may send, and what the log keeps of it.

`parse` is the only way to make one, so a `Message` is always valid. Its record is `<event> <JSON on one line>`. The
store keeps and publishes those bytes, and no code between it and the socket parses them again.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from . import due
from .due import DeliverAt, Due
from .errors import CATALOGUE, BelfryError
from .identity.names import NAME_SCHEMA, check_topic, check_user_id, nfc
from .wire import faults, strict_json
from .wire.frames import RESERVED_EVENTS, compact, stream_safe
from .wire.times import rfc3339

TTL_MAX_SECONDS = 31_536_000  # a year; a longer one is probably a mistake in the unit
TAGS_MAX = 32
ACTIONS_MAX = 8
DIGEST_BYTES = 16
ERRORS_TOLD = 20  # of a message, so that the refusal is not much larger than the request

# Members of the envelope and of the delivery.
_NOT_SHOWN = {"id", "to", "topic", "everyone", "ttl", "transient", "deliver_at", "push"}

ID_MAX = 128  # characters
ID_PATTERN = f"[A-Za-z0-9._:-]{{1,{ID_MAX}}}"
_TOKEN = re.compile(ID_PATTERN, re.ASCII)
_URL = re.compile(r"(?:https?://[^\s\\/]|/(?![/\\]))[^\s\\\x00-\x1f\x7f]*|/", re.IGNORECASE)

# White space, control characters, and characters without width.
_BLANKS = "".join(
    [
        *[char for char in map(chr, range(0x3001)) if char.isspace() or not char.isprintable()],
        *"\u2800\u3164\ufeff",  # Braille blank, Hangul filler, byte order mark
    ]
)
_INVISIBLE = frozenset(_BLANKS)
# The same rules for the OpenAPI document.
ID_SCHEMA = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
_EVENT_SCHEMA = {**ID_SCHEMA, "not": {"enum": sorted(RESERVED_EVENTS)}}
_URL_SCHEMA = {
    "type": "string", "maxLength": 2_048, "pattern": r"^(?:(?:[Hh][Tt][Tt][Pp][Ss]?://[^\s\\/]|/(?![/\\]))[^\s\\\x00-\x1f\x7f]*|/)$",
}  # fmt: skip

_LIST_OF_RECIPIENTS = "to.list[str]"  # the place at which pydantic reports the errors of `to` as a list

# The code for an error in a field, if the field's validator does not name one.
_CODE_OF_FIELD = {
    "id": "bad_message_id",
    "event": "bad_event",
    "to": "bad_user_id",
    "topic": "bad_topic",
    "ttl": "bad_ttl",
    "url": "bad_url",
    "deliver_at": due.CODE,
}


def _token(code: str) -> AfterValidator:
    def check(text: str) -> str:
        if not _TOKEN.fullmatch(text):
            raise PydanticCustomError(code, "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
        return text

    return AfterValidator(check)


def _not_reserved(event: str) -> str:
    if event in RESERVED_EVENTS:
        raise PydanticCustomError("reserved_event", "is an event of Belfry or of EventSource")
    return event


def _link(url: str) -> str:
    # Browsers read "\" as "/", so "/\evil.example" would leave the site. They also drop control characters.
    if not _URL.fullmatch(url):
        raise PydanticCustomError("bad_url", "must be http, https or a path, without spaces or backslashes")
    return url


def _not_blank(text: str) -> str:
    """Raise an error for a text with only blanks, because a reader would see nothing. An empty text is allowed."""
    # Stripping takes longer than reading the message, so it is avoided for most texts.
    if text and text[0] in _INVISIBLE and not text.strip(_BLANKS):
        raise PydanticCustomError("invalid_message", "must have a character that can be seen, got only blanks")
    return text


def _only_true(value: object) -> object:
    # `Literal[True]` alone also accepts 1 and 1.0, which are equal to it.
    if value is not True:
        raise PydanticCustomError("literal_error", "Expected true", {"expected": "true"})
    return value


OnlyTrue = Annotated[Literal[True], BeforeValidator(_only_true)]
Level = Literal["info", "success", "warning", "error"]
LEVELS: tuple[str, ...] = get_args(Level)

Event = Annotated[str, _token("bad_event"), AfterValidator(_not_reserved), WithJsonSchema(_EVENT_SCHEMA)]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_not_blank)]
Link = Annotated[str, Field(max_length=2_048), AfterValidator(_link), WithJsonSchema(_URL_SCHEMA)]
Key = Annotated[str, _token("invalid_message"), WithJsonSchema(ID_SCHEMA)]
MessageId = Annotated[str, _token("bad_message_id"), WithJsonSchema(ID_SCHEMA)]
Name = Annotated[str, WithJsonSchema(NAME_SCHEMA)]  # `_logs` checks the name


class Action(BaseModel):
    """A button of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_not_blank)]
    url: Link | None = None
    id: Key | None = None


class Content(BaseModel):
    """What a recipient gets to see, in the order of the JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: Event = "message"
    key: Key | None = None
    title: Annotated[str, AfterValidator(_not_blank)] | None = None
    body: str | None = None
    url: Link | None = None
    level: Level | None = None
    tags: Annotated[list[Tag], Field(max_length=TAGS_MAX)] | None = None
    actions: Annotated[list[Action], Field(max_length=ACTIONS_MAX)] | None = None
    data: Any = None


class Publish(Content):
    """The body of `POST /publish`."""

    id: MessageId | None = None
    to: Name | Annotated[list[Name], Field(fail_fast=True)] | None = None
    topic: Name | None = None
    everyone: OnlyTrue | None = None
    ttl: Annotated[int, Field(ge=1, le=TTL_MAX_SECONDS)] | None = None
    transient: bool = False
    deliver_at: DeliverAt | None = None
    push: bool = False

    @model_validator(mode="after")
    def _one_target(self) -> Publish:
        targets = (self.to is not None) + (self.topic is not None) + (self.everyone is not None)
        if targets != 1:
            code = "missing_target" if not targets else "ambiguous_target"
            raise PydanticCustomError(code, "give exactly one of to, topic and everyone")
        if self.deliver_at is not None and self.transient:
            told = "deliver_at can't be combined with transient: a scheduled message is kept. Leave one of them out"
            raise PydanticCustomError(due.CODE, told)
        if self.push and (self.to is None or self.transient):
            told = "push: only a kept message to named users is pushed. Give the users in `to`, without transient"
            raise PydanticCustomError("bad_push", told)
        return self


# The model's own methods call these after an overhead of half a microsecond each.
_VALIDATOR = Publish.__pydantic_validator__
_SERIALIZER = Publish.__pydantic_serializer__

_TIME = b'"time":"'
_SECOND = slice(len(_TIME), len(_TIME) + len("2026-11-21T01:50:00"))
_MILLISECOND = slice(_SECOND.stop + 1, _SECOND.stop + 4)


def published_at(record: bytes) -> float | None:
    """Return when a message was published, in Unix seconds to the millisecond, from its record. None without a time.

    The time comes directly after the id, which has no quotes. So no part of the content can be mistaken for it.
    """
    at = record.find(_TIME)
    if at < 0:
        return None
    time = record[at : at + _MILLISECOND.stop]
    return _second(time[_SECOND]) + int(time[_MILLISECOND]) / 1_000


@lru_cache(maxsize=64)
def _second(text: bytes) -> float:
    # All messages of one second share this result, so only the first one costs much.
    return datetime.fromisoformat(f"{text.decode()}Z").timestamp()


class Message(NamedTuple):
    """One valid message on its way into the logs of its recipients.

    `logs` are log names (`user:alice`, `topic:news`, `everyone`), each once. `record` is what the logs keep. `digest`
    identifies the publisher's content under `id`, without what the server added. `expires_ms` is Unix ms, or 0 if it
    never expires. `key` is empty if the message replaces nothing. `own_id` is whether the server made the id. `due` is
    None for a message to deliver at once. Otherwise `text` is the request body, which is read again at that time.
    `push` is whether the message also goes to the devices of its recipients.
    """

    id: str
    logs: tuple[str, ...]
    record: bytes
    digest: bytes
    expires_ms: int
    key: str
    transient: bool
    own_id: bool
    due: Due | None = None
    text: bytes = b""
    push: bool = False


def parse(body: bytes, *, now: float, new_id: str, max_recipients: int, key: str = "", line_key: str = "") -> Message:
    """Read one message from JSON.

    `now` is Unix time in seconds. `new_id` is the id for a message without one. `key` is the request's
    `Idempotency-Key`, which is an id too. `line_key` is the publisher's id for a line of a batch that has none. Raises
    `BelfryError` with the code of the first error. At most `ERRORS_TOLD` errors are in its `errors`.
    """
    sent = strict_json.read(body)
    try:
        given: Publish = _VALIDATOR.validate_python(sent)
    except ValidationError as error:
        raise _refusal(error) from None
    own_id = (_agreed(given.id, key) if key else given.id) or line_key or None
    message_id = own_id or new_id
    content = _SERIALIZER.to_json(given, exclude=_NOT_SHOWN, exclude_none=True, exclude_defaults=True)
    return Message(
        message_id,
        _logs(given, max_recipients),
        _record(given, message_id, now, content),
        _digest(given, content),
        expires_ms=int((now + given.ttl) * 1_000) if given.ttl else 0,
        key=given.key or "",
        transient=given.transient,
        own_id=own_id is None,
        due=given.deliver_at,
        text=b"" if given.deliver_at is None else body,
        push=given.push,
    )


def checked_key(key: str, most: int = ID_MAX) -> str:
    """Return the id in an `Idempotency-Key`. Raises `BelfryError` `bad_message_id`."""
    text = key.removeprefix('"').removesuffix('"')  # draft-ietf-httpapi-idempotency-key-header puts the key in quotes
    if not _TOKEN.fullmatch(text) or len(text) > most:
        raise BelfryError("bad_message_id", f"Idempotency-Key: must be 1 to {most} of A-Z a-z 0-9 . _ : -.")
    return text


def _agreed(message_id: str | None, key: str) -> str:
    """Return the one id that the message and the header name.

    Raises `BelfryError` `bad_message_id` or `ambiguous_id`.
    """
    text = checked_key(key)
    if message_id not in (None, text):
        detail = f"Idempotency-Key: expected {message_id!r}, the id in the message, or no header; got {text!r}."
        raise BelfryError("ambiguous_id", detail)
    return text


def _refusal(error: ValidationError) -> BelfryError:
    """Return the refusal with the first error's own code, or the code of its field.

    The text also names the position in a list.
    """
    errors = [
        {"field": ".".join(str(part) for part in item["loc"]), "type": item["type"], "message": faults.told(item)}
        for item in error.errors(include_url=False)[: ERRORS_TOLD + 1]
        if item["loc"][:2] != ("to", "str")  # the error of the list reports `to` once
    ][:ERRORS_TOLD]
    for each in errors:
        if each["field"] == _LIST_OF_RECIPIENTS:
            each |= {"field": "to", "message": "Expected a user id, which is a string, or a list of user ids"}
        elif each["field"].startswith(f"{_LIST_OF_RECIPIENTS}."):
            field = f"to{each['field'].removeprefix(_LIST_OF_RECIPIENTS)}"
            each |= {"field": field, "message": "Expected a user id, which is a string"}
    first = errors[0]
    code = first["type"] if first["type"] in CATALOGUE else _CODE_OF_FIELD.get(first["field"].split(".")[0], "")
    if first["type"] == "extra_forbidden":
        code = "unknown_field"
    where = f"{first['field']}: " if first["field"] else ""
    return BelfryError(code or "invalid_message", f"{where}{first['message']}.", errors=errors)


def _logs(given: Publish, max_recipients: int) -> tuple[str, ...]:
    if given.everyone:
        return ("everyone",)
    if given.topic is not None:
        return (f"topic:{check_topic(given.topic)}",)
    if isinstance(given.to, str):
        return (f"user:{check_user_id(given.to)}",)
    users = given.to
    if not users:
        raise BelfryError("empty_recipients", "to: give one user id or a list of at least one.")
    if len(users) > max_recipients:
        raise BelfryError("too_many_recipients", f"to: at most {max_recipients} user ids, got {len(users)}.")
    return tuple(dict.fromkeys([f"user:{check_user_id(user)}" for user in users]))


def _record(given: Publish, message_id: str, now: float, content: bytes) -> bytes:
    """Return the record: the envelope, then the members of the content.

    The envelope has the id, the times, and the topic or `everyone` if the message does not go to named users.
    """
    envelope = f'{{"id":"{message_id}","time":"{rfc3339(now)}"'  # neither value has characters that JSON would escape
    if given.ttl:
        envelope += f',"expires_at":"{rfc3339(now + given.ttl)}"'
    if given.topic is not None:
        envelope += f',"topic":{compact(nfc(given.topic))}'
    if given.everyone:
        envelope += ',"everyone":true'
    return f"{given.event} {envelope}{',' if content != b'{}' else ''}".encode() + stream_safe(content)[1:]


def _digest(given: Publish, content: bytes) -> bytes:
    """Return a digest, which is the same for the same content. A retry may have `data` with its members reordered.

    `content` must not have passed `stream_safe`: the store has digests that are older than that function.
    """
    if given.data is not None:
        shown = given.model_dump(exclude=_NOT_SHOWN, exclude_none=True, exclude_defaults=True)
        try:
            content = json.dumps(shown, sort_keys=True, allow_nan=False).encode()
        # 1e999 is valid JSON, but infinite as a float.
        except ValueError:
            raise BelfryError("malformed_json", "data: a number is too large to be kept.") from None
    behaviour = b"%d %d %s" % (given.ttl or 0, given.transient, b"push " if given.push else b"")
    return hashlib.blake2b(behaviour + content, digest_size=DIGEST_BYTES).hexdigest().encode()
