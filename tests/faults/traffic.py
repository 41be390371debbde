"""Traffic: publishers with known ids and many subscribers, all of which write down what became of each message.

    with Traffic(belfry) as traffic:              # every subscriber has its `ready`, every publisher publishes
        traffic.run(50)                           # 50 more messages were acknowledged
        client.client_kill_filter(_type="pubsub") # the fault
        traffic.run(50)
        verdict = traffic.finish()                # all is read to the end, and judged
    assert verdict.kept, verdict

`users` users with `tabs` subscribers each. Everyone hears their own messages and those for everyone; every second tab
hears a topic besides, so its cursor has three positions. Publishers send to one user, to two, to the topic and to
everyone in turn, one message at a time: the next one leaves when the fate of the one before is known. A publish that
ended without a clear answer (a cut, a timeout, a 503) is repeated with the same id until there is one. Now and then a
publisher sends what must be refused, also under an id that was used before.

`traffic.readers` may be told to hang up, pause and so on, see `crowd`; `traffic.checkpoint()` waits until everybody
has heard everything up to now, and raises when that takes too long; `traffic.erasing()` surrounds a FLUSHALL.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Self

import requests

from tests.faults.checker import Verdict, check
from tests.faults.crowd import Crowd, Reader
from tests.faults.records import Erasure, Outcome, Publication, Records, Reset
from tests.servers import Api, Belfry
from tests.waiting import wait_until

TOKEN_SECONDS = 86_400
TOKEN_AGE_SECONDS = 7_200  # they are older than any clock is set back
ANSWER_SECONDS = 5.0  # how long a publisher waits for an answer before it tries again
REPEAT_SECONDS = 0.1
GIVE_UP_SECONDS = 60.0
SETTLE_SECONDS = 20.0  # from the last message until every subscriber has everything
READY_SECONDS = 20.0
EVERY_REFUSED = 10  # one of so many messages is sent to be refused
# A store without room refuses the message; whoever publishes may drop it. It must not come later.
MAY_REFUSE = {507}
LATER = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a message addresses: its fields, and the logs that it goes to."""

    fields: Mapping[str, Any]
    logs: tuple[str, ...]


def to_users(*users: str) -> Target:
    return Target({"to": list(users) if len(users) > 1 else users[0]}, tuple(f"user:{user}" for user in users))


class Book:
    """All publications of a run, and how many ended how; shared by the publishers' threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._publications: list[Publication] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.erasures: list[Erasure] = []
        self.answers: Counter[str] = Counter()  # of all attempts, by status and code, or by the name of the exception

    def add(self, publication: Publication) -> None:
        with self._lock:
            self._publications.append(publication)
            self.outcomes[publication.outcome] += 1

    def answered(self, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1

    @property
    def publications(self) -> tuple[Publication, ...]:
        with self._lock:
            return tuple(self._publications)


class Sender:
    """Publishes one message at a time, and notes its fate. Not to be shared between threads."""

    def __init__(self, url: str, token: str, book: Book) -> None:
        self._url = url
        self._token = token
        self._book = book
        self._api = Api(url, token)
        self._give_up = threading.Event()

    def publish(self, mark: str, target: Target, *, id: str = "", must_be_refused: bool = False, **fields: Any) -> bool:
        """Repeat until the message's fate is known; whether it was acknowledged.

        Raises AssertionError where a sound message is refused, or an unsound one is not.
        """
        message = {**target.fields, "id": id or mark, "data": mark, **fields}
        first_sent = time.monotonic()
        answer = self._decisive(message)
        outcome, offsets = _fate(answer, target)
        self._book.add(Publication(mark, target.logs, first_sent, time.monotonic(), outcome, offsets))
        if answer is not None:
            refused = outcome is Outcome.REFUSED
            # A store that forgot its ids takes the other content under one of them for a new message, and rightly so.
            forgot = bool(id) and bool(self._book.erasures)
            as_expected = refused or forgot if must_be_refused else not refused or answer.status_code in MAY_REFUSE
            assert as_expected, (message, answer.status_code, answer.text)
        return outcome is Outcome.ACKNOWLEDGED

    def _decisive(self, message: Mapping[str, Any]) -> requests.Response | None:
        """The answer that settles the message's fate, over as many attempts as it takes; None if there is none."""
        began = time.monotonic()
        leaves_open = LATER
        while True:
            answer = self._attempt(message)
            if answer is not None and answer.status_code not in leaves_open:
                return answer
            # This attempt may have been appended: from now on, that there is no room for it says nothing.
            leaves_open = LATER | MAY_REFUSE
            if self._give_up.wait(REPEAT_SECONDS) or time.monotonic() - began > GIVE_UP_SECONDS:
                return None

    def give_up(self) -> None:
        """Repeat nothing any more; what is not known then stays unknown."""
        self._give_up.set()

    def close(self) -> None:
        self._api.close()

    def _attempt(self, message: Mapping[str, Any]) -> requests.Response | None:
        try:
            answer = self._api.post("/publish", json=message, timeout=ANSWER_SECONDS)
        except requests.RequestException as error:
            self._book.answered(type(error).__name__)
            self._api.close()
            self._api = Api(self._url, self._token)
            return None
        self._book.answered(str(answer.status_code))
        return answer


