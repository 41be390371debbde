"""`POST /publish`: one message as JSON, or many as NDJSON."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
from flask import Blueprint, Response, request

from app import metrics
from app.core.errors import BelfryError
from app.core.frames import compact
from app.core.message import Message, parse
from app.core.settings import Settings
from app.core.tokens import Claims
from app.store.audit import Audit
from app.store.log import ROUND_TRIP_COMMANDS, Status
from app.store.publisher import Published, Publisher, Publishes
from app.web.auth import Authenticator
from app.web.by_hand import ByHand
from app.web.limits import Limits, headers
from app.web.reading import body, json_body

NDJSON = "application/x-ndjson"

# From what is not white space to JSON (RFC 8259, 2) to the end of the line; a CR before the LF is such white space.
_LINE = re.compile(rb"[^ \t\r\n][^\n]*")

Result = dict[str, Any]
Publish = Callable[[Sequence[Message]], list[Published]]
Note = Callable[[tuple[str, Published]], None]


def blueprint(
    auth: Authenticator,
    publisher: Publisher,
    note: Note,
    audit: Audit,
    limits: Limits,
    settings: Settings,
    clock: Callable[[], float],
) -> Blueprint:
    """The view of `/publish`; `note` hears of each message that was published, and by whom."""
    views = Blueprint("publish", __name__)

    @views.post("/publish")
    def publish() -> Response:
        claims = auth.require(request, "publish")
        if request.mimetype == NDJSON:
            batch = Batch(publish_for(claims), lambda line: counted(line, claims))
            return Response(batch.results(lines(body(request, settings.max_batch_bytes))), mimetype=NDJSON)
        message = read(json_body(request, settings.max_body_bytes, f"application/json or {NDJSON}"), claims)
        taken = limits.publish(claims.user, len(message.logs))
        result = publish_one(publish_for(claims), message)
        status = result.pop("status")
        return Response(compact(result) + "\n", status, headers(taken), mimetype="application/json")

    def publish_for(claims: Claims) -> Publish:
        return noted(ByHand(publisher, audit, auth, claims) if claims.session else publisher, note, claims.user)

    def counted(line: bytes, claims: Claims) -> Message:
        message = read(line, claims)
        limits.publish(claims.user, len(message.logs))
        return message

    def read(text: bytes, claims: Claims) -> Message:
        if len(text) > settings.max_body_bytes:
            raise BelfryError("line_too_large", f"A line has at most {settings.max_body_bytes} bytes, got {len(text)}.")
        message = parse(text, now=clock(), new_id=secrets.token_hex(12), max_recipients=settings.max_recipients)
        for name in message.logs:
            if not claims.may_address(name):
                raise BelfryError("target_forbidden", f"The token may not address {name!r}.")
        return message

    return views


def noted(publisher: Publishes, note: Note, by: str) -> Publish:
    """Publishing that tells `note` of what was sent now."""

    def publish(messages: Sequence[Message]) -> list[Published]:
        published = publisher.publish(messages)
        for each in published:
            if not each.duplicate:
                metrics.TALLY.messages += 1
                note((by, each))
        return published

    return publish


class Batch:
    """Publishes lines in groups of about one round trip; each line gets its result, in order."""

    def __init__(self, publish: Publish, read: Callable[[bytes], Message]) -> None:
        self._publish_all = publish
        self._read = read

    def results(self, texts: Iterator[bytes]) -> Iterator[bytes]:
        """One line of JSON per line of input."""
        group: list[Message | BelfryError] = []
        size = 0
        for text in texts:
            try:
                message = self._read(text)
                group.append(message)
                size += len(message.logs)
            except BelfryError as error:
                metrics.refused(error.code)
                group.append(error)
            if size >= ROUND_TRIP_COMMANDS or len(group) >= ROUND_TRIP_COMMANDS:
                yield self._publish(group)
                group, size = [], 0
                gevent.sleep(0)  # bad lines need no round trip: a batch of them would keep everyone else waiting
        if group:
            yield self._publish(group)

    def _publish(self, group: list[Message | BelfryError]) -> bytes:
        messages = [item for item in group if isinstance(item, Message)]
        try:
            published = iter(self._publish_all(messages))
            results = [item.problem() if isinstance(item, BelfryError) else _result(next(published)) for item in group]
        except BelfryError as failure:
            # The store failed for all of the group; what each line needs for its retry is its id.
            results = [
                item.problem() if isinstance(item, BelfryError) else {**failure.problem(), "id": item.id}
                for item in group
            ]
        return "".join([compact(result) + "\n" for result in results]).encode()


def publish_one(publish: Publish, message: Message) -> Result:
    """Publish one message. Raises `BelfryError` `id_reused`, or `store_unavailable` with the `id` for a retry."""
    try:
        (published,) = publish([message])
    except BelfryError as error:
        error.extra["id"] = message.id
        raise
    result = _result(published)
    if published.reused:
        raise _reused(published)
    return result


def lines(text: bytes) -> Iterator[bytes]:
    """The lines that hold anything, one at a time: a list of them could take many times the text's memory."""
    return (found[0] for found in _LINE.finditer(text))


def _result(published: Published) -> Result:
    """The answer for one message, with its `status`: 201, 200 when everyone had it already, or a problem with 409."""
    if published.reused:
        return _reused(published).problem()
    return {
        "status": 200 if published.duplicate else 201,
        "id": published.message.id,
        "deliveries": _deliveries(published),
    }


def _reused(published: Published) -> BelfryError:
    return BelfryError(
        "id_reused",
        f"The message id {published.message.id!r} was used before with other content.",
        id=published.message.id,
        deliveries=_deliveries(published),
    )


def _deliveries(published: Published) -> list[Result]:
    return [
        {
            "to": name.removeprefix("user:"),
            "offset": outcome.position.offset or None,
            "duplicate": outcome.status is Status.DUPLICATE,
            "online": outcome.online,
        }
        for name, outcome in zip(published.message.logs, published.outcomes, strict=True)
        if outcome.status is not Status.REUSED
    ]
