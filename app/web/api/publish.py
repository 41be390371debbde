"""`POST /publish`: one message as JSON, or many as NDJSON."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from flask import Request, Response

from ... import metrics
from ...core.errors import BelfryError
from ...core.identity.tokens import Claims
from ...core.message import ID_MAX, Message, checked_key, parse
from ...core.rate import Taken
from ...core.settings import Settings
from ...core.wire.frames import compact_bytes
from ...live.turns import Slices
from ...server.gates.admission import MemoryBudget
from ...server.sockets import REPEAT, Answered, Fields, Repeat, lines_of, write
from ...store.insight.audit import Audit
from ...store.logs.log import Status
from ...store.logs.publisher import Posted, Published, Publishes
from ...transport.connection import SilentError
from ..edge import request_ids
from ..edge.answers import Answers, status_line
from ..edge.audited import PagePublisher
from ..edge.auth import Authenticator, bearer_token
from ..edge.endpoint import Endpoint
from ..edge.limits import RateLimits, headers
from ..edge.reading import JSON, json_body, long_body
from .scheduling import Accepted, Scheduling

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/publish"
# The parts of a request on which the header fields of its answer depend.
DECIDING = ("wsgi.url_scheme", "HTTP_ORIGIN", *request_ids.KEYS)
NDJSON = "application/x-ndjson"
IDEMPOTENCY_KEY = "Idempotency-Key"

_SPACE = b" \t\r"  # whitespace of JSON (RFC 8259, 2), except for the line feed

LINES_PER_GROUP = 100  # of a batch; a group is published together
GROUPS_UNDER_WAY = 2  # of a batch: while the store works on one group, the next one is already waiting there
GROUP_BYTES = 1_048_576  # of lines; a group that has this many takes no further one
# Refused lines of a batch that are reported in full. For further ones, only status and code are reported.
REFUSALS_TOLD = 100
ID_BYTES = 12
# The system takes as long to make random bytes for one id as for many.
IDS_AT_ONCE = 256

_ids: list[str] = []

Result = dict[str, Any]
Group = list[Accepted]  # a result is the result of a message that is scheduled
Schedule = Callable[[Sequence[Message]], Sequence[Accepted]]
Note = Callable[[tuple[str, Published]], None]
GiveBack = Callable[[], None]


class PublishOutcome(NamedTuple):
    """The answer to a publisher of one message, and the state of the publisher's rate limit."""

    status: int
    body: bytes
    taken: Taken


