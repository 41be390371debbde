"""Reads requests: the logs they name, their cursor, parameters and body."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import IO, NamedTuple

from flask import Request
from werkzeug.datastructures import MultiDict

from ...core.completion.coding import GZIP, window_of
from ...core.errors import BelfryError
from ...core.identity.names import check_topic
from ...core.identity.tokens import Claims
from ...core.log import cursor
from ...core.log.cursor import MAX_LOGS, Vector
from ...core.upstreams import NEVER_PASSED
from ...server.sockets import ReadDeadline
from ...store.keys import EVERYONE, topic_log, user_log

JSON = "application/json"
LAST_EVENT_ID = "last_event_id"
RESUME_NAMES = frozenset({"lasteventid", "evslasteventid"})  # without case, hyphens and underscores
MAX_TABS = 1_000
MAX_TOPICS = MAX_LOGS - 2  # the user's own log and everyone's are also read
PIECE_BYTES = 16_384
MEMBERS_MAX = 16  # of a compressed body; each copies the rest of the body


class LeftOut(NamedTuple):
    """A topic that a connection does not read, and the code of the reason."""

    topic: str
    code: str


def logs_of(claims: Claims, asked: Request) -> list[str]:
    """Return the logs that a connection reads: the user's own, everyone's, and its topics. Raises like `topics_of`."""
    topics, _left_out = topics_of(claims, asked)
    return names_of(claims.user, topics)


def names_of(user: str, topics: Iterable[str]) -> list[str]:
    """Return the logs that a connection of `user` reads, with these topics."""
    return [user_log(user), EVERYONE, *map(topic_log, topics)]


def topics_of(claims: Claims, asked: Request) -> tuple[list[str], list[LeftOut]]:
    """Return the topics that a connection reads, and those that it leaves out.

    They are the topics of `?topics=a,b&topic=c`. If the connection can't read one of them, it is refused, unless it
    also asks for `?partial=true`. Without these parameters, they are the topics that the token grants by name. If there
    are too many, only the first ones are read, because a token may grant more topics than one connection can read.

    Raises `BelfryError` `bad_topic`, `bad_parameter`, `topic_forbidden` or `too_many_topics`.
    """
    if not (has_query(asked) and ("topics" in asked.args or "topic" in asked.args)):
        granted = [topic for topic in dict.fromkeys(claims.topics) if not topic.endswith("*")]
        return granted[:MAX_TOPICS], [LeftOut(topic, "too_many_topics") for topic in granted[MAX_TOPICS:]]
    topics = list(dict.fromkeys(listed(asked.args, "topics", "topic")))
    readable: list[str] = []
    left_out: list[LeftOut] = []
    for topic in topics:
        try:
            readable.append(_readable(topic, claims, len(readable), len(topics)))
        except BelfryError as error:
            if not flag(asked, "partial"):
                raise
            left_out.append(LeftOut(topic, error.code))
    return readable, left_out


def _readable(topic: str, claims: Claims, before: int, asked: int) -> str:
    """Return `topic` if a connection that reads `before` others can read it too.

    Raises `BelfryError` like `topics_of`.
    """
    if not claims.may_read(check_topic(topic)):
        raise BelfryError("topic_forbidden", f"The token does not grant the topic {topic!r}.")
    if before >= MAX_TOPICS:
        raise BelfryError("too_many_topics", f"A connection reads at most {MAX_TOPICS} topics, got {asked}.")
    return topic


def has_query(asked: Request) -> bool:
    """Return whether there are parameters.

    Most connections have none, and parsing an empty query takes as long as parsing a token.
    """
    return bool(asked.environ.get("QUERY_STRING"))


def listed(given: MultiDict[str, str], many: str, one: str) -> list[str]:
    """Return the names of `?<many>=a,b`, and those of each `?<one>=c`, which may contain commas."""
    return [name for name in [*given.get(many, "").split(","), *given.getlist(one)] if name]


def cursor_of(text: str | None) -> Vector | None:
    """Return the cursor in a header or parameter, or None if it is absent or empty.

    Raises `BelfryError` `bad_cursor`.
    """
    return cursor.parse(text) if text else None


def resumed_from(asked: Request) -> Vector | None:
    """Return the cursor that a client resumes from, in any spelling, or None if it sends none.

    The newest position wins. The header `Last-Event-ID` comes first: browsers send it with every reconnect. Then comes
    a parameter that a polyfill appends to the address: `lastEventId` (Yaffle's EventSource, reconnecting-eventsource),
    `lastEventID` or `Last-Event-ID` (Mercure), `evs_last_event_id` (eventsource-polyfill). `last_event_id` comes last:
    a page wrote it into the address, so it is the oldest. An empty value counts as absent. Of a value that is given
    twice, the last one counts, because clients append. Raises `BelfryError` `bad_cursor`.
    """
    # A server joins repeated header lines with commas (RFC 9110, 5.3). A cursor contains none.
    header = asked.headers.get("Last-Event-ID", "").rpartition(",")[2].strip()
    return cursor_of(header or _resume_parameter(asked))


def _resume_parameter(asked: Request) -> str | None:
    if not has_query(asked):
        return None
    given = [(name, value) for name, value in asked.args.items(multi=True) if value and _is_resume(name)]
    aliases = [value for name, value in given if name != LAST_EVENT_ID]
    return aliases[-1] if aliases else given[-1][1] if given else None


def _is_resume(name: str) -> bool:
    return name.replace("-", "").replace("_", "").lower() in RESUME_NAMES


def number(asked: Request, name: str, default: float, least: float, most: float) -> float:
    """Return a number of the query. Raises `BelfryError` `bad_parameter` unless it is between `least` and `most`."""
    text = asked.args.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise BelfryError("bad_parameter", f"{name}: expected a number from {least} to {most}, got {text[:40]!r}.")
    return value


def whole_number(asked: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a number without a fraction of the query. Raises `BelfryError` `bad_parameter` like `number`."""
    value = number(asked, name, default, least, most)
    if not value.is_integer():
        raise BelfryError("bad_parameter", f"{name}: expected a whole number, got {value}.")
    return int(value)


def tabs_of(asked: Request) -> int:
    """Return how many tabs of a browser share a connection. Raises `BelfryError` `bad_parameter`."""
    return whole_number(asked, "tabs", 0, 1, MAX_TABS)


def flag(asked: Request, name: str, *, absent: bool | None = None, either: str = "") -> bool | None:
    """Return a flag of the query: `absent` if it is absent, None if it is the word `either`.

    Raises `BelfryError` `bad_parameter` if it is not a flag.
    """
    text = asked.args.get(name, "")
    if not text:
        return absent
    if text == either:
        return None
    if text not in ("true", "false", "1", "0"):
        expected = f"true, false or {either}" if either else "true or false"
        raise BelfryError("bad_parameter", f"{name}: expected {expected}, got {text[:40]!r}.")
    return text in ("true", "1")


def json_body(sent: Request, limit_bytes: int, seconds: float, expected: str = "application/json") -> bytes:
    """Return the body of a request that must be JSON, as it was sent.

    Raises `BelfryError` `unsupported_media_type`, also for a compressed body, and like `body`.
    """
    # The first comparison is cheap and false for most requests.
    if sent.environ.get("CONTENT_TYPE") != JSON and sent.mimetype != JSON:
        raise BelfryError("unsupported_media_type", f"Send {expected}, got {sent.mimetype or 'none'!r}.")
    return body(sent, limit_bytes, seconds)


def body(sent: Request, limit_bytes: int, seconds: float) -> bytes:
    """Return the request's body.

    Raises `BelfryError` `body_too_large` before reading more than the limit, `body_late` if it takes longer than
    `seconds`, `body_broken` if it can't be read to its end, and `unsupported_media_type` if it is compressed.
    """
    refuse_coding(sent)
    return _read(sent, limit_bytes, seconds)


def decompressed_body(sent: Request, limit_bytes: int, seconds: float) -> bytes:
    """Return a body like `body`, which may be compressed. The limit applies to the decompressed body as well.

    Raises `BelfryError` `unsupported_media_type` for a coding other than gzip and deflate.
    """
    text = _read(sent, limit_bytes, seconds)
    if "HTTP_CONTENT_ENCODING" in sent.environ:
        text = _decompressed(text, sent.environ["HTTP_CONTENT_ENCODING"], limit_bytes)
    if len(text) > limit_bytes:
        raise _too_large(limit_bytes)
    return text


def _read(sent: Request, limit_bytes: int, seconds: float) -> bytes:
    if (sent.content_length or 0) <= limit_bytes:
        with ReadDeadline(seconds):
            text: bytes = _stream(sent).read(limit_bytes + 1)
        if len(text) <= limit_bytes:
            return _whole(sent, text)
    raise _too_large(limit_bytes)


def _whole(sent: Request, text: bytes) -> bytes:
    """Return `text`. Raises `BelfryError` `body_broken` if the client announced more bytes than it sent.

    Such a body may still be valid JSON, or end at the end of a line (RFC 9112, 8).
    """
    announced = sent.content_length
    if announced is not None and len(text) < announced:
        told = f"Expected {announced} bytes as Content-Length says, got {len(text)}: send the whole body."
        raise BelfryError("body_broken", told)
    return text


def _decompressed(text: bytes, coding: str, limit_bytes: int) -> bytes:
    """Return the decompressed body, or its beginning with at most one byte more than the limit."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return text
    if name not in ("gzip", "x-gzip", "deflate"):
        raise BelfryError(
            "unsupported_media_type",
            f"Content-Encoding: expected gzip, deflate or identity, got {name[:40]!r}.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    try:
        return _inflated(text, name, limit_bytes)
    except zlib.error as error:
        raise BelfryError("body_broken", f"The body is not valid {name}: {error}.") from None


def _inflated(text: bytes, name: str, limit_bytes: int) -> bytes:
    """Return the decompressed body. It may be gzip, also in several members, or deflate with or without a header."""
    plain = b""
    for _ in range(MEMBERS_MAX):
        reader = zlib.decompressobj(window_of(text))
        plain += reader.decompress(text, limit_bytes + 1 - len(plain))
        if len(plain) > limit_bytes:
            return plain
        if not reader.eof:
            raise BelfryError("body_broken", f"The body's {name} ends too soon.")
        text = reader.unused_data
        if not text.startswith(GZIP):  # bytes behind the end mean nothing
            return plain
    raise BelfryError("body_broken", f"Expected at most {MEMBERS_MAX} members of {name}, got more: compress it once.")


def headers_of(sent: Request) -> dict[str, str]:
    """Return the request's headers that an upstream may get, if its settings say so."""
    lower = {name.lower(): value for name, value in sent.headers.items()}
    return {name: value for name, value in lower.items() if name not in NEVER_PASSED}


def long_body(sent: Request, limit_bytes: int, seconds: float, note: Callable[[int], object]) -> bytes:
    """Return a body like `body`, read in pieces. `note` is called with the size of each piece, and may raise."""
    refuse_coding(sent)
    pieces: list[bytes] = []
    left = limit_bytes
    if (sent.content_length or 0) <= limit_bytes:
        stream = _stream(sent)
        with ReadDeadline(seconds):
            while left >= 0 and (piece := stream.read(PIECE_BYTES)):
                note(len(piece))
                pieces.append(piece)
                left -= len(piece)
        if left >= 0:
            return _whole(sent, b"".join(pieces))
    raise _too_large(limit_bytes)


def refuse_coding(sent: Request) -> None:
    """Raise `BelfryError` `unsupported_media_type` for a compressed body (RFC 9110, 15.5.16)."""
    coding = sent.environ.get("HTTP_CONTENT_ENCODING", "")
    if coding and coding.strip().lower() != "identity":
        told = f"Expected a body without Content-Encoding, got {coding[:40]!r}."
        raise BelfryError("unsupported_media_type", told, headers={"Accept-Encoding": "identity"})


def _stream(sent: Request) -> IO[bytes]:
    """Return the stream of the body.

    If the server ends its stream with the body, as gunicorn does, werkzeug would use that same stream.
    """
    ends = sent.environ.get("wsgi.input_terminated")
    found: IO[bytes] = sent.environ["wsgi.input"] if ends else sent.stream
    return found


def _too_large(limit_bytes: int) -> BelfryError:
    return BelfryError("body_too_large", f"The body has at most {limit_bytes} bytes.")