def _fate(answer: requests.Response | None, target: Target) -> tuple[Outcome, Mapping[str, int]]:
    if answer is None:
        return Outcome.UNKNOWN, {}
    if answer.status_code not in (200, 201):
        return Outcome.REFUSED, {}
    offsets = [delivery["offset"] for delivery in answer.json()["deliveries"]]
    return Outcome.ACKNOWLEDGED, dict(zip(target.logs, offsets, strict=True))


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
                self._publish(number, self._targets[number % len(self._targets)])
                if self._stop_now.wait(self._pause_seconds):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by the traffic
            self.failure = error

    def _publish(self, number: int, target: Target) -> None:
        mark = f"{self.name}-{number}"
        acknowledged = self.sender.publish(mark, target)
        if number % EVERY_REFUSED == EVERY_REFUSED - 1:
            self.sender.publish(f"{mark}-unsound", target, must_be_refused=True, level="unheard-of")
            if acknowledged:
                self.sender.publish(f"{mark}-other", target, id=mark, must_be_refused=True)


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
    ) -> None:
        self.belfry = belfry
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
        self.publishers = [self._publisher(f"{name}-p{number}", number, pause_seconds) for number in range(publishers)]
        self._checkpoints = count()
        self._name = name
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
            publisher.join(ANSWER_SECONDS + 5)
            publisher.sender.close()
        self._checkpoint_sender.close()
        self.crowd.stop()

    @property
    def acknowledged(self) -> int:
        return self.book.outcomes[Outcome.ACKNOWLEDGED]

    def run(self, messages: int, seconds: float = 30.0) -> None:
        """Wait until so many more messages were acknowledged."""
        goal = self.acknowledged + messages
        self.wait(lambda: self.acknowledged >= goal, seconds, what=f"{messages} more messages to be acknowledged")

    def wait(self, condition: Any, seconds: float = 10.0, *, what: str = "") -> None:
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
        """End the traffic, let every subscriber read to the end, and judge what was recorded."""
        self.quiet()
        try:
            self.checkpoint(seconds)
        except AssertionError as late:
            print(late)  # what is missing then, the checker says more clearly
        self._raise_failures()
        return check(self.records())

    def records(self) -> Records:
        """Everything up to now, with the feeds as they are now."""
        feeds: dict[tuple[str, ...], frozenset[str]] = {}
        hearings = []
        for reader in self.readers:
            if reader.since:
                if reader.logs not in feeds:
                    feeds[reader.logs] = frozenset(self._feed(reader)) if self._needs_feed(reader) else frozenset()
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

    def _publisher(self, name: str, number: int, pause_seconds: float) -> Publisher:
        users = self.users[number % len(self.users) :] + self.users[: number % len(self.users)]
        targets = [*map(to_users, users), to_users(*users[:2]), self._to_topic(), _TO_EVERYONE]
        return Publisher(name, self._sender(), targets, pause_seconds)

    def _sender(self) -> Sender:
        return Sender(f"http://127.0.0.1:{self.port}", self._token(), self.book)

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