class PublishHandler:
    """Publishes the messages of requests to `/publish`.

    `note` is called with each published message and the publisher's name.
    """

    def __init__(
        self,
        auth: Authenticator,
        publisher: Publishes,
        scheduling: Scheduling,
        note: Note,
        audit: Audit,
        limits: RateLimits,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._auth = auth
        self._publisher = publisher
        self._scheduling = scheduling
        self._note = note
        self._audit = audit
        self._limits = limits
        self._settings = settings
        self._clock = clock
        self._room = MemoryBudget(settings.max_batches_bytes)

    def one(self, asked: Request, claims: Claims) -> PublishOutcome:
        """Publish the one message of the request `asked`. Raises `BelfryError`."""
        settings = self._settings
        text = json_body(asked, settings.max_body_bytes, settings.body_seconds, f"application/json or {NDJSON}")
        self._auth.check(claims)  # the body may have taken long to arrive
        return self.take(text, claims, asked)

    def repeat(self, answer: Callable[[bytes], Answered | None], failed: Callable[[Exception], Answered]) -> Repeat:
        """Return a `Repeat` with `answer` and `failed`, and with the limits on the body that `one` has."""
        return Repeat(answer, failed, self._settings.max_body_bytes, self._settings.body_seconds)

    def take(self, text: bytes, claims: Claims, asked: Request | None = None) -> PublishOutcome:
        """Publish the one message `text`. The caller has checked its length. Raises `BelfryError`.

        `asked` is the request that brought it. It may be omitted if the request has a token and no `Idempotency-Key`.
        """
        key = "" if asked is None else asked.headers.get(IDEMPOTENCY_KEY, "")
        message, taken = self._accepted(text, claims, key)
        result = None if message.due is None else self._schedule_one(message, claims, asked)
        if result is None:
            result = publish_one(self._publisher_for(claims, asked), message)
        return PublishOutcome(result.pop("status"), compact_bytes(result) + b"\n", taken)

    def batch(self, asked: Request, claims: Claims) -> tuple[Iterator[bytes], GiveBack]:
        """Publish the messages of the request `asked`, one for each line.

        Returns an iterator over one result line for each message, and a function that must be called at the end. The
        end comes when all lines were read, or when nobody reads on. Raises `BelfryError`.
        """
        keys = _line_keys(asked.headers.get(IDEMPOTENCY_KEY, ""), self._settings.max_batch_lines)
        text, give_back = held_body(self._room, asked, self._settings.max_batch_bytes, self._settings.body_seconds)
        most_lines = self._settings.max_batch_lines
        if text.count(b"\n") + (not text.endswith(b"\n")) > most_lines:
            give_back()
            raise BelfryError(
                "body_too_large", f"A batch has at most {most_lines} lines; send the rest in another one."
            )
        schedule = partial(self._scheduling.accept, claims=claims, asked=asked)
        group = PublishBatch(self._publisher_for(claims, asked), partial(self._accepted_line, claims, keys), schedule)
        return group.results(lines(text)), give_back

    def _schedule_one(self, message: Message, claims: Claims, asked: Request | None) -> Result | None:
        """Return the answer to a scheduled message, or None if it is due already. Raises `BelfryError`."""
        try:
            (accepted,) = self._scheduling.accept([message], claims, asked)
        except BelfryError as error:
            error.extra["id"] = message.id
            raise
        if isinstance(accepted, BelfryError):
            raise accepted
        return None if isinstance(accepted, Message) else accepted

    def _publisher_for(self, claims: Claims, asked: Request | None) -> Publishes:
        publisher = self._publisher
        if claims.session and asked is not None:
            publisher = PagePublisher(publisher, self._audit, self._auth, claims, asked)
        return NotingPublisher(publisher, self._note, claims.user)

    def _accepted_line(self, claims: Claims, keys: Iterator[str], text: bytes) -> Message:
        self._auth.check(claims)
        return self._accepted(text, claims, line_key=next(keys))[0]

    def _accepted(self, text: bytes, claims: Claims, key: str = "", line_key: str = "") -> tuple[Message, Taken]:
        try:
            message = self._read(text, claims, key, line_key)
        except BelfryError:
            self._limits.publish(claims.user, 1)  # a refused message took as much work as a delivery
            raise
        return message, self._limits.publish(claims.user, len(message.logs))

    def _read(self, text: bytes, claims: Claims, key: str, line_key: str) -> Message:
        settings = self._settings
        if len(text) > settings.max_body_bytes:
            raise BelfryError("line_too_large", f"A line has at most {settings.max_body_bytes} bytes, got {len(text)}.")
        most = settings.max_recipients
        message = parse(text, now=self._clock(), new_id=new_id(), max_recipients=most, key=key, line_key=line_key)
        if message.push and not settings.push_private_key:
            told = "push: expected BELFRY_PUSH_PRIVATE_KEY to be set on the server. Set it, or leave out `push`."
            raise BelfryError("bad_push", told)
        for name in message.logs:
            if not claims.may_address(name):
                raise BelfryError("target_forbidden", f"The token may not address {name!r}.")
        return message


def endpoint(auth: Authenticator, handler: PublishHandler, answers: Answers) -> Endpoint:
    """Return `/publish` as a plain WSGI application."""
    return Endpoint(PATH, answers, {"POST": Publishing(auth, handler, answers)})


class PublishResponse:
    """The answer to one message: a WSGI application with a known status."""

    __slots__ = ("_write", "status")

    def __init__(self, status: int, write: WSGIApplication) -> None:
        self.status = status
        self._write = write

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._write(environ, start_response)


class Publishing:
    """Answers `POST /publish`."""

    def __init__(self, auth: Authenticator, handler: PublishHandler, answers: Answers) -> None:
        self._auth = auth
        self._handler = handler
        self._answers = answers

    def __call__(self, asked: Request) -> WSGIApplication:
        """Publish the messages of the request `asked`. Raises `BelfryError`."""
        claims = self._auth.require(asked, "publish", counted=False)
        # The first comparison is cheap and true for most requests.
        if asked.environ.get("CONTENT_TYPE") != JSON and asked.mimetype == NDJSON:
            return self._many(asked, claims)
        outcome = self._handler.one(asked, claims)
        # Later requests with the same head skip these checks, except in two cases. A session must be looked up for each
        # request, and a message with an `Idempotency-Key` has another head each time.
        repeats = bearer_token(asked) is not None and IDEMPOTENCY_KEY not in asked.headers
        return PublishResponse(outcome.status, partial(self._write, outcome, claims, repeats))

    def _many(self, asked: Request, claims: Claims) -> WSGIApplication:
        results, give_back = self._handler.batch(asked, claims)
        answer = Response(results, mimetype=NDJSON)
        answer.call_on_close(give_back)
        return self._answers.finish(asked, answer)

    def _write(
        self,
        outcome: PublishOutcome,
        claims: Claims,
        repeats: bool,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        common = self._answers.fields(environ, JSON)
        if repeats:
            failed = partial(self._failed, {name: environ[name] for name in DECIDING if name in environ})
            environ[REPEAT] = self._handler.repeat(partial(self._again, claims, lines_of(common), failed), failed)
        fields = _own_fields(outcome) + common
        return write(environ, start_response, status_line(outcome.status), fields, outcome.body)

    def _again(
        self, claims: Claims, common: str, failed: Callable[[Exception], Answered], text: bytes
    ) -> Answered | None:
        """Publish `text`, which came with the same head as an earlier request. `common` are lines of the answer's head.

        Returns None if the credential in that head is no longer valid.
        """
        try:
            self._auth.check(claims)
        except BelfryError:
            return None
        try:
            outcome = self._handler.take(text, claims)
        except Exception as error:  # noqa: BLE001 - not lost: it is answered, counted, and logged if it is a bug
            return failed(error)
        metrics.ANSWERED[PATH, str(outcome.status)] += 1
        return Answered(status_line(outcome.status), lines_of(_own_fields(outcome)) + common, outcome.body)

    def _failed(self, deciding: WSGIEnvironment, error: Exception) -> Answered:
        """Return the refusal of such a request. `deciding` has the request data that the header fields depend on."""
        answer = self._answers.problem(error, deciding)
        metrics.ANSWERED[PATH, str(answer.status)] += 1
        return answer.as_answered()


def _own_fields(outcome: PublishOutcome) -> Fields:
    return [*headers(outcome.taken).items(), ("Content-Type", JSON), ("Content-Length", str(len(outcome.body)))]


def new_id() -> str:
    """Return a random id for a message without one. Nobody can guess it."""
    if not _ids:
        made = secrets.token_hex(ID_BYTES * IDS_AT_ONCE)
        _ids.extend([made[at : at + 2 * ID_BYTES] for at in range(0, len(made), 2 * ID_BYTES)])
    return _ids.pop()


def held_body(room: MemoryBudget, sent: Request, limit_bytes: int, seconds: float) -> tuple[bytes, GiveBack]:
    """Read the body of a batch. Return it with a function that frees the reserved memory.

    Raises `BelfryError` like `body`, and `overloaded`.
    """
    place = room.place(min(sent.content_length or limit_bytes, limit_bytes))
    try:
        return long_body(sent, limit_bytes, seconds, place.grow), place.leave
    except BaseException:
        place.leave()
        raise


class NotingPublisher:
    """A publisher that calls `note` for each message that was not a duplicate."""

    def __init__(self, publisher: Publishes, note: Note, by: str) -> None:
        self._publisher = publisher
        self._note = note
        self._by = by

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        return self._told(self._publisher.publish(messages))

    def post(self, messages: Sequence[Message]) -> Posted:
        posted = self._publisher.post(messages)
        return lambda: self._told(posted())

    def _told(self, published: list[Published]) -> list[Published]:
        for each in published:
            if not each.duplicate:
                metrics.TALLY.messages += 1
                self._note((self._by, each))
        return published


class PublishBatch:
    """Publishes lines in groups of about one round trip. Each line gets its result, in order.

    The store works on one group while the next one already waits there and the one after that is read. The greenlet
    that reads the lines posts the groups one after the other, so the messages of a batch keep their order. If a group
    can't be posted or fails, its lines get that error, and the next groups continue. If the store was silent, no
    further group is posted, because each would wait as long.
    """

    def __init__(self, publisher: Publishes, read: Callable[[bytes], Message], schedule: Schedule = list) -> None:
        """Make a batch. `schedule` takes the messages with a later delivery time.

        Without it, they are published at once.
        """
        self._publisher = publisher
        self._read = read
        self._schedule = schedule
        self._refusals = 0
        self._silence: SilentError | None = None

    def results(self, texts: Iterator[bytes]) -> Iterator[bytes]:
        """Yield one line of JSON for each line of input."""
        under_way: deque[gevent.Greenlet[[Group, Posted], bytes]] = deque()
        for group in self._groups(texts):
            if len(under_way) == GROUPS_UNDER_WAY:
                yield under_way.popleft().get()
            under_way.append(self._begun(group))
        while under_way:
            yield under_way.popleft().get()

    def _groups(self, texts: Iterator[bytes]) -> Iterator[Group]:
        """Yield groups of lines that fit into one round trip.

        A line with more recipients than that is a group of its own.
        """
        group: Group = []
        logs = size = 0
        slices = Slices()
        for text in texts:
            item = self._item(text)
            more = len(item.logs) if isinstance(item, Message) else 0
            slices.pause()  # for other requests, and for the greenlet that sends the previous group
            if group and (logs + more > LINES_PER_GROUP or len(group) >= LINES_PER_GROUP or size > GROUP_BYTES):
                yield group
                group, logs, size = [], 0, 0
            group.append(item)
            logs += more
            size += len(text)
        if group:
            yield group

    def _item(self, text: bytes) -> Message | BelfryError:
        try:
            return self._read(text)
        except BelfryError as error:
            metrics.refused(error.code)
            return error

    def _begun(self, group: Group) -> gevent.Greenlet[..., bytes]:
        if self._silence is not None:
            return gevent.spawn(self._refused, group, self._silence)
        group = self._scheduled(group)
        return gevent.spawn(self._answers, group, self._posted(group))

    def _scheduled(self, group: Group) -> Group:
        """Schedule the messages of a group. Return the group with their results, or the message itself if it is due."""
        later = [item for item in group if isinstance(item, Message) and item.due is not None]
        if not later:
            return group
        try:
            accepted = iter(self._schedule(later))
        except BelfryError as failure:
            self._take_note(failure)
            accepted = iter([{**self._problem(failure), "id": item.id} for item in later])
        return [next(accepted) if isinstance(item, Message) and item.due is not None else item for item in group]

    def _posted(self, group: Group) -> Posted:
        try:
            return self._publisher.post([item for item in group if isinstance(item, Message)])
        except BelfryError as failure:
            self._take_note(failure)
            return partial(_fail, failure)

    def _answers(self, group: Group, posted: Posted) -> bytes:
        try:
            published = iter(posted())
            return _told(
                [_result(next(published)) if isinstance(item, Message) else self._known(item) for item in group]
            )
        except BelfryError as failure:
            self._take_note(failure)
            return self._refused(group, failure)

    def _refused(self, group: Group, failure: BelfryError) -> bytes:
        """Return the results of a group for which the store failed. Each line has its message id, for the retry."""
        return _told(
            [
                {**self._problem(failure), "id": item.id} if isinstance(item, Message) else self._known(item)
                for item in group
            ]
        )

    def _known(self, item: Result | BelfryError) -> Result:
        return self._problem(item) if isinstance(item, BelfryError) else item

    def _problem(self, error: BelfryError) -> Result:
        """Return the result of a refused line.

        Only the first ones have all details, to limit the size of the answer.
        """
        self._refusals += 1
        return error.problem() if self._refusals <= REFUSALS_TOLD else {"status": error.status, "code": error.code}

    def _take_note(self, failure: BelfryError) -> None:
        if isinstance(failure, SilentError):
            self._silence = failure


def _told(results: Sequence[Result]) -> bytes:
    return b"".join([compact_bytes(result) + b"\n" for result in results])


def _fail(failure: BelfryError) -> list[Published]:
    raise failure


def publish_one(publisher: Publishes, message: Message) -> Result:
    """Publish one message. Raises `BelfryError` `id_reused`, or `store_unavailable` with the `id` for a retry."""
    try:
        (published,) = publisher.publish([message])
    except BelfryError as error:
        error.extra["id"] = message.id
        raise
    if published.reused:
        raise _reused(published)
    return _success(published)


def _line_keys(key: str, most_lines: int) -> Iterator[str]:
    """Yield an id for each line that has none: the batch's `Idempotency-Key` with the line's number.

    A batch that is sent again then publishes no line twice. Raises `BelfryError` `bad_message_id`.
    """
    if not key:
        return repeat("")
    known = checked_key(key, ID_MAX - len(f".{most_lines}"))
    return (f"{known}.{number}" for number in count(1))


def lines(text: bytes) -> Iterator[bytes]:
    """Yield the lines that are not empty, one at a time. A list of them could take many times the text's memory."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin:end].lstrip(_SPACE)
        if line:
            yield line
        begin = end + 1


def _result(published: Published) -> Result:
    """Return the answer for one message with its `status`.

    The status is 201, 200 if every recipient had the message already, or 409 with a problem.
    """
    if published.reused:
        return _reused(published).problem()
    return _success(published)


def _success(published: Published) -> Result:
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
            "offset": position.offset or None,
            "duplicate": status is Status.DUPLICATE,
            "online": online,
        }
        for name, (status, position, online) in zip(published.message.logs, published.outcomes, strict=True)
        if status is not Status.REUSED
    ]
