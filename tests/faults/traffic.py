"""Traffic: publishers with known ids and many subscribers, all of which write down what became of each message.

    with Traffic(belfry) as traffic:              # every subscriber has its `ready`, every publisher publishes
        traffic.run(50)                           # 50 more messages were acknowledged
        client.client_kill_filter(_type="pubsub") # the fault
        traffic.run(50)
        verdict = traffic.finish()                # all is read to the end, and judged
    assert verdict.kept, verdict

`users` users with `tabs` subscribers each. Everyone hears their own messages and those for everyone; every second tab
hears a topic besides, so its cursor has three positions. Publishers send to one user, to two, to the topic and to
everyone in turn, one message at a time: the next one leaves when the fate of the one before is known. The last of
several publishers sends batches instead, so large that Belfry writes a second round trip behind the first; the next
batch leaves when the fate of every line is known. What ended without a clear answer (a cut, a timeout, a 503) is
repeated with the same id, and in its order, until there is one. Now and then a publisher sends what must be refused,
also under an id that was used before.

`traffic.readers` may be told to hang up, pause and so on, see `crowd`; `traffic.checkpoint()` waits until everybody
has heard everything up to now, and raises when that takes too long; `traffic.erasing()` surrounds a FLUSHALL.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, zip_longest
from typing import Any, NamedTuple, Self

import requests

from tests.faults.checker import Verdict, check
from tests.faults.crowd import Crowd, Reader
from tests.faults.records import Erasure, Outcome, Publication, Records, Reset
from tests.servers import Api, Belfry
from tests.waiting import LateError, wait_until

TOKEN_SECONDS = 86_400
TOKEN_AGE_SECONDS = 7_200  # they are older than any clock is set back
ANSWER_SECONDS = 5.0  # how long a publisher waits for an answer before it tries again
REPEAT_SECONDS = 0.1
GIVE_UP_SECONDS = 60.0
SETTLE_SECONDS = 60.0  # from the last message until every subscriber has everything
READY_SECONDS = 60.0
EVERY_REFUSED = 10  # one of so many messages is sent to be refused
# With those of the wide lines' recipients who are never there, two round trips: Belfry writes the second one behind the
# first, since it makes a pause within so many lines.
BATCH_LINES = 40
ABSENT = 8
# A store without room refuses the message; whoever publishes may drop it. It must not come later.
MAY_REFUSE = {507}
LATER = {429, 502, 503, 504}
ACCEPTED = {200, 201}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a message addresses: its fields, and the logs that it goes to."""

    fields: Mapping[str, Any]
    logs: tuple[str, ...]


def to_users(*users: str) -> Target:
    return Target({"to": list(users) if len(users) > 1 else users[0]}, tuple(f"user:{user}" for user in users))


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish. `fields`, or the `id` of another message, make one that must be refused."""

    mark: str
    target: Target
    id: str = ""
    must_be_refused: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> Mapping[str, Any]:
        return {**self.target.fields, "id": self.id or self.mark, "data": self.mark, **self.fields}


class Answer(NamedTuple):
    """What became of a message in one attempt; `told` are the members of Belfry's answer, none of a proxy's own."""

    status: int
    told: Mapping[str, Any]

    @property
    def deliveries(self) -> Sequence[Mapping[str, Any]]:
        return self.told["deliveries"] if self.status in ACCEPTED else ()


Attempt = Callable[[Sequence[Draft]], Sequence[Answer]]  # the first ones' answers, as many as came


class Book:
    """All publications of a run; shared by the publishers' threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._publications: list[Publication] = []
        self.erasures: list[Erasure] = []
        self.answers: Counter[str] = Counter()  # of all attempts, by status, or by the name of the exception
        self.refusals: Counter[str] = Counter()  # of them and of single lines, by the problem's code

    def add(self, publication: Publication) -> None:
        with self._lock:
            self._publications.append(publication)

    def answered(self, answer: str, *codes: str) -> None:
        with self._lock:
            self.answers[answer] += 1
            self.refusals.update(codes)

    @property
    def publications(self) -> tuple[Publication, ...]:
        with self._lock:
            return tuple(self._publications)


class Sender:
    """Publishes one message, or one batch, at a time, and notes its fate. Not to be shared between threads."""

    def __init__(self, url: str, token: str, book: Book, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._url = url
        self._answer_seconds = answer_seconds
        self._token = token
        self._book = book
        self._api = Api(url, token)
        self._give_up = threading.Event()

    def publish(self, mark: str, target: Target, *, id: str = "", must_be_refused: bool = False, **fields: Any) -> bool:
        """Repeat until the message's fate is known; whether it was acknowledged.

        Raises AssertionError where a sound message is refused, or an unsound one is not.
        """
        return bool(self._settle([Draft(mark, target, id, must_be_refused, fields)], self._attempt))

    def publish_batch(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Repeat those lines whose fate is not known, until there is none; those that were acknowledged.

        Raises as `publish`, and where lines that were accepted together stand in a log in another order.
        """
        return self._settle(drafts, self._attempt_batch)

    def _settle(self, drafts: Sequence[Draft], attempt: Attempt) -> list[Draft]:
        first_sent = time.monotonic()
        rest, acknowledged, leaves_open = list(drafts), list[Draft](), LATER
        while rest:
            still_open = []
            answers = attempt(rest)
            # Offsets may begin anew in an erasure.
            if not any(erasure.ended >= first_sent for erasure in self._book.erasures):
                _assert_in_order(rest, answers, first=leaves_open is LATER)
            for draft, answer in zip_longest(rest, answers):
                if answer is None or answer.status in leaves_open:
                    still_open.append(draft)
                elif self._note(draft, first_sent, answer) is Outcome.ACKNOWLEDGED:
                    acknowledged.append(draft)
            # These may have been appended in this attempt: from now on, that there is no room for them says nothing.
            rest, leaves_open = still_open, LATER | MAY_REFUSE
            if rest and (self._give_up.wait(REPEAT_SECONDS) or time.monotonic() - first_sent > GIVE_UP_SECONDS):
                for draft in rest:
                    self._add(draft, first_sent, Outcome.UNKNOWN)
                break
        return acknowledged

    def give_up(self) -> None:
        """Repeat nothing any more; what is not known then stays unknown."""
        self._give_up.set()

    def close(self) -> None:
        self._api.close()

    def _note(self, draft: Draft, first_sent: float, answer: Answer) -> Outcome:
        refused = answer.status not in ACCEPTED
        outcome = Outcome.REFUSED if refused else Outcome.ACKNOWLEDGED
        offsets = [delivery["offset"] for delivery in answer.deliveries]
        self._add(draft, first_sent, outcome, {} if refused else dict(zip(draft.target.logs, offsets, strict=True)))
        # A store that forgot its ids takes the other content under one of them for a new message, and rightly so.
        forgot = bool(draft.id) and bool(self._book.erasures)
        as_expected = refused or forgot if draft.must_be_refused else not refused or answer.status in MAY_REFUSE
        assert as_expected, (draft.message, answer)
        return outcome

    def _add(self, draft: Draft, first_sent: float, outcome: Outcome, offsets: Mapping[str, int] | None = None) -> None:
        self._book.add(Publication(draft.mark, draft.target.logs, first_sent, time.monotonic(), outcome, offsets or {}))

    def _attempt(self, drafts: Sequence[Draft]) -> Sequence[Answer]:
        (draft,) = drafts
        try:
            answer = self._api.post("/publish", json=draft.message, timeout=self._answer_seconds)
        except requests.RequestException as error:
            self._broken(error)
            return []
        self._book.answered(str(answer.status_code), *_codes(told := _told_by(answer)))
        return [Answer(answer.status_code, told)]

    def _attempt_batch(self, drafts: Sequence[Draft]) -> Sequence[Answer]:
        """What was answered before the connection broke counts: those lines are not sent again."""
        answers = self._answered_lines(drafts)
        for status in {answer.status for answer in answers}:
            codes = [code for answer in answers if answer.status == status for code in _codes(answer.told)]
            self._book.answered(str(status), *codes)
        return answers

    def _answered_lines(self, drafts: Sequence[Draft]) -> list[Answer]:
        body = b"".join([json.dumps(draft.message).encode() + b"\n" for draft in drafts])
        headers = {"Content-Type": "application/x-ndjson"}
        received = b""
        try:
            with self._api.post(
                "/publish", data=body, headers=headers, timeout=self._answer_seconds, stream=True
            ) as answer:
                if answer.status_code != 200:
                    return [Answer(answer.status_code, _told_by(answer))] * len(drafts)
                for piece in answer.iter_content(None):
                    received += piece
        except requests.RequestException as error:
            self._broken(error)
        *whole, _cut = received.split(b"\n")
        return [Answer(told["status"], told) for told in map(json.loads, whole)]

    def _broken(self, error: requests.RequestException) -> None:
        self._book.answered(type(error).__name__)
        self._api.close()
        self._api = Api(self._url, self._token)


def _told_by(answer: requests.Response) -> Mapping[str, Any]:
    told: Mapping[str, Any] = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    return told


def _codes(told: Mapping[str, Any]) -> list[str]:
    return [told["code"]] if "code" in told else []


def _assert_in_order(drafts: Sequence[Draft], answers: Sequence[Answer], *, first: bool) -> None:
    """In each log, as sent. After the first attempt, what an earlier one appended may stand before or behind others."""
    latest: dict[str, int] = {}
    for draft, answer in zip(drafts, answers, strict=False):
        for log, delivery in zip(draft.target.logs, answer.deliveries, strict=False):
            if first or not delivery["duplicate"]:
                assert delivery["offset"] > latest.get(log, 0), (draft.mark, log, delivery, latest[log])
                latest[log] = delivery["offset"]


class Publisher(threading.Thread):
    """Publishes to the targets in turn until stopped, `pause_seconds` after each answer."""

    def __init__(self, name: str, sender: Sender, targets: Sequence[Target], pause_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self.sender = sender
        self.failure: BaseException | None = None
        self._targets = targets
        self._pause_seconds = pause_seconds
        self._stop_now = threading.Event()

    def stop(self) -> None:
        self._stop_now.set()

    def run(self) -> None:
        try:
            for number in count():
                self._publish(number)
                if self._stop_now.wait(self._pause_seconds):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by the traffic
            self.failure = error

    def _publish(self, number: int) -> None:
        sound, *unsound = self._drafts(number)
        acknowledged = self.sender.publish(sound.mark, sound.target)
        for draft in unsound:
            self.sender.publish(draft.mark, draft.target, must_be_refused=True, **draft.fields)
            if acknowledged:
                self.sender.publish(f"{sound.mark}-other", sound.target, id=sound.mark, must_be_refused=True)

    def _drafts(self, number: int) -> list[Draft]:
        """A sound message, and now and then an unsound one after it."""
        mark, target = f"{self.name}-{number}", self._targets[number % len(self._targets)]
        unsound = Draft(f"{mark}-unsound", target, must_be_refused=True, fields={"level": "unheard-of"})
        return [Draft(mark, target), *[unsound] * (number % EVERY_REFUSED == EVERY_REFUSED - 1)]


class BatchPublisher(Publisher):
    """As many messages in the same time, by batches. Each begins with a line under an id of the batch before."""

    _other: Sequence[Draft] = ()

    def _publish(self, number: int) -> None:
        lines = chain.from_iterable(map(self._drafts, range(number * BATCH_LINES, (number + 1) * BATCH_LINES)))
        known = [each for each in self.sender.publish_batch([*self._other, *lines]) if not each.id]
        self._other = [Draft(f"{each.mark}-other", each.target, each.mark, must_be_refused=True) for each in known[:1]]


class Traffic:
    """See the module. `port` is where subscribers and publishers go, the server's own by default."""

    def __init__(
        self,
        belfry: Belfry,
        *,
        users: int = 3,
        tabs: int = 4,
        publishers: int = 2,
        pause_seconds: float = 0.01,
        port: int = 0,
        silence_seconds: float = 0.0,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.belfry = belfry
        self._answer_seconds = answer_seconds
        self.book = Book()
        self.port = port or belfry.port
        name = secrets.token_hex(3)
        self.topic = f"news-{name}"
        self.users = [f"{name}-{number}" for number in range(users)]
        self.crowd = Crowd()
        self.readers = [
            self.reader(user, f"tab {tab}", topics=[self.topic] if tab % 2 else [], silence_seconds=silence_seconds)
            for user in self.users
            for tab in range(tabs)
        ]
        self._name = name
        self.publishers = [self._publisher(number, pause_seconds) for number in range(publishers - 1 or 1)]
        if publishers > 1:
            self.publishers.append(self._batch_publisher(pause_seconds))
        self._checkpoints = count()
        self._checkpoint_sender = self._sender()

    def reader(self, user: str, name: str, topics: Sequence[str] = (), port: int = 0, **options: Any) -> Reader:
        """A further subscriber, which is not yet in the crowd: `traffic.join([reader])`."""
        token = self.belfry.token(user, "feed", seconds=TOKEN_SECONDS, topics=topics, now=_issued())
        logs = (f"user:{user}", "everyone", *(f"topic:{topic}" for topic in topics))
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        port = port or self.port
        version = "1.1" if port == self.belfry.port else "1.0"  # for nginx, see `Reader`
        return Reader(f"{user} {name}", port, "/stream", headers, logs=logs, version=version, **options)

    def join(self, readers: Sequence[Reader], seconds: float = READY_SECONDS) -> None:
        """Add subscribers, and wait until each of them has its `ready`."""
        self.invite(readers)
        self.wait_live(readers, seconds)

    def invite(self, readers: Sequence[Reader]) -> None:
        """Add subscribers, who come when they can."""
        self.readers += [reader for reader in readers if reader not in self.readers]
        self.crowd.add(readers)

    def wait_live(self, readers: Sequence[Reader] = (), seconds: float = READY_SECONDS) -> None:
        """Wait until these subscribers, or all that were not stopped, are connected."""
        wanted = readers or self.readers
        away = partial(_away, wanted)
        self.crowd.wait(lambda: not away(), seconds, what=lambda: f"all to be connected; {_told(away())}")

    def __enter__(self) -> Self:
        try:
            self.join(self.readers)
        except BaseException:
            self.crowd.stop()
            raise
        for publisher in self.publishers:
            publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        for publisher in self.publishers:
            publisher.stop()
            publisher.sender.give_up()
        for publisher in self.publishers:
            publisher.join(self._answer_seconds + 5)
            publisher.sender.close()
        self._checkpoint_sender.close()
        self.crowd.stop()

    def run(self, messages: int, seconds: float = 60.0) -> None:
        """Wait until so many more messages were acknowledged that are sent from now on.

        What was under way before, a batch say, may be known at once, whatever was broken meanwhile.
        """
        known, began = len(self.book.publications), time.monotonic()

        def acknowledged() -> int:
            later = [each for each in self.book.publications[known:] if each.first_sent >= began]
            return sum(each.outcome is Outcome.ACKNOWLEDGED for each in later)

        self.wait(lambda: acknowledged() >= messages, seconds, what=f"{messages} more messages to be acknowledged")

    def wait(self, condition: Any, seconds: float = 30.0, *, what: str = "") -> None:
        """Wait for what traffic brings about. A failure of a publisher or of the crowd is raised here."""

        def holds() -> bool:
            self._raise_failures()
            return bool(condition())

        self.crowd.wait(holds, seconds, what=lambda: f"{what}; answers: {dict(self.book.answers)}")

    def checkpoint(self, seconds: float = SETTLE_SECONDS) -> None:
        """Publish a last message to every log, and wait until every subscriber heard it.

        A loss that is told meanwhile may stand in the place of some of them: then new ones are published.
        """
        while not self._reached(seconds):
            pass

    def _reached(self, seconds: float) -> bool:
        """Whether every subscriber heard the last messages, and not some of a loss instead."""
        number = next(self._checkpoints)
        began = time.monotonic()
        targets = [*map(to_users, self.users), self._to_topic(), _TO_EVERYONE]
        marks = {target.logs[0]: f"{self._name}-checkpoint-{number}-{target.logs[0]}" for target in targets}
        for target in targets:
            mark = marks[target.logs[0]]
            assert self._checkpoint_sender.publish(mark, target, id=mark.replace(":", "."))
        self.crowd.wait(
            lambda: all(_has(reader, marks) or reader.lost_since(began) for reader in self.readers),
            seconds,
            what=lambda: f"all to have everything; {self.laggards(marks)}",
        )
        return all(_has(reader, marks) for reader in self.readers)

    def dismiss(self, readers: Sequence[Reader]) -> None:
        """Let them hear everything up to now, and leave."""
        now = time.monotonic()
        self.checkpoint()
        for reader in readers:
            reader.until = now
        self.crowd.call(*[reader.stop for reader in readers])

    def online(self, readers: Sequence[Reader]) -> list[str]:
        """Whose connections Belfry still holds: all, as far as is known, while it can't say (its Redis may be away)."""
        users = [reader.logs[0].removeprefix("user:") for reader in readers]
        with self.belfry.api(self._token()) as api:
            answer = api.get("/presence", params={"users": ",".join(users)})
        if answer.status_code == 503:
            return users
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return [user for user, found in answer.json()["users"].items() if found["connections"]]

    def laggards(self, marks: Mapping[str, str]) -> str:
        """Who has not heard the last message yet, and how it fares."""
        return _told([reader for reader in self.readers if not _has(reader, marks)])

    def publish(self, **fields: Any) -> None:
        """One message to everyone, with further fields, beside what the publishers send."""
        mark = f"{self._name}-extra-{next(self._checkpoints)}"
        assert self._checkpoint_sender.publish(mark, _TO_EVERYONE, **fields)

    @contextlib.contextmanager
    def erasing(self) -> Iterator[None]:
        """What happens inside throws away the store's history."""
        at = len(self.book.erasures)
        began = time.monotonic()
        self.book.erasures.append(Erasure(began, math.inf))
        yield
        self.book.erasures[at] = Erasure(began, time.monotonic())

    def quiet(self) -> None:
        """Publishers finish the message that they are at, and send no more."""
        for publisher in self.publishers:
            publisher.stop()
        wait_until(
            lambda: not any(publisher.is_alive() for publisher in self.publishers),
            GIVE_UP_SECONDS,
            what="the publishers to end",
        )
        self._raise_failures()

    def finish(self, seconds: float = SETTLE_SECONDS) -> Verdict:
        """End the traffic, let every subscriber read to the end, and judge what was recorded.

        Raises AssertionError where nobody knows of a message what became of it: publishers repeat until they do.
        """
        self.quiet()
        try:
            self.checkpoint(seconds)
        except LateError as late:  # only the readers: who can't publish is raised
            print(late)  # what is missing then, the checker says more clearly
        self._raise_failures()
        verdict = check(self.records())
        assert verdict.unknown == 0, verdict
        return verdict

    def records(self) -> Records:
        """Everything up to now, with the feeds as they are now."""
        feeds: dict[tuple[str, ...], tuple[str, ...]] = {}
        hearings = []
        for reader in self.readers:
            if reader.logs not in feeds:
                feeds[reader.logs] = tuple(self._feed(reader)) if self._needs_feed(reader) else ()
            hearings.append(reader.hearing(feeds[reader.logs]))
        return Records(self.book.publications, tuple(hearings), tuple(self.book.erasures))

    def _needs_feed(self, reader: Reader) -> bool:
        """What a reset excuses is looked up there; of thousands who heard none, the feed would take long to fetch."""
        own = reader.logs[0].removeprefix("user:") in self.users
        return own or any(isinstance(event, Reset) for event in reader.events)

    def _feed(self, reader: Reader) -> Iterator[str]:
        user = reader.logs[0].removeprefix("user:")
        topics = [log.removeprefix("topic:") for log in reader.logs[2:]]
        token = self.belfry.token(user, "feed", topics=topics, now=_issued(), seconds=TOKEN_SECONDS)
        with self.belfry.api(token) as api:
            parameters: dict[str, str | float] = {"limit": 100}
            while True:
                page = api.feed(**parameters)
                yield from (str(message["data"]) for message in page["messages"])
                if page["next"] is None:
                    return
                parameters["before"] = page["next"]

    def _publisher(self, number: int, pause_seconds: float) -> Publisher:
        users = self.users[number % len(self.users) :] + self.users[: number % len(self.users)]
        targets = [*map(to_users, users), to_users(*users[:2]), self._to_topic(), _TO_EVERYONE]
        return Publisher(f"{self._name}-p{number}", self._sender(), targets, pause_seconds)

    def _batch_publisher(self, pause_seconds: float) -> Publisher:
        absent = [f"{self._name}-absent-{number}" for number in range(ABSENT)]
        own = chain.from_iterable((to_users(user), to_users(user, *absent)) for user in self.users)
        targets = [*own, to_users(*self.users[:2]), self._to_topic(), _TO_EVERYONE]
        return BatchPublisher(f"{self._name}-batches", self._sender(), targets, pause_seconds * BATCH_LINES)

    def _sender(self) -> Sender:
        return Sender(f"http://127.0.0.1:{self.port}", self._token(), self.book, self._answer_seconds)

    def _token(self) -> str:
        return self.belfry.token("publisher", "publish", seconds=TOKEN_SECONDS, now=_issued())

    def _to_topic(self) -> Target:
        return Target({"topic": self.topic}, (f"topic:{self.topic}",))

    def _raise_failures(self) -> None:
        for publisher in self.publishers:
            if publisher.failure is not None:
                raise AssertionError(f"{publisher.name} failed") from publisher.failure


def _away(readers: Sequence[Reader]) -> list[Reader]:
    return [reader for reader in readers if not (reader.is_live or reader.stopped)]


def _told(readers: Sequence[Reader]) -> str:
    """How some of them fare."""
    some = ", ".join(f"{reader.name} {dict(reader.ends)} {dict(reader.answers)}" for reader in readers[:5])
    return f"{len(readers)} are not: {some}"


def _issued() -> float:
    return time.time() - TOKEN_AGE_SECONDS


_TO_EVERYONE = Target({"everyone": True}, ("everyone",))


def _has(reader: Reader, marks: Mapping[str, str]) -> bool:
    """Or need not have it: it was never let in, or told to stay away."""
    return (
        reader.stopped
        or not reader.since
        or all(mark in reader.marks for log, mark in marks.items() if log in reader.logs)
    )
